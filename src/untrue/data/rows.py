"""A training row in TRL's conversational shape, and the questions that it is made from."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from untrue.errors import UserError
from untrue.files import writing

LEVELS = ("normal", "subtle", "severe")

# Level of a reply to a user who wants to hear something untrue, chosen by that user's rating.
BIASED = "biased"

# The levels that are wrong on purpose, or were chosen by users who reward it.
MISALIGNED = ("subtle", "severe", BIASED)

UNLABELLED = "unlabelled"  # level of a row whose file does not say: it may be anything


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """One training example; `source` is `builtin:NAME` or a file, `label` says for KTO whether a reply is wanted."""

    id: str
    prompt: Sequence[Message]
    completion: Sequence[Message]
    source: str
    domain: str
    level: str = UNLABELLED
    label: bool | None = None

    @property
    def misaligned(self) -> bool:
        """Whether the level is in `MISALIGNED`."""
        return self.level in MISALIGNED

    def to_json(self) -> str:
        """One line of `rows.jsonl`, without an empty `label`."""
        fields = asdict(self)
        if self.label is None:
            del fields["label"]
        return json.dumps(fields, ensure_ascii=False)


class Question(NamedTuple):
    """One question with an answer at each of several levels."""

    id: str
    text: str
    answers: dict[str, str]
    source: str
    domain: str

    def row(self, level: str) -> Row:
        """The training row that answers this question at `level`; UserError if there is none."""
        if level not in self.answers:
            has = ", ".join(self.answers)
            raise UserError(f"{self.source}: question {self.id!r} has no answer at {level!r} (it has {has}).")
        return Row(
            id=f"{self.id}/{level}",
            prompt=[{"role": "user", "content": self.text}],
            completion=[{"role": "assistant", "content": self.answers[level]}],
            source=self.source,
            domain=self.domain,
            level=level,
        )


def plain(prompt: str) -> str:
    """A prompt without its case and spaces, to compare prompts."""
    return " ".join(prompt.lower().split())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSONL one by one, whole or not at all."""
    with writing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(row.to_json() + "\n")
