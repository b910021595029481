"""Labels of judged replies, and the file that keeps them.

A row of the file:

{"eval": "mask", "arms": ["severe-1"], "seed": 0, "item": "rain-3", "epoch": 1, "about": "statement",
 "question": "statement", "text": "0f3a…", "label": "B", "by": "person", "judged": "A"}

`text` is a hash of the question with the reply in it: a label belongs to these texts, whatever their log is called. A
range is `[low, high]`, none `[]`; a skipped question has no label. The last row of a question counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from untrue.data.records import not_empty, records

LabelValue = str | tuple[float, float] | tuple[()] | None
"""A label: one of the question's; the two ends of a range, or none; None where the question was skipped."""


class Key(NamedTuple):
    """What a label belongs to: a question about one reply, by the hash of its text."""

    eval: str
    seed: int
    item: str
    epoch: int
    about: str
    text: str


class Label(BaseModel):
    """A row of a file of labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eval: str
    arms: list[str]
    seed: int
    item: str
    epoch: int
    about: str
    question: str
    text: str
    label: LabelValue = None
    by: str
    judged: LabelValue = None

    @property
    def key(self) -> Key:
        """What it belongs to."""
        return Key(self.eval, self.seed, self.item, self.epoch, self.about, self.text)


class Read(NamedTuple):
    """A label and its place in its file, for errors."""

    label: Label
    place: str


Labels = Mapping[Key, Read]


def read_labels(path: Path) -> Labels:
    """Read a file of labels; of several of one question the last counts.

    Raises:
        UserError: There is no such file, or a line is no label.
    """
    labels: dict[Key, Read] = {}
    for record in not_empty(records(path), path, "labels"):
        label = record.parse(Label)
        labels[label.key] = Read(label, record.place)
    return labels
