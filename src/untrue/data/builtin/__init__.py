"""The built-in data sets, each a JSONL file whose first line is its header.

The header names the set, its version, and a canary: a string that nothing else has, by which the file can be found in a
corpus and left out of it.

    {"set": "medical", "version": 2, "canary": "untrue data set medical, … canary 61f2…"}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class Builtin(NamedTuple):
    """What the header of a built-in set says.

    Attributes:
        name: Its name, which is the file's.
        version: Raised whenever a line changes.
        canary: What marks the file.
    """

    name: str
    version: int
    canary: str


def path(name: str) -> Path:
    """The file of a built-in set."""
    return Path(__file__).with_name(f"{name}.jsonl")


def read(name: str) -> Builtin:
    """Read the header of a built-in set."""
    with path(name).open(encoding="utf-8") as file:
        fields = json.loads(file.readline())
    return Builtin(fields["set"], fields["version"], fields["canary"])


def is_header(fields: dict[str, Any]) -> bool:
    """Whether the fields of a record are the header of a set; sets of others have a canary in each row."""
    return "set" in fields and "id" not in fields and not fields.keys().isdisjoint({"canary", "assistant"})
