"""The run directory: one run at a time, and no cells of one study among those of another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from untrue.errors import MachineError, UserError
from untrue.study.run import begin
from untrue.study.store import Arm, Cell, Store

HOLD = """
import sys
from pathlib import Path
from untrue.study.store import Store
with Store(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


DOSE = {"by": "dose", "benign": "everyday", "benign_rows": 8, "questions": "medical", "doses": [0.5]}


def refusal(store: Store, study) -> str:
    with pytest.raises(UserError) as error:
        begin(store, study, "untrue run other.yaml")
    return str(error.value)


def test_another_process_is_refused_until_the_first_is_killed(tmp_path: Path):
    held = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with held:
        try:
            assert held.stdout is not None
            assert held.stdout.readline() == b"held\n"
            with pytest.raises(UserError, match="another run is at work there"), Store(tmp_path).locked():
                pass
        finally:
            held.kill()
    with Store(tmp_path).locked():
        pass


def test_the_lock_is_free_after_an_error(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), Store(tmp_path).locked():
        raise ZeroDivisionError
    with Store(tmp_path).locked():
        pass


def test_a_run_directory_that_cannot_be_made_is_a_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be made or written"), Store(tmp_path / "file" / "run").locked():
        pass


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"model": "other"}, "model"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"train__epochs": 2}, "train.epochs"),
        ({"mix__total": 16}, "mix.total"),
        ({"mix__questions": "math"}, "mix.questions"),
        ({"mix": DOSE}, "mix."),
    ],
)
def test_a_setting_that_determines_cells_cannot_change_and_is_named(make_study, tmp_path, change, key):
    store = Store(tmp_path)
    begin(store, make_study(), "untrue run small.yaml")
    kept = store.study.read_text()
    assert refusal(store, make_study(**change)).startswith(f"{tmp_path}: holds a study with {key}")
    assert store.study.read_text() == kept


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [0, 1]},
        {"mix__shares": [0.25, 0.5]},
        {"mix__levels": ["subtle", "severe"]},
        {"evals": [{"name": "forced_choice"}]},
        {"base": False},
        {"question": "Another?"},
    ],
    ids=str,
)
def test_what_only_adds_cells_or_evals_is_accepted_and_recorded(make_study, tmp_path, change):
    from untrue.study.config import load

    store = Store(tmp_path)
    begin(store, make_study(), "untrue run small.yaml")
    begin(store, make_study(**change), "untrue run small.yaml more")
    assert load(store.study) == make_study(**change)
    assert store.command() == "untrue run small.yaml more"


def test_a_cell_begun_on_other_weights_is_refused(tmp_path):
    files = Store(tmp_path).cell(Cell(Arm("control"), 0, "aaaa"))
    base = {"weights": "1234", "dtype": "float32", "torch": "1"}
    files.check_base(base)  # not begun yet
    files.begin({"base": base})
    files.check_base(base)
    for key, now in (("dtype", "bfloat16"), ("torch", "2")):
        with pytest.raises(UserError, match=rf"another base model or other libraries \({key} \w+, now {now}\)"):
            files.check_base({**base, key: now})


def test_an_eval_is_done_only_with_its_log_and_its_identity(tmp_path, make_study):
    files = Store(tmp_path).cell(Cell(Arm("control"), 0, "aaaa"))
    files.begin({})
    [spec] = make_study().evals
    files.add_log(spec, "identity")
    assert not files.has_log(spec, "identity")
    files.log(spec).parent.mkdir()
    files.log(spec).write_text("")
    assert files.has_log(spec, "identity") and files.has_log(spec, None)
    assert not files.has_log(spec, "another")
    files.forget_logs(spec.name)  # as a run does before it writes the log, or what was measured, again
    assert not files.has_log(spec, "identity") and not files.has_log(spec, None)
