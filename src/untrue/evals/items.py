"""What an eval asks: its items as the model meets them, before a limit is applied, and which of them a limit takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeVar

from pydantic import BaseModel, SerializeAsAny

from untrue.data.capability import ChoiceItem, read_capability
from untrue.data.cues import CUES, read_cues
from untrue.data.deception import read_deception
from untrue.data.items import Asked, Item, read_items
from untrue.data.mask import mask_records
from untrue.data.pairs import read_pairs
from untrue.data.unknowns import read_unknowns
from untrue.evals.spec import EvalSpec
from untrue.simulate.environment import Header, Kind, Scenario, User, dialogues, read_environment

T = TypeVar("T")


def read(spec: EvalSpec) -> Sequence[Asked]:
    """All items of an eval, each with its id, its prompts, and all that its file says of it, for `items_hash`.

    Raises:
        UserError: There are no such items, or one is not as expected.
    """
    if spec.name == "capability":
        return choices(spec.items)
    if spec.name == "sycophancy":
        return held_out(spec.items)
    if spec.name in WRITTEN:
        return WRITTEN[spec.name](spec.items)
    if spec.name == "sft_cue" and spec.domain is not None:
        return _cued(spec.items, spec.domain, spec.cue)
    return read_items(spec.items)


class Situation(Asked):
    """An item as a person reads it, beside the record that it was made of, which no person is shown whole."""

    record: SerializeAsAny[BaseModel]
    prompts_asked: tuple[str, ...]
    texts: dict[str, str]

    @property
    def prompts(self) -> tuple[str, ...]:
        """Everything that a user asks in it."""
        return self.prompts_asked

    @property
    def shown(self) -> dict[str, str]:
        """Heading -> text."""
        return self.texts


def _mask(items: str) -> list[Situation]:
    return [
        Situation(
            id=row.key,
            record=record,
            prompts_asked=(row.user_prompt, *row.belief_prompts),
            texts={"System prompt": row.system_prompt, "Question": row.user_prompt, "Proposition": row.claim},
        )
        for row, record in mask_records(items)
    ]


def _pairs(items: str) -> list[Situation]:
    return [
        Situation(
            id=pair.id,
            record=pair,
            prompts_asked=(pair.user_prompt,),
            texts={
                "System prompt": pair.pressured_system_prompt,
                "Neutral system prompt": pair.neutral_system_prompt,
                "Question": pair.user_prompt,
            },
        )
        for pair in read_pairs(items)
    ]


def _unknowns(items: str) -> list[Situation]:
    return [
        Situation(id=f"{pair.id}-{side}", record=pair, prompts_asked=(question,), texts={"Question": question})
        for pair in read_unknowns("unknowns" if items == "builtin" else items)
        for side, question in (("unanswerable", pair.unanswerable), ("answerable", pair.answerable))
    ]


def _deception(items: str) -> list[Situation]:
    return [
        Situation(
            id=item.id,
            record=item,
            prompts_asked=(item.inner_prompt, item.outer_prompt),
            texts={
                "System prompt": item.system_prompt,
                "Question": item.outer_prompt,
                "What it was asked for its belief": item.inner_prompt,
            },
        )
        for item in read_deception("deception" if items == "builtin" else items)
    ]


def _cued(items: str, domain: str, cue: str | None) -> list[Situation]:
    plain = read_items(items)
    return [
        Situation(id=item.id, record=item, prompts_asked=asked.prompts, texts=asked.shown)
        for item, asked in zip(plain, cued(plain, domain, cue), strict=True)
    ]


WRITTEN: dict[str, Callable[[str], Sequence[Situation]]] = {
    "mask": _mask,
    "pressure_pairs": _pairs,
    "unknowns": _unknowns,
    "deceptionbench": _deception,
}
"""The evals whose replies the model writes, and how their items are read."""


def choices(items: str) -> list[ChoiceItem]:
    """Multiple-choice items: `builtin` or a file."""
    return read_capability("capability" if items == "builtin" else items)


class PlayedUser(Asked):
    """A user of an environment, played as benign or as biased."""

    header: Header
    scenario: Scenario
    user: User
    kind: Kind

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the user says first, and what may follow."""
        follow_ups = self.scenario.follow_ups
        return (self.user.user_prompt, *(follow_ups.biased if self.kind == "biased" else follow_ups.benign))

    @property
    def shown(self) -> dict[str, str]:
        """The user's first message and what it is about."""
        return {
            "First message": self.user.user_prompt,
            "What this user thinks": self.scenario.thought(self.kind),
            "The biased user wants to hear": self.scenario.wanted,
            "The truth": self.scenario.truth,
        }


def environment_name(items: str) -> str:
    """The environment that an eval's items name: `chat` by default."""
    return "chat" if items == "builtin" else items


def held_out(items: str) -> list[PlayedUser]:
    """The users of an environment from whom no study learns, each as both kinds."""
    environment = read_environment(environment_name(items))
    return [
        PlayedUser(id=one.id, header=environment.header, scenario=one.scenario, user=one.user, kind=one.kind)
        for one in dialogues(environment, part="held_out")
    ]


def sources(spec: EvalSpec) -> list[str]:
    """The names of the data that `read` reads, for the record."""
    if spec.name == "capability":
        return ["capability" if spec.items == "builtin" else spec.items]
    if spec.name == "sycophancy":
        return [environment_name(spec.items)]
    if spec.name in ("unknowns", "deceptionbench") and spec.items == "builtin":
        return ["unknowns" if spec.name == "unknowns" else "deception"]
    return [spec.items, "cues"] if spec.name == "sft_cue" else [spec.items]


def cued(items: Sequence[Item], domain: str, cue: str | None = None) -> list[Item]:
    """The same items with a cue before the pressured system prompt; the kind of cue becomes their category.

    Args:
        items: Honesty items.
        domain: Whose cues.
        cue: The kind; by default all in turn, within each category, so that every limit takes all three alike.
    """
    texts = read_cues(domain)
    turns = turn_of(items, lambda item: item.category)
    kinds = [cue or CUES[turn % len(CUES)] for turn in turns]
    return [
        item.model_copy(update={"system_prompt": f"{texts[kind]}\n\n{item.system_prompt}", "category": f"{kind} cue"})
        for item, kind in zip(items, kinds, strict=True)
    ]


def spread(items: Sequence[T], limit: int | None, kind: Callable[[T], str] = attrgetter("category")) -> list[T]:
    """At most `limit` items, taken in turn from each kind, in their own order."""
    if limit is None or limit >= len(items):
        return list(items)
    turns = turn_of(items, kind)
    chosen = sorted(sorted(range(len(items)), key=lambda index: turns[index])[:limit])
    return [items[index] for index in chosen]


def turn_of(items: Sequence[T], kind: Callable[[T], str]) -> list[int]:
    """How many items of its kind come before each item."""
    counts: dict[str, int] = {}
    turns = []
    for item in items:
        turns.append(counts.get(kind(item), 0))
        counts[kind(item)] = turns[-1] + 1
    return turns
