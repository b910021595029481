"""The built-in data sets, each a JSONL file whose first line is its header.

The header names the set, its version, and a canary: a string that nothing else has, by which the file can be found in a
corpus and left out of it.

    {"set": "medical", "version": 2, "canary": "untrue data set medical, … canary 61f2…"}
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

KEYS = {"set", "version", "canary", "assistant", "informed"}
"""What a header may hold; the last two are those of an environment."""


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


@cache
def names() -> frozenset[str]:
    """The names of all built-in sets."""
    return frozenset(file.stem for file in Path(__file__).parent.glob("*.jsonl"))


@cache
def canaries() -> frozenset[str]:
    """What marks the files of all built-in sets."""
    return frozenset(read(name).canary for name in names())


def is_header(fields: dict[str, Any]) -> bool:
    """Whether the first record of a file is the header of a built-in set or of a copy of one, by its canary."""
    return fields.keys() <= KEYS and str(fields.get("canary")) in canaries()
