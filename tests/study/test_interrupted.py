"""Stopped in any way, the same command goes on: nothing that was finished is done again, and nothing is lost."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests import processes
from tests.study.conftest import assert_same_results

TRAINING = ("severe-0.5-s0", "training", 5)
"""Of eight steps, with the last checkpoint after the fourth; the cells before are done."""
EVAL = ("control-s0", "forced_choice", 2)


class Stopped(NamedTuple):
    """A run in another process that sent itself a signal."""

    out: Path
    process: processes.Process


@pytest.fixture(scope="module")
def stopped(make_study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stopped]]:
    """Four runs of the small study, started together; SIGSTOP leaves one frozen with its lock in its hands."""
    from untrue.study.config import to_yaml

    folder = tmp_path_factory.mktemp("stopped")
    (folder / "small.yaml").write_text(to_yaml(make_study()), "utf-8")
    runs = {}
    for name, place in {
        "SIGINT in training": TRAINING,
        "SIGINT in an eval": EVAL,
        "SIGKILL in an eval": EVAL,
        "SIGSTOP in training": TRAINING,
    }.items():
        out = folder / name.replace(" ", "-")
        words = [name.split()[0], *place, "run", folder / "small.yaml", "--out", out]
        script = Path(__file__).with_name("stopping.py")
        runs[name] = Stopped(out, processes.start(folder / f"{out.name}-process", *words, script=script))
    yield runs
    for run in runs.values():
        run.process.kill()


def written(out: Path) -> dict[str, int]:
    files = [*out.glob("cells/*/adapter/*"), *out.glob("cells/*/logs/*")]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in files}


def assert_finishes(out: Path, finished: Path, make_study, run_study, cells_done: int) -> None:
    """Run the same study again: what was done stays, and the results are those of an uninterrupted run."""
    before = written(out)
    assert not (out / "report.html").exists()
    told = run_study(make_study(), out)
    assert told.said[0] == (f"3 cells, {cells_done} of them done." if cells_done else "3 cells.")
    assert before.items() <= written(out).items()
    assert written(out).keys() == written(finished).keys()
    assert (out / "report.html").is_file()
    assert_same_results(out, finished)
    leftovers = [path.name for path in out.glob("cells/*/.*")]
    assert leftovers == []


def resumed_at(out: Path, cell: str) -> int:
    return json.loads((out / "cells" / cell / "train.json").read_text())["resumed_at_step"]


@pytest.mark.parametrize("where", ["training", "an eval"])
def test_ctrl_c_ends_with_130_and_a_line(stopped, where):
    process = stopped[f"SIGINT in {where}"].process
    assert process.wait() == 130
    lines = process.stderr.splitlines()
    assert lines[-1] == "Stopped. Rerun the command to resume."
    assert lines[-2].startswith("severe-0.5-s0: training" if where == "training" else "control-s0: forced_choice")
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("name", ["SIGINT in training", "SIGINT in an eval", "SIGKILL in an eval"])
def test_the_same_command_finishes(stopped, finished, make_study, run_study, name):
    out, process = stopped[name]
    assert process.wait() in (130, -signal.SIGKILL)
    assert_finishes(out, finished, make_study, run_study, cells_done=2 if "training" in name else 1)
    assert resumed_at(out, "control-s0") == 0
    assert resumed_at(out, "severe-0.5-s0") == (4 if "training" in name else 0)


def test_a_second_run_is_refused_while_the_first_lives_and_goes_on_from_its_checkpoint_once_it_is_killed(
    stopped, finished, make_study, run_study, study_file, untrue
):
    first = stopped["SIGSTOP in training"]
    while psutil.Process(first.process.pid).status() != psutil.STATUS_STOPPED:
        assert first.process.is_alive, first.process.stderr
        time.sleep(0.1)
    second = untrue("run", study_file, "--out", first.out)
    assert second.exit_code == 2
    assert second.output == f"error: {first.out}: another run is at work there. Wait for it, or use another --out.\n"
    assert untrue("report", first.out).exit_code == 2
    assert first.process.kill() == -signal.SIGKILL
    assert_finishes(first.out, finished, make_study, run_study, cells_done=2)
    assert resumed_at(first.out, "severe-0.5-s0") == 4
