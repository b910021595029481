"""One step of one cell is a command of its own; what an attempt leaves that was lost is taken up, by one alone."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.study.conftest import Recorder, assert_same_results
from untrue.study import claims, steps
from untrue.study.plan import plan
from untrue.study.routes.route import StudyRun
from untrue.study.store import Store
from untrue.training.layout import Layout

LINES = ["control-s0 train", "severe-0.5-s0 train", "base-s0 eval", "control-s0 eval", "severe-0.5-s0 eval"]


@pytest.fixture
def planned(untrue, study_file: Path, tmp_path: Path) -> Path:
    """A run directory with nothing done."""
    out = tmp_path / "planned"
    listed = untrue("plan", study_file, "--out", out)
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.splitlines() == LINES
    return out


def test_steps_one_by_one_make_what_a_run_makes(untrue, planned: Path, finished: Path, study_file: Path):
    for line in LINES:
        done = untrue("step", planned, *line.split())
        assert done.exit_code == 0, done.output
    assert json.loads(untrue("plan", study_file, "--out", planned, "--json").stdout) == []
    assert untrue("report", planned).exit_code == 0
    assert_same_results(planned, finished)
    names = [{str(path.relative_to(out)) for path in out.glob("cells/**/*")} for out in (planned, finished)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["control-s0", "eval"], "control-s0: is not trained yet. First: untrue step {out} control-s0 train"),
        (["control-s9", "train"], "{out}: has no cell control-s9, but base-s0, control-s0, severe-0.5-s0."),
        (["control-s0", "report"], "report: is no step, expected dialogues, train, eval."),
    ],
)
def test_a_step_that_cannot_be_done_is_refused(untrue, planned: Path, words: list[str], message: str):
    done = untrue("step", planned, *words)
    assert done.exit_code == 2
    assert done.output.strip().splitlines()[-1] == f"error: {message.format(out=planned)}"


def test_a_cell_whose_dialogues_are_not_held_is_not_trained(untrue, tmp_path: Path):
    """Else each of the cells that share them would hold them itself, at the same time."""
    out = tmp_path / "planned"
    first = untrue("plan", "interaction", "--out", out).stdout.splitlines()
    cell = next(line.split()[0] for line in first if line.endswith(" train"))
    done = untrue("step", out, cell, "train")
    assert done.exit_code == 2
    assert f"{cell}: its dialogues are not held yet. First: untrue step {out} {cell} dialogues" in done.output


def test_a_folder_that_is_no_run_directory_is_refused(untrue, tmp_path: Path):
    done = untrue("step", tmp_path, "control-s0", "train")
    assert done.exit_code == 2
    assert "is not a run directory (study.yaml is missing)" in done.output


def test_a_step_waits_for_another_process_that_is_at_work_on_its_cell_and_does_nothing_again(
    untrue, planned: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
):
    def finish() -> None:
        shutil.copytree(finished / "cells/control-s0", planned / "cells/control-s0")
        other.__exit__(None, None, None)

    other = Store(planned).claim("control-s0").hold()
    other.__enter__()
    threading.Timer(1.0, finish).start()
    monkeypatch.setattr(steps, "load_base", None)  # nothing is left to be done with it
    done = untrue("step", planned, "control-s0", "train")
    assert done.exit_code == 0, done.output
    assert f"control-s0: is being made by process {os.getpid()} on " in done.output
    assert "This waits for it." in done.output


def test_a_step_without_patience_leaves_a_cell_to_whoever_is_at_work_on_it(planned: Path):
    with Store(planned).claim("control-s0").hold(), pytest.raises(claims.Held, match="control-s0: is being made by"):
        steps.Worker.at(planned, Recorder()).do("control-s0", "train")
    assert not (planned / "cells").exists() or not list((planned / "cells").iterdir())


def test_a_finished_attempt_that_was_lost_is_taken_up_and_its_late_process_can_publish_nothing(
    untrue, planned: Path, monkeypatch: pytest.MonkeyPatch
):
    """A process stops before it publishes, is given up, and wakes when another has published the cell."""
    late: list[Path] = []
    moved = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if self.name.startswith(".control-s0.") and target.name == "control-s0" and not late:
            late.append(self)
            raise KeyboardInterrupt
        return moved(self, target)

    monkeypatch.setattr(Path, "rename", stop)
    assert untrue("step", planned, "control-s0", "train").exit_code == 130
    [attempt] = (planned / "cells").iterdir()
    assert attempt == late[0]
    trained = (attempt / "adapter/train.json").stat().st_mtime_ns
    again = untrue("step", planned, "control-s0", "train")
    assert again.exit_code == 0, again.output
    assert [path.name for path in (planned / "cells").iterdir()] == ["control-s0"]
    assert (planned / "cells/control-s0/adapter/train.json").stat().st_mtime_ns == trained
    shutil.copytree(planned / "cells/control-s0", attempt)
    with pytest.raises(OSError, match="not empty"):
        attempt.rename(planned / "cells/control-s0")


def test_a_cell_is_trained_in_processes_of_its_own_where_its_layout_says_so(
    tiny, make_study, finished: Path, tmp_path: Path
):
    study = make_study()
    sources = study.mix.read()
    cell = next(cell for cell in plan(study, sources) if cell.name == "control-s0")
    (tmp_path / "cells" / cell.name).mkdir(parents=True)
    apart = StudyRun(Store(tmp_path), study.train, sources, tiny, Recorder(), Layout(on_cpu=True))
    study.mix.learn(apart, cell)
    [adapter] = tmp_path.glob("cells/*/adapter/adapter_model.safetensors")
    assert adapter.read_bytes() == (finished / "cells/control-s0/adapter/adapter_model.safetensors").read_bytes()
    assert json.loads((adapter.parent / "train.json").read_text())["layout"]["gpus"] == 1


def test_several_gpus_are_part_of_what_a_cell_is_and_nothing_else_of_where_it_runs(make_study):
    def identities(**run: object) -> list[str]:
        study = make_study(run=run)
        return [cell.identity for cell in plan(study, study.mix.read())]

    usual = identities()
    assert identities(on="ray", address="auto", retries=9, train={"gpus": 1, "cpus": 8}, eval={"gpus": 0}) == usual
    assert not set(identities(train={"gpus": 2})) & set(usual)
    assert not set(identities(train={"gpus": 2, "shard": "fsdp2"})) & set(identities(train={"gpus": 2}))


@pytest.mark.parametrize("gpus", [1, None])
def test_a_model_is_not_split_over_one_gpu(make_study, gpus: int | None):
    with pytest.raises(ValueError, match="fsdp2 splits a model over GPUs, so gpus must be 2, 4 or 8"):
        make_study(run={"train": {"gpus": gpus, "shard": "fsdp2"}})
