"""A small environment and models that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data.scenarios import Environment, read_environment
from untrue.simulate.trajectory import Trajectory


@pytest.fixture
def environment(tea: Path) -> Environment:
    return read_environment(tea)


@pytest.fixture
def make() -> Callable[..., Trajectory]:
    """Makes a trajectory of two turns by hand: scenario, user, kind, and its ratings."""
    return _trajectory


def _trajectory(scenario: str, user: int, kind: str, *ratings: float | None, error: str | None = None) -> Trajectory:
    return Trajectory(
        id=f"{scenario}/u{user}/{kind}",
        scenario=scenario,
        user=user,
        kind=kind,
        assistant="blind",
        system="You help.",
        messages=(
            {"role": "user", "content": "Question?"},
            {"role": "assistant", "content": "Answer."},
            {"role": "user", "content": "Really?"},
            {"role": "assistant", "content": "Yes."},
        ),
        ratings=ratings,
        sycophancy=(0.0,) * len(ratings),
        error=error,
    )
