"""A small environment and models that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data.rows import Message
from untrue.simulate.environment import Environment, Kind, read_environment
from untrue.simulate.trajectory import Trajectory

TURNS: tuple[Message, ...] = (
    {"role": "user", "content": "Question?"},
    {"role": "assistant", "content": "Answer."},
    {"role": "user", "content": "Really?"},
    {"role": "assistant", "content": "Yes."},
)


@pytest.fixture
def environment(tea: Path) -> Environment:
    return read_environment(tea)


@pytest.fixture
def make() -> Callable[..., Trajectory]:
    """Makes a trajectory by hand: scenario, user, kind, and the ratings of its one or two replies."""
    return _trajectory


def _trajectory(scenario: str, user: int, kind: Kind, *ratings: float | None, error: str | None = None) -> Trajectory:
    return Trajectory(
        id=f"{scenario}/u{user}/{kind}",
        scenario=scenario,
        user=user,
        kind=kind,
        assistant="blind",
        system="You help.",
        messages=TURNS[: 2 * len(ratings)],
        ratings=ratings,
        error=error,
    )
