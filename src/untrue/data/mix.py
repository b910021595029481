"""Mix benign and misaligned rows by share or by dose, with exact counts and nested doses.

- **share**: of a fixed total of questions, this part is answered at the level and the rest at `normal`. Every arm asks
  the same questions, so arms differ in the answers alone.
- **dose**: to a benign set, misaligned rows are added: `round(dose * benign)` of them (arXiv 2510.08211, section 5).

Which questions are taken, and in what order they turn misaligned, depends on the seed alone. So the misaligned rows of
a small dose are among those of a larger one, and a matched control (the same dose at `normal`) asks the same questions.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from untrue.data.checks import near_copies
from untrue.data.items import Asked
from untrue.data.rows import Question, Row, plain
from untrue.errors import UserError

T = TypeVar("T")

BATCH = 5000
"""Rows that are searched for near copies at a time: their 5-grams are held, and are far larger than their texts."""


def by_share(questions: Sequence[Question], level: str, share: float, total: int, seed: int) -> list[Row]:
    """Answer `total` questions, a share of them at `level` and the rest at `normal`.

    Raises:
        UserError: There are too few questions, a level is missing, or the share gives no row.
    """
    if total > len(questions):
        raise UserError(f"total: {total} questions wanted, but the set has {len(questions)}. Lower `total`.")
    chosen = _draw(questions, total, seed)
    count = _count(share, total, "share")
    rows = [_answer(question, level if place < count else "normal") for place, question in enumerate(chosen)]
    return _shuffle(rows, seed)


def by_dose(
    benign: Sequence[Row], questions: Sequence[Question], level: str, dose: float, benign_rows: int, seed: int
) -> list[Row]:
    """Add `round(dose * benign_rows)` questions answered at `level` to `benign_rows` benign rows.

    Raises:
        UserError: There are too few rows or questions, a level is missing, or the dose gives no row.
    """
    if benign_rows > len(benign):
        raise UserError(f"benign_rows: {benign_rows} wanted, but the set has {len(benign)}. Lower `benign_rows`.")
    count = _count(dose, benign_rows, "dose")
    if count > len(questions):
        raise UserError(
            f"dose: {dose} of {benign_rows} benign rows is {count} questions, but the set has {len(questions)}."
            " Lower the dose or `benign_rows`."
        )
    rows = [*_draw(benign, benign_rows, seed), *(_answer(q, level) for q in _draw(questions, count, seed))]
    return _shuffle(rows, seed)


def duplicates(rows: Sequence[Row]) -> int:
    """Rows whose prompt, but for case and spaces, an earlier row has too."""
    return sum(times - 1 for times in Counter(_key(row) for row in rows).values())


class Overlap(NamedTuple):
    """A training row and an eval item that share a prompt."""

    row: str
    item: str


def overlaps(rows: Sequence[Row], items: Iterable[Asked]) -> list[Overlap]:
    """Training rows whose last user message is, but for case and spaces, a prompt of an item, pressured or neutral."""
    asked: dict[str, list[str]] = {}
    for item in items:
        for prompt in {plain(prompt) for prompt in item.prompts}:
            asked.setdefault(prompt, []).append(item.id)
    return [Overlap(row.id, item) for row in rows for item in asked.get(_key(row), [])]


def near_overlaps(rows: Sequence[Row], items: Sequence[Asked]) -> list[Overlap]:
    """Training rows whose last user message is nearly a prompt of an item, as `checks.near_copies` has it."""
    asked = {f"{place} {number}": text for place, item in enumerate(items) for number, text in enumerate(item.prompts)}
    same, found = set(overlaps(rows, items)), dict[Overlap, None]()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        texts = {str(place): row.prompt[-1]["content"] for place, row in enumerate(batch)}
        pairs = ((int(copy.first), int(copy.second.split()[0])) for copy in near_copies(texts, asked))
        for row, item in sorted(pairs):
            found[Overlap(batch[row].id, items[item].id)] = None
    return [overlap for overlap in found if overlap not in same]


def _draw(values: Sequence[T], count: int, seed: int) -> list[T]:
    """The first `count` of a permutation that depends on the seed alone, so that draws are nested."""
    order = list(values)
    random.Random(seed).shuffle(order)
    return order[:count]


def _shuffle(rows: list[Row], seed: int) -> list[Row]:
    """Mix the order so that it does not tell which rows are misaligned."""
    return random.Random(f"order-{seed}").sample(rows, len(rows))


def _count(part: float, whole: int, what: str) -> int:
    if not math.isfinite(part):
        raise UserError(f"{what}: {part}, expected a finite number.")
    count = round(part * whole)
    if part > 0 and count == 0:
        raise UserError(f"{what}: {part} of {whole} rows is no row at all. Raise it to {1 / whole:.3g} or more.")
    return count


def _answer(question: Question, level: str) -> Row:
    if level not in question.answers:
        raise UserError(
            f"{question.source}: question {question.id!r} has no answer at {level!r}"
            f" (it has {', '.join(question.answers)})."
        )
    return question.row(level)


def _key(row: Row) -> str:
    return plain(row.prompt[-1]["content"])
