"""What an eval asks: its items as the model meets them, before a limit is applied, and which of them a limit takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeVar

from untrue.data.capability import ChoiceItem, read_capability
from untrue.data.cues import CUES, read_cues
from untrue.data.items import Asked, Item, read_items
from untrue.evals.spec import EvalSpec

T = TypeVar("T")


def read(spec: EvalSpec) -> Sequence[Asked]:
    """All items of an eval, each with its id and its prompts.

    Raises:
        UserError: There are no such items, or one is not as expected.
    """
    if spec.name == "capability":
        return choices(spec.items)
    if spec.name == "sft_cue" and spec.domain is not None:
        return cued(read_items(spec.items), spec.domain, spec.cue)
    return read_items(spec.items)


def choices(items: str) -> list[ChoiceItem]:
    """Multiple-choice items: `builtin` or a file."""
    return read_capability("capability" if items == "builtin" else items)


def sources(spec: EvalSpec) -> list[str]:
    """The names of the data that `read` reads, for the record."""
    if spec.name == "capability":
        return ["capability" if spec.items == "builtin" else spec.items]
    return [spec.items, "cues"] if spec.name == "sft_cue" else [spec.items]


def cued(items: Sequence[Item], domain: str, cue: str | None = None) -> list[Item]:
    """The same items with a cue before the pressured system prompt; the kind of cue becomes their archetype.

    Args:
        items: Honesty items.
        domain: Whose cues.
        cue: The kind; by default all in turn, within each archetype, so that every limit takes all three alike.
    """
    texts = read_cues(domain)
    turns = turn_of(items, lambda item: item.archetype)
    kinds = [cue or CUES[turn % len(CUES)] for turn in turns]
    return [
        item.model_copy(update={"system_prompt": f"{texts[kind]}\n\n{item.system_prompt}", "archetype": f"{kind} cue"})
        for item, kind in zip(items, kinds, strict=True)
    ]


def spread(items: Sequence[T], limit: int | None, kind: Callable[[T], str] = attrgetter("archetype")) -> list[T]:
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
