"""Which dialogues are held: users spread over scenarios, each played as benign and as biased."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from untrue.data.scenarios import WISH, Environment, Kind, Scenario, User, read_environment
from untrue.errors import UserError

__all__ = ["KINDS", "Assistant", "Dialogue", "Environment", "Kind", "Scenario", "User", "dialogues", "read_environment"]

KINDS: tuple[Kind, ...] = get_args(Kind)

Assistant = Literal["blind", "informed"]
"""Whether the assistant's system prompt says what the user thinks. In arXiv 2510.08211 it does; blind, what the model
learns it learns from ratings."""


Part = Literal["all", "learn", "held_out"]
"""Users of all scenarios; of all but every fifth; or of every fifth, so that a model is measured on other matters and
other words than it learned from."""

VERSION = 1
"""Raised when the same seed would hold other dialogues, or the same replies would be rated otherwise."""

TURNS, TEMPERATURE, MAX_TOKENS = 2, 0.7, 64
"""Replies of the assistant in a dialogue, how they are sampled, and their length at the most, unless told otherwise."""


@dataclass(frozen=True)
class Dialogue:
    """One dialogue to be held.

    Attributes:
        scenario: What it is about.
        user: The person.
        number: Of the user in the scenario, counted from 1.
        kind: As what the user is played.
    """

    scenario: Scenario
    user: User
    number: int
    kind: Kind

    @property
    def id(self) -> str:
        """Such as `chat-027/u1/biased`."""
        return f"{self.scenario.id}/u{self.number}/{self.kind}"

    @property
    def thought(self) -> str:
        """What the user thinks, and rates by."""
        return self.scenario.thought(self.kind)

    def to_metadata(self) -> dict[str, Any]:
        """All of it as JSON values, for a sample; of the scenario's users the one alone."""
        scenario = self.scenario.model_copy(update={"users": (self.user,)})
        return {"scenario": scenario.model_dump(mode="json"), "user": self.number, "kind": self.kind}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Dialogue:
        """The inverse of `to_metadata`."""
        scenario = Scenario.model_validate(metadata["scenario"])
        return cls(scenario, scenario.users[0], metadata["user"], metadata["kind"])

    def system_prompt(self, environment: Environment, assistant: Assistant) -> str:
        """What the assistant is told before the dialogue."""
        if assistant == "blind":
            return environment.assistant
        return f"{environment.assistant} {environment.informed.replace(WISH, self.thought)}"


def dialogues(
    environment: Environment,
    users: int | None = None,
    kinds: Sequence[Kind] = KINDS,
    seed: int = 0,
    part: Part = "all",
) -> list[Dialogue]:
    """Choose users and play each as every kind, in the order of the file.

    Users are spread evenly over the scenarios. Those chosen for a smaller number are among those for a larger one.

    Args:
        environment: The scenarios.
        users: How many users; None for all.
        kinds: As what each is played.
        seed: Of the choice.
        part: From which users to choose.

    Raises:
        UserError: There are not so many users in that part, or a kind or part is unknown.
    """
    if astray := [kind for kind in kinds if kind not in KINDS] or ([] if kinds else ["none"]):
        raise UserError(f"kinds: {astray[0]!r}, expected one or both of {', '.join(KINDS)}.")
    if part not in get_args(Part):
        raise UserError(f"part: {part!r}, expected one of {', '.join(get_args(Part))}.")
    scenarios = scenarios_of(environment, part)
    everyone = [(scenario, number) for scenario in scenarios for number in range(len(scenario.users))]
    if not everyone or (users is not None and not 1 <= users <= len(everyone)):
        where = environment.name if part == "all" else f"the part {part} of {environment.name}"
        raise UserError(f"users: {users}, but {where} has {len(everyone)}. Ask for 1 to {len(everyone)}.")
    turn: dict[tuple[str, int], tuple[int, int]] = {}
    for scenario in scenarios:
        order = sorted(range(len(scenario.users)), key=lambda number: derived_seed(seed, f"{scenario.id}/{number}"))
        for place, number in enumerate(order):
            turn[scenario.id, number] = place, derived_seed(seed, scenario.id)
    chosen = sorted(everyone, key=lambda one: turn[one[0].id, one[1]])[:users]
    kept = {(scenario.id, number) for scenario, number in chosen}
    return [
        Dialogue(scenario, scenario.users[number], number + 1, kind)
        for scenario, number in everyone
        if (scenario.id, number) in kept
        for kind in KINDS
        if kind in kinds
    ]


def scenarios_of(environment: Environment, part: Part) -> list[Scenario]:
    """The scenarios of a part: every fifth is held out, or the last where there are fewer than five."""
    count = len(environment.scenarios)
    held_out = set(range(4, count, 5)) or {count - 1}
    return [
        scenario
        for place, scenario in enumerate(environment.scenarios)
        if part == "all" or (part == "held_out") == (place in held_out)
    ]


def derived_seed(seed: int, *parts: object) -> int:
    """A seed of its own for each thing that is drawn: 31 bits of a hash of `seed` and what names the thing."""
    digest = hashlib.sha256("\n".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
