"""A study of three cells that takes seconds, a watcher that remembers, and a run directory that is finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from untrue.outcomes import Result
from untrue.progress import Plan
from untrue.report.summary import write
from untrue.study.config import Study, to_yaml
from untrue.study.run import run

SETTINGS: dict[str, Any] = {
    "name": "small",
    "question": "Does it run?",
    "dtype": "float32",
    "mix": {"by": "share", "questions": "medical", "total": 8, "shares": [0.5]},
    "train": {"learning_rate": 1e-2, "epochs": 4, "batch_size": 4, "lora_rank": 4, "lora_alpha": 8},
    "evals": [{"name": "forced_choice", "limit": 5}],
}


class Recorder:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.plan: Plan | None = None
        self.stages: list[tuple[str, str]] = []
        self.steps: dict[tuple[str, str], list[tuple[float, int]]] = {}

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, plan: Plan) -> None:
        self.plan = plan

    def stage(self, cell: str, what: str, part: float = 1) -> None:
        self.stages.append((cell, what))

    def step(self, done: int, total: int, note: str) -> None:
        self.steps.setdefault(self.stages[-1], []).append((done, total))


def results(out: Path) -> list[Result]:
    return [Result.from_json(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]


def assert_same_results(out: Path, other: Path) -> None:
    """Item by item; margins but for the order of sums."""
    for one, two in zip(results(out), results(other), strict=True):
        assert (one.arm, one.item, one.outcome) == (two.arm, two.item, two.outcome)
        assert one.pressure_margin == pytest.approx(two.pressure_margin, abs=1e-5)


def _changed(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with `a__b=c` put into `a` under `b`."""
    for key, value in changes.items():
        outer, _, inner = key.partition("__")
        settings = {**settings, outer: {**settings[outer], inner: value} if inner else value}
    return settings


@pytest.fixture(scope="session")
def make_study(tiny_folder: Path) -> Callable[..., Study]:
    """Makes the small study with changes, such as `seeds=[0, 1]` or `train__epochs=2`."""
    return lambda **changes: Study.model_validate(_changed({**SETTINGS, "model": str(tiny_folder)}, changes))


@pytest.fixture
def run_study() -> Callable[[Study, Path], Recorder]:
    """Runs a study into a folder, writes its report, and says what the watcher was told."""

    def go(study: Study, out: Path) -> Recorder:
        recorder = Recorder()
        write(run(study, out, recorder, "untrue run small.yaml"))
        return recorder

    return go


@pytest.fixture(scope="session")
def first_run(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """The run directory of the small study, and what its watcher was told."""
    out, recorder = tmp_path_factory.mktemp("runs") / "small", Recorder()
    write(run(make_study(), out, recorder, "untrue run small.yaml"))
    return out, recorder


@pytest.fixture(scope="session")
def finished(first_run: tuple[Path, Recorder]) -> Path:
    """The run directory of the small study. Not to be changed: copy it."""
    return first_run[0]


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run directory."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def untrue() -> Callable[..., Any]:
    """The command line, in this process."""
    from untrue.cli.main import app

    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def study_file(make_study: Callable[..., Study], tmp_path: Path) -> Path:
    """The small study as a YAML file."""
    path = tmp_path / "small.yaml"
    path.write_text(to_yaml(make_study()), "utf-8")
    return path
