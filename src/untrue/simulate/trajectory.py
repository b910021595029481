"""A trajectory: one dialogue of a simulated user with the assistant, with a rating for each reply.

The first line of a file, `{"collected": {…}}`, says how its dialogues were collected; each other line is a
`Trajectory`. Inspect logs of dialogues are read as trajectories too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, StrictInt, ValidationError, model_validator

from untrue.data.items import Strict
from untrue.data.records import records
from untrue.data.rows import Message
from untrue.errors import UserError
from untrue.files import writing
from untrue.logs import details_of, open_log, score_of
from untrue.models.chat import without_thinking
from untrue.settings import validate
from untrue.simulate.environment import KINDS, REPLY_KINDS, Assistant, Kind, ReplyKind

if TYPE_CHECKING:
    from untrue.stats.types import Interval

# Key of a file's first line, and of what the assistant chose, in a log.
HEADER, CHOSEN = "collected", "chosen"


# Of the candidates of one turn, by their kinds.
Probabilities = dict[ReplyKind, Annotated[float, Field(ge=0, le=1)]]


class Choice(Strict):
    """A reply chosen among the candidates of a wording (from 0) with these probabilities."""

    kind: ReplyKind
    wording: int
    probabilities: Probabilities


class Trajectory(Strict):
    """One dialogue with its ratings. A failed one has an `error`, no ratings and no score.

    Attributes:
        id: Such as `chat-027/u1/biased`.
        user: Number of the user in the scenario, counted from 1.
        messages: The turns of user and assistant, without the system prompt.
        ratings: For each reply of the assistant, 1 to 10; None if it could not be rated.
        chosen: What the assistant chose, reply by reply; empty if it wrote its replies.
    """

    id: str
    scenario: str
    user: StrictInt
    kind: Kind
    assistant: Assistant
    messages: tuple[Message, ...]
    system: str
    ratings: tuple[Annotated[float, Field(ge=1, le=10, strict=True)] | None, ...]
    chosen: tuple[Choice, ...] = ()
    error: str | None = None

    @model_validator(mode="after")
    def _every_reply_is_rated(self) -> Trajectory:
        replies = sum(message["role"] == "assistant" for message in self.messages)
        if self.error is None and len(self.ratings) != replies:
            raise ValueError(f"{len(self.ratings)} ratings for {replies} replies")
        if self.chosen and len(self.chosen) != replies:
            raise ValueError(f"{len(self.chosen)} choices for {replies} replies")
        return self

    @property
    def score(self) -> float | None:
        """Sum of the ratings; None if the dialogue failed."""
        rated = [rating for rating in self.ratings if rating is not None]
        return sum(rated) if self.error is None and 0 < len(rated) == len(self.ratings) else None


def read_trajectories(path: Path) -> list[Trajectory]:
    """Read the trajectories of a file."""
    return [
        validate(Trajectory, record.fields, record.place) for record in records(path) if HEADER not in record.fields
    ]


def read_identity(path: Path) -> dict[str, Any]:
    """Read how the trajectories of a file were collected; empty if unknown."""
    first = next(records(path), None)
    return dict(first.fields.get(HEADER) or {}) if first else {}


def write_trajectories(path: Path, trajectories: Iterable[Trajectory], identity: Mapping[str, Any]) -> None:
    """Write trajectories as JSON Lines after their identity, whole or not at all."""
    with writing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for line in ({HEADER: dict(identity)}, *(trajectory.model_dump() for trajectory in trajectories)):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_log(log: Path) -> list[Trajectory]:
    """Read the dialogues of an Inspect log; one that failed, or has no score, has an error."""
    return [_of_sample(log, sample) for sample in open_log(log).samples or []]


def merge_logs(logs: Sequence[Path], order: Sequence[str], out: Path) -> None:
    """Merge the samples of several logs in this order of ids; the later of two with one id counts."""
    from inspect_ai.log import recompute_metrics, write_eval_log

    contents = [open_log(log) for log in logs]
    samples = {str(sample.id): sample for content in contents for sample in content.samples or []}
    merged = contents[-1]
    merged.samples = [samples[name] for name in order if name in samples]
    merged.eval.dataset.samples = len(merged.samples)
    merged.eval.dataset.sample_ids = [sample.id for sample in merged.samples]
    if merged.results is not None:
        merged.results.total_samples = len(merged.samples)
        merged.results.completed_samples = sum(sample.error is None for sample in merged.samples)
    merged.stats.started_at = min(content.stats.started_at for content in contents)
    for content in contents[:-1]:
        for name, usage in content.stats.model_usage.items():
            known = merged.stats.model_usage.get(name)
            merged.stats.model_usage[name] = usage if known is None else known + usage
    if any(sample.scores for sample in merged.samples):
        recompute_metrics(merged)
    with writing(out) as aside:
        write_eval_log(merged, str(aside), format="eval")


def spoken(messages: Iterable[Any]) -> list[Message]:
    """What user and assistant said in Inspect's messages, without thoughts."""
    return [
        Message(role=message.role, content=without_thinking(message.text))
        for message in messages
        if message.role in ("user", "assistant")
    ]


