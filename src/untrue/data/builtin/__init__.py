"""The built-in data sets, each a JSONL file whose first line is its header.

The header names the set, its version, and a canary: a string that nothing else has, by which the file can be found in a
corpus and left out of it.

    {"set": "medical", "version": 2, "canary": "untrue data set medical, … canary 61f2…"}
"""

from __future__ import annotations

import json
from importlib import resources
from typing import NamedTuple


class Builtin(NamedTuple):
    """One built-in set.

    Attributes:
        name: Its name, which is the file's.
        version: Raised whenever a line changes.
        canary: What marks the file.
        lines: JSON Lines, without the header.
    """

    name: str
    version: int
    canary: str
    lines: str


def read(name: str) -> Builtin:
    """Read a built-in set by its name."""
    text = resources.files("untrue.data.builtin").joinpath(f"{name}.jsonl").read_text("utf-8")
    header, _, lines = text.partition("\n")
    fields = json.loads(header)
    return Builtin(fields["set"], fields["version"], fields["canary"], lines)
