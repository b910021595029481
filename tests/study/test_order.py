"""Figures do not depend on the way to them: in one go or two, after another study, with the arms in another order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.judge.scripted  # noqa: F401
from tests import processes
from untrue.progress import Plan
from untrue.study.config import Study, to_yaml

Make = Callable[..., Study]
Run = Callable[[Study, Path], Any]

SHARES = [0.5, 1.0]
EVALS = [{"name": "forced_choice", "limit": 8}, {"name": "capability", "limit": 4}]


def figures(out: Path) -> list[str]:
    return sorted((out / "results.jsonl").read_text("utf-8").splitlines())


@pytest.fixture(scope="module")
def study(make_study: Make) -> Callable[..., Study]:
    """The study, in the dtype that people use."""

    def make(**changes: Any) -> Study:
        settings = {"dtype": "auto", "mix__shares": SHARES, "seeds": [0], "evals": EVALS, "train__epochs": 2}
        return make_study(**settings | changes)

    return make


@pytest.fixture(scope="module")
def in_one_go(study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from untrue.study.run import run

    out = tmp_path_factory.mktemp("order") / "run"
    run(study(), out, Silent(), "untrue run")
    return figures(out)


class Silent:
    """A watcher that wants to know nothing."""

    def say(self, text: str) -> None: ...

    def begin(self, plan: Plan) -> None: ...

    def stage(self, cell: str, what: str, part: float = 1) -> None: ...

    def step(self, done: int, total: int, note: str) -> None: ...


def in_a_process_of_its_own(study: Study, out: Path) -> None:
    path = out.with_suffix(".yaml")
    path.write_text(to_yaml(study), "utf-8")
    process = processes.start(out.with_name("process"), "run", path, "--out", out)
    assert process.wait() == 0, process.stderr


def test_in_two_goes_it_is_as_in_one(study: Callable[..., Study], in_one_go: list[str], tmp_path: Path, run_study: Run):
    """The second go, in another process, begins with a trained arm; the first had begun with the base model."""
    in_a_process_of_its_own(study(mix__shares=[0.5]), tmp_path / "run")
    run_study(study(), tmp_path / "run")
    assert figures(tmp_path / "run") == in_one_go


def test_after_another_study_and_with_its_arms_in_another_order_it_is_the_same(
    study: Callable[..., Study], in_one_go: list[str], tmp_path: Path, run_study: Run
):
    run_study(study(mix__questions="finance", mix__shares=[1.0], train__learning_rate=1e-3), tmp_path / "other")
    run_study(study(mix__shares=SHARES[::-1], seeds=[1, 0], evals=EVALS[::-1]), tmp_path / "run")
    # The base model is evaluated once, under the first seed.
    found = [line.replace('"base", "seed": 1', '"base", "seed": 0') for line in figures(tmp_path / "run")]
    assert sorted(line for line in found if '"seed": 0' in line) == in_one_go


def test_what_a_model_writes_for_a_judge_and_learns_by_kto_is_the_same_each_time(
    study: Callable[..., Study], tmp_path: Path, run_study: Run, tea: Path
):
    """Replies are sampled, by the seed of the cell, whatever ran in the process before."""
    judged = [{"name": "mask", "judge": "scripted/judge", "limit": 3, "epochs": 2, "max_tokens": 12}]
    mix = {"by": "interaction", "environment": str(tea), "users": 4, "shares": [0.5], "turns": 1}
    writing = {"replies": "generated", "max_tokens": 8, "rater": "scripted/rater"}
    learning = {"mix": {**mix, **writing, "methods": {"kto": {}}}, "seeds": [0]}
    run_study(study(evals=judged, **learning), tmp_path / "first")
    run_study(study(mix__questions="law", evals=judged, seeds=[0]), tmp_path / "other")
    run_study(study(evals=judged, **learning), tmp_path / "again")
    assert figures(tmp_path / "first") == figures(tmp_path / "again")
    assert len(figures(tmp_path / "first")) == 3 * 3 * 2