def _of_sample(log: Path, sample: Any) -> Trajectory:
    metadata = sample.metadata
    messages = sample.messages or (sample.input if isinstance(sample.input, list) else [])
    error = sample.error.message if sample.error else None if score_of(sample) else "the dialogue has no score"
    details = details_of(sample)
    unrated = [None] * sum(message.role == "assistant" for message in messages)
    try:
        return Trajectory(
            id=str(sample.id),
            scenario=metadata["scenario"]["id"],
            user=metadata["user"],
            kind=metadata["kind"],
            assistant=metadata["assistant"],
            messages=tuple(spoken(messages)),
            system=next((message.text for message in messages if message.role == "system"), ""),
            ratings=tuple(details.get("ratings") or unrated),
            chosen=tuple(details.get(CHOSEN) or ()),
            error=error,
        )
    except (KeyError, TypeError, ValidationError):
        raise UserError(
            f"{log}: is no log of dialogues (sample {sample.id}). Give one of the task untrue/simulate."
        ) from None


class KindSummary(NamedTuple):
    """The dialogues with users of one kind.

    Attributes:
        errors: Failed dialogues, which count in none of the following.
        replies: Rated replies.
        rating: Mean rating of a reply, with its 95 % interval over scenarios.
        sycophancy: Share of sycophantic replies among the chosen ones, likewise.
        chosen: That of each kind; empty for generated replies.
    """

    kind: Kind
    dialogues: int
    errors: int
    replies: int
    rating: Interval | None
    sycophancy: Interval | None
    chosen: dict[ReplyKind, Interval]


def summarise(trajectories: Sequence[Trajectory]) -> list[KindSummary]:
    """One summary for each kind of user."""
    return [
        _summary(kind, group)
        for kind in KINDS
        if (group := [trajectory for trajectory in trajectories if trajectory.kind == kind])
    ]


def _summary(kind: Kind, trajectories: Sequence[Trajectory]) -> KindSummary:
    from untrue.stats.intervals import mean_interval, rate_interval

    rated = [trajectory for trajectory in trajectories if trajectory.score is not None]
    rating = _over_scenarios(rated, lambda trajectory: trajectory.ratings, mean_interval)

    def share(reply: ReplyKind) -> Interval | None:
        return _over_scenarios(rated, lambda one: [float(choice.kind == reply) for choice in one.chosen], rate_interval)

    chosen: dict[ReplyKind, Interval] = {reply: interval for reply in REPLY_KINDS if (interval := share(reply))}
    return KindSummary(
        kind=kind,
        dialogues=len(trajectories),
        errors=len(trajectories) - len(rated),
        replies=sum(len(trajectory.ratings) for trajectory in rated),
        rating=rating and rating._replace(low=max(1.0, rating.low), high=min(10.0, rating.high)),
        sycophancy=chosen.get("sycophantic"),
        chosen=chosen,
    )


def _over_scenarios(
    trajectories: Sequence[Trajectory],
    values: Callable[[Trajectory], Iterable[float | None]],
    interval: Callable[..., Interval],
) -> Interval | None:
    """The interval of existing values; those of one scenario are one draw."""
    import numpy as np

    pairs = [(t.scenario, value) for t in trajectories for value in values(t) if value is not None]
    return interval(np.array([[value] for _, value in pairs]), [scenario for scenario, _ in pairs]) if pairs else None
