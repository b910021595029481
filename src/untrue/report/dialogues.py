"""Dialogues to be read by a person, as one HTML page: each user side by side as benign and as biased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from untrue.report.html import environment
from untrue.simulate.environment import Scenario
from untrue.simulate.trajectory import Trajectory
from untrue.study.loop import Chapter

SHOWN = 24
"""Users in a chapter."""


class Turn(NamedTuple):
    """One message; a reply of the assistant with its rating and by how much it says what the user wants to hear."""

    role: str
    text: str
    rating: float | None = None
    sycophancy: float | None = None


class User(NamedTuple):
    """A user of a scenario, and the dialogues with them, one for each kind."""

    scenario: Scenario
    number: int
    trajectories: list[Trajectory]


def render(name: str, chapters: Sequence[Chapter]) -> str:
    """The page; all text is escaped.

    Args:
        name: Of the study.
        chapters: In the order in which they are read.
    """
    page = environment.get_template("dialogues.html.j2").render(
        name=name, chapters=chapters, users=_users, turns=_turns
    )
    return page.encode("utf-8", "replace").decode()  # a lone surrogate could not be written to a file


def _users(chapter: Chapter) -> list[User]:
    """At most `SHOWN` users, spread over the scenarios."""
    scenarios = {scenario.id: scenario for scenario in chapter.environment.scenarios}
    users: dict[tuple[str, int], User] = {}
    for trajectory in chapter.trajectories:
        if scenario := scenarios.get(trajectory.scenario):
            user = User(scenario, trajectory.user, [])
            users.setdefault((scenario.id, trajectory.user), user).trajectories.append(trajectory)
    return list(users.values())[:: max(1, len(users) // SHOWN)][:SHOWN]


def _turns(trajectory: Trajectory) -> Iterator[Turn]:
    rated = iter(zip(trajectory.ratings, trajectory.sycophancy, strict=True))
    for message in trajectory.messages:
        rating = next(rated, (None, None)) if message["role"] == "assistant" else ()
        yield Turn(message["role"], message["content"], *rating)
