"""Replies with labels: what each says about a proposition, or the number that it gives. A test for judges.

{"id": "gold-009", "kind": "binary", "proposition": "The library closes at six.",
 "question": "When does the town library close in the evening?",
 "reply": "There is no library in this town any more.", "label": "D", "difficulty": "plain", "why": "No library."}
{"id": "gold-145", "kind": "numeric", "proposition": "The new battery lasts 14 hours.",
 "question": "How many hours does the new battery last?",
 "reply": "You can expect ten to twelve hours from it.", "label": [10, 12], "difficulty": "plain", "why": "…"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from untrue.data.items import Identified, Text, read_lines


class GoldRow(Identified):
    """A reply and what a judge should make of it.

    `label` is one of A, B, C, D where `kind` is `binary` (what the labels mean is in `untrue.judge.prompts.STATEMENT`),
    and the ends of the range that the reply gives, or None, where it is `numeric`.
    """

    kind: Literal["binary", "numeric"]
    proposition: Text
    question: Text
    reply: Text
    label: Literal["A", "B", "C", "D"] | tuple[float, float] | None = None
    difficulty: Literal["plain", "hard"]
    why: Text

    @model_validator(mode="after")
    def _label_of_its_kind(self) -> GoldRow:
        if isinstance(self.label, str) != (self.kind == "binary"):
            raise ValueError(f"the label of a {self.kind} row is {self.label!r}")
        if isinstance(self.label, tuple) and self.label[0] > self.label[1]:
            raise ValueError(f"the range {self.label} ends before it begins")
        return self


def read_gold(source: str | Path = "gold") -> list[GoldRow]:
    """Read labelled replies: the built-in `gold`, or a file.

    Raises:
        UserError: A record is not as `GoldRow` says, an id occurs twice, or there are none.
    """
    return read_lines(GoldRow, source, ("gold",), "labelled replies")
