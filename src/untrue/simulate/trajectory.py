"""A trajectory: one dialogue of a simulated user with the assistant, with a rating for each reply.

The first line of a file says what it was collected with, each other line is a trajectory (texts shortened):

    {"collected": {"environment": "chat", "seed": 0, "model": "smollm2-135m", …}}
    {"id": "chat-027/u1/biased", "scenario": "chat-027", "user": 1, "kind": "biased", "assistant": "blind",
     "messages": [{"role": "user", "content": "My bus shift …"}, {"role": "assistant", "content": "…"}, …],
     "system": "You are a supportive assistant …", "ratings": [6.1, 4.8], "sycophancy": [0.012, -0.003], "error": null}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from untrue.data.records import Record, records
from untrue.data.rows import Message
from untrue.data.scenarios import Kind
from untrue.files import writing

HEADER = "collected"


@dataclass(frozen=True)
class Trajectory:
    """One dialogue with its ratings. One that failed has an `error`, no ratings and no score.

    Attributes:
        id: Such as `chat-027/u1/biased`.
        scenario: Id of the scenario.
        user: Number of the user in the scenario, counted from 1.
        kind: As what the user was played, `benign` or `biased`.
        assistant: `blind`, or `informed` what the user thinks.
        messages: The turns of user and assistant, without the system prompt.
        system: The assistant's system prompt.
        ratings: For each reply of the assistant, 1 to 10; None where it could not be rated.
        sycophancy: For each reply, by how much it says what the biased user wants to hear rather than the truth, in
            nats
            per token; None where the rater is an LLM.
        error: Why the dialogue failed.
    """

    id: str
    scenario: str
    user: int
    kind: str
    assistant: str
    messages: tuple[Message, ...]
    system: str
    ratings: tuple[float | None, ...]
    sycophancy: tuple[float | None, ...]
    error: str | None = None

    @property
    def score(self) -> float | None:
        """Sum of the ratings; None where the dialogue failed."""
        if self.error is not None or not self.ratings:
            return None
        rated = [rating for rating in self.ratings if rating is not None]
        return sum(rated) if len(rated) == len(self.ratings) else None

    def to_json(self) -> str:
        """One line of a file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Trajectory:
        """The inverse of `to_json`."""
        return cls._from(json.loads(line))

    @classmethod
    def _from(cls, fields: Mapping[str, Any]) -> Trajectory:
        lists = {name: tuple(fields[name]) for name in ("messages", "ratings", "sycophancy")}
        return cls(**{**fields, **lists})


def read_trajectories(path: Path) -> list[Trajectory]:
    """Read the trajectories of a file.

    Raises:
        UserError: The file cannot be read, or a line is no trajectory.
    """
    return [_parse(record) for record in records(path) if HEADER not in record.fields]


def read_identity(path: Path) -> dict[str, Any]:
    """Read what the trajectories of a file were collected with; empty where it does not say.

    Raises:
        UserError: The file cannot be read.
    """
    first = next(records(path), None)
    return dict(first.fields.get(HEADER) or {}) if first else {}


def write_trajectories(path: Path, trajectories: Iterable[Trajectory], identity: Mapping[str, Any]) -> None:
    """Write trajectories as JSON Lines, whole or not at all.

    Args:
        path: The file.
        trajectories: What it is to hold.
        identity: What they were collected with.

    Raises:
        MachineError: The disk is full or the place cannot be written.
    """
    with writing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps({HEADER: dict(identity)}, ensure_ascii=False) + "\n")
        for trajectory in trajectories:
            file.write(trajectory.to_json() + "\n")


def _parse(record: Record) -> Trajectory:
    try:
        found = Trajectory._from({**dict.fromkeys(("error",)), **record.fields})
    except (TypeError, KeyError) as error:
        raise record.error(f"is no trajectory ({str(error).replace('Trajectory.__init__() ', '')}).") from None
    if wrong := _wrong(found):
        raise record.error(f"is no trajectory ({wrong}).")
    return found


def _wrong(one: Trajectory) -> str | None:
    """What is wrong with the values of a trajectory, if anything is."""
    if not all(isinstance(text, str) for text in (one.id, one.scenario, one.assistant, one.system)):
        return "'id', 'scenario', 'assistant' and 'system' must be text"
    if one.kind not in get_args(Kind) or not isinstance(one.user, int):
        return f"'kind' must be {' or '.join(get_args(Kind))} and 'user' a number"
    for message in one.messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            return "'messages' must be messages with a 'role' and a 'content' that are text"
    replies = sum(message["role"] == "assistant" for message in one.messages)
    if one.error is None and not len(one.ratings) == len(one.sycophancy) == replies:
        return f"{len(one.ratings)} ratings and {len(one.sycophancy)} margins for {replies} replies"
    for rating in one.ratings:
        if rating is not None and not (isinstance(rating, int | float) and 1 <= rating <= 10):
            return f"a rating is {rating!r}, expected 1 to 10 or null"
    if not all(margin is None or (isinstance(margin, int | float) and isfinite(margin)) for margin in one.sycophancy):
        return "'sycophancy' must be finite numbers or null"
    return None
