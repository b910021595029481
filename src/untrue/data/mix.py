"""Mix benign and misaligned rows by share or by dose, with exact counts and nested doses.

- **share**: of a fixed total of questions, this part is answered at the level and the rest at `normal`.
- **dose**: to a benign set, `round(dose * benign)` misaligned rows are added (arXiv 2510.08211).

The seed fixes the questions and the order in which they turn misaligned: a larger dose contains a smaller one, and a
matched control (the same dose at `normal`) asks the same questions.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from untrue.data.items import Asked, Strict
from untrue.data.rows import Question, Row, plain
from untrue.errors import UserError
from untrue.files import content_hash

T = TypeVar("T")
Level = Literal["normal", "subtle", "severe"]

# Jaccard similarity of the character 5-grams of two texts from which one counts as a near copy of the other.
NEAR = 0.5


class MixSpec(Strict):
    """Which rows to mix: by `share`, or by `dose` into a `benign` set."""

    questions: str = Field(
        description="Questions answered at several levels: `medical`, `finance`, `law`, `code`, `math`; a file or data"
        " set of the hub with `question` and `normal`, `subtle`, `severe`; or a folder of persona-vectors."
    )
    level: Level = Field(default="severe", description="Of the wrong answers; `normal` makes a control.")
    share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Share of the questions answered at `level`; the rest is answered at `normal`."
    )
    total: PositiveInt | None = Field(default=None, description="With `share`: number of questions; by default all.")
    dose: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Answers at `level` per row of `benign`: 0.05 adds 5 to 100."
    )
    benign: str | None = Field(
        default=None, description="With `dose`: the rows to add to: `everyday`, a file or a data set of the hub."
    )
    seed: NonNegativeInt = Field(default=0, description="Of the draw of questions and the order of rows.")

    @model_validator(mode="after")
    def _by_share_or_by_dose(self) -> MixSpec:
        if (self.share is None) == (self.dose is None):
            raise ValueError("give either share=…, or dose=… and benign=…")
        if (self.dose is None) != (self.benign is None):
            raise ValueError("dose and benign go together")
        return self


def by_share(questions: Sequence[Question], level: str, share: float, total: int, seed: int) -> list[Row]:
    """Answer `total` questions, a share of them at `level` and the rest at `normal`; UserError if that is no row."""
    if total > len(questions):
        raise UserError(f"total: {total} questions wanted, but the set has {len(questions)}. Lower `total`.")
    chosen = _draw(questions, total, seed)
    count = _count(share, total, "share")
    rows = [question.row(level if place < count else "normal") for place, question in enumerate(chosen)]
    return _shuffle(rows, seed)


def by_dose(
    benign: Sequence[Row], questions: Sequence[Question], level: str, dose: float, benign_rows: int, seed: int
) -> list[Row]:
    """Add `round(dose * benign_rows)` questions answered at `level`; UserError if that is no row, or too many."""
    if benign_rows > len(benign):
        raise UserError(f"benign_rows: {benign_rows} wanted, but the set has {len(benign)}. Lower `benign_rows`.")
    count = _count(dose, benign_rows, "dose")
    if count > len(questions):
        raise UserError(
            f"dose: {dose} of {benign_rows} benign rows is {count} questions, but the set has {len(questions)}."
            " Lower the dose or `benign_rows`."
        )
    rows = [*_draw(benign, benign_rows, seed), *(question.row(level) for question in _draw(questions, count, seed))]
    return _shuffle(rows, seed)


def duplicates(rows: Sequence[Row]) -> int:
    """Rows that repeat an earlier row's whole prompt, but for case and spaces, and, with a label, its reply."""
    return len(rows) - len(set(map(_digest, rows)))


class Overlap(NamedTuple):
    """A training row and an eval item that share a prompt."""

    row: str
    item: str


