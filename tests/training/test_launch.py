"""Processes of a training tell their owner what they do and why they fail, and end with it."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch

from tests import processes
from untrue.data.rows import write_rows
from untrue.errors import MachineError, UserError
from untrue.training import launch
from untrue.training.layout import Layout
from untrue.training.rank import JOB, ROWS, Task, error_file
from untrue.training.spec import TrainSpec

HERE = Path(__file__)


def test_one_that_is_launched_gives_the_adapter_and_the_steps_of_one_that_is_not(
    tiny_folder, rows, spec, trained, weights, tmp_path, monkeypatch
):
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    steps = []
    record = launch.train(
        str(tiny_folder),
        rows,
        spec,
        tmp_path / "adapter",
        0,
        lambda *step: steps.append(step),
        layout=Layout(on_cpu=True),
        dtype="float32",
    )
    expected = json.loads((trained / "train.json").read_text())
    assert steps[0] == (0, 8, "")
    assert steps[1:] == [(entry["step"], 8, f"loss {entry['loss']:.3f}") for entry in expected["loss"]]
    assert record == json.loads((tmp_path / "adapter" / "train.json").read_text())
    assert record["loss"] == expected["loss"]
    found, before = weights(tmp_path / "adapter"), weights(trained)
    assert found.keys() == before.keys()
    assert all(torch.equal(found[name], before[name]) for name in before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "temporary"]
    assert not [*own.iterdir()]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_where_the_owner_is_killed_all_processes_end(tiny_folder, rows, spec, tmp_path):
    long = spec.model_copy(update={"epochs": 5000.0})
    texts = [json.dumps([asdict(row) for row in rows]), long.model_dump_json()]
    words = [tiny_folder, tmp_path / "adapter", 2, *texts, 2]
    owner = processes.start(tmp_path / "owner", *words, script=HERE.with_name("killed.py"))
    assert owner.wait() == -signal.SIGKILL, owner.stderr
    started = json.loads(owner.stdout)
    assert len(started) >= 3  # the launcher and two processes
    end = time.monotonic() + 60
    while alive := [pid for pid in started if runs(pid)]:
        assert time.monotonic() < end, alive
        time.sleep(0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".adapter-checkpoints", "owner"]
    [left] = (tmp_path / "owner").glob("untrue-training-*")
    assert (left / JOB).is_file() and not (left / ROWS).exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a training in one process, of a model that is not there."""
    spec = TrainSpec().model_dump(mode="json")
    task = Task("./nowhere", spec, 0, str(tmp_path / "adapter"), None, "float32", 1, "none", True)
    (tmp_path / JOB).write_text(json.dumps(asdict(task)))
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / launch.LOG).touch()
    return tmp_path


def test_what_a_process_fails_of_comes_back_as_its_line(folder: Path):
    process = processes.start(folder / "process", folder, script=HERE.with_name("owned.py"))
    assert process.wait() == 1
    error = launch._failure(folder)
    assert (type(error), str(error)) == (UserError, "./nowhere: no such model folder.")


def test_a_process_whose_owner_is_gone_from_the_start_ends_at_once(folder: Path, tiny_folder, rows, spec):
    long = spec.model_copy(update={"epochs": 5000.0}).model_dump(mode="json")
    task = Task(str(tiny_folder), long, 0, str(folder / "adapter"), None, "float32", 1, "none", True)
    (folder / JOB).write_text(json.dumps(asdict(task)))
    write_rows(folder / ROWS, rows)
    process = processes.start(folder / "process", folder, main="untrue.training.rank")  # its input is at its end
    assert process.wait() == 1
    assert not (folder / ROWS).exists()


ROOT_CAUSE = """
Failures:
[1]:
  exitcode  : 1 (pid: 20)
Root Cause (first observed failure):
[0]:
  exitcode  : {code} (pid: 10)
"""
"""As torch words it."""
PEER = ("RuntimeError", False, "RuntimeError: connection closed by peer", 1.0)


@pytest.mark.parametrize(
    ("failures", "log", "said"),
    [
        (
            [PEER, ("UserError", True, "the loss is nan.", 4.0), ("MachineError", True, "out of memory.", 3.0)],
            ROOT_CAUSE.format(code=-9),
            "out of memory.",
        ),
        ([PEER], ROOT_CAUSE.format(code=-9), "the system killed a process of the training (SIGKILL)"),
        ([PEER], "CalledProcessError: Command '[…]' died with <Signals.SIGKILL: 9>.", "the system killed a process"),
        ([], "", "a process of the training ended without a word. Its log: {log}"),
        ([], ROOT_CAUSE.format(code=-11), "a process of the training was ended by signal 11. Its log: {log}"),
        ([("KeyError", False, "KeyError: 'x'", 1.0)], "", "a process of the training failed (KeyError: 'x'). Its"),
    ],
    ids=["the first line for people", "SIGKILL", "SIGKILL of the launcher", "no word", "a signal", "a fault of ours"],
)
def test_why_a_training_failed_is_one_line(folder: Path, failures: list[tuple], log: str, said: str):
    for rank, failure in enumerate(failures):
        about = dict(zip(("kind", "told", "text", "time"), failure, strict=True))
        error_file(folder, rank).write_text(json.dumps(about))
    (folder / launch.LOG).write_text(log)
    error = launch._failure(folder)
    assert type(error) is MachineError
    assert str(error).startswith(said.format(log=folder / launch.LOG))


def test_what_cannot_work_is_refused_before_a_process_is_started(tiny_folder, rows, spec, tmp_path):
    def refusal(these, how: TrainSpec, layout: Layout) -> str:
        with pytest.raises(UserError) as error:
            launch.train(str(tiny_folder), these, how, tmp_path / "adapter", 0, layout=layout)
        return str(error.value)

    three = spec.model_copy(update={"batch_size": 3})
    assert refusal([], spec, Layout(2, on_cpu=True)) == "there are no rows to train on."
    assert refusal(rows, three, Layout(2, on_cpu=True)).startswith("batch_size: 3 rows cannot be split evenly")
    kto = spec.model_copy(update={"method": "kto"})
    assert "have no label" in refusal(rows, kto, Layout(2, on_cpu=True))
    assert not [*tmp_path.iterdir()]


def test_processes_of_their_own_are_for_several_gpus_and_a_quantised_base(spec):
    assert not launch.is_needed(spec, Layout())
    assert launch.is_needed(spec, Layout(2))
    assert launch.is_needed(spec.model_copy(update={"quantize": "nf4"}), Layout())