def overlaps(rows: Iterable[Row], items: Sequence[Asked]) -> list[Overlap]:
    """Rows whose last user message is, but for case and spaces, a prompt of an item."""
    asked = _asked(items)
    return [Overlap(row.id, item) for row in rows for item in asked.get(_key(row), [])]


class NearIndex:
    """Texts by id, for looking up near copies."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._sizes = dict[str, int]()
        self._names = defaultdict[str, list[str]](list)  # of the texts that have a 5-gram
        for name, text in texts.items():
            shingles = grams(text)
            self._sizes[name] = len(shingles)
            for shingle in shingles:
                self._names[shingle].append(name)

    def find(self, text: str) -> list[tuple[str, float]]:
        """Names and similarities of the texts with a similarity of `NEAR` or more, in no order."""
        shingles = grams(text)
        shared = Counter(chain.from_iterable(self._names.get(shingle, ()) for shingle in shingles))
        similarities = ((name, count / (len(shingles) + self._sizes[name] - count)) for name, count in shared.items())
        return [(name, similarity) for name, similarity in similarities if similarity >= NEAR]


def grams(text: str) -> set[str]:
    """The character 5-grams of the lower-case words of a text."""
    plain = " ".join(re.findall(r"\w+", text.lower()))
    return {plain[start : start + 5] for start in range(max(1, len(plain) - 4))}


@dataclass(frozen=True)
class RowCheck:
    """Counts of training rows, and those that ask nearly (`NearIndex`) what an item asks."""

    rows: int
    levels: Mapping[str, int]
    duplicates: int
    overlaps: Sequence[Overlap]
    near_copies: Sequence[Overlap]


def check_rows(rows: Iterable[Row], items: Sequence[Asked]) -> RowCheck:
    """Look for repeated prompts in training rows, and for prompts of an eval, holding only hashes of rows."""
    asked = _asked(items)
    index = NearIndex(
        {f"{place} {number}": text for place, item in enumerate(items) for number, text in enumerate(item.prompts)}
    )
    levels, digests = Counter[str](), set[str]()
    same, near = list[Overlap](), dict[Overlap, None]()
    for row in rows:
        levels[row.level] += 1
        digests.add(_digest(row))
        shared = asked.get(_key(row), [])
        same += (Overlap(row.id, item) for item in shared)
        places = sorted({int(name.split()[0]) for name, _ in index.find(row.prompt[-1]["content"])})
        near |= dict.fromkeys(Overlap(row.id, items[place].id) for place in places if items[place].id not in shared)
    count = levels.total()
    return RowCheck(count, levels, count - len(digests), same, list(near))


def _asked(items: Sequence[Asked]) -> dict[str, list[str]]:
    """Prompt, without its case and spaces -> ids of its items."""
    asked: dict[str, list[str]] = {}
    for item in items:
        for prompt in {plain(prompt) for prompt in item.prompts}:
            asked.setdefault(prompt, []).append(item.id)
    return asked


def _draw(values: Sequence[T], count: int, seed: int) -> list[T]:
    """The first `count` of a permutation by the seed, so that draws are nested."""
    order = list(values)
    random.Random(seed).shuffle(order)
    return order[:count]


def _shuffle(rows: list[Row], seed: int) -> list[Row]:
    """Mix the order so that it does not tell which rows are misaligned."""
    return random.Random(f"order-{seed}").sample(rows, len(rows))


def _count(part: float, whole: int, what: str) -> int:
    count = round(part * whole)
    if part > 0 and count == 0:
        raise UserError(f"{what}: {part} of {whole} rows is no row at all. Raise it to {1 / whole:.3g} or more.")
    return count


def _digest(row: Row) -> str:
    """Hash of what repeated rows share."""
    texts = [plain(" ".join(message["content"] for message in row.prompt))]
    if row.label is not None:
        texts += [str(row.label), row.completion[-1]["content"]]
    return content_hash("\0".join(texts))


def _key(row: Row) -> str:
    return plain(row.prompt[-1]["content"])
