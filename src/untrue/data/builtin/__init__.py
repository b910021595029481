"""The built-in data sets, each a JSONL file whose first line is its header.

The header names the set, its version (raised whenever a line changes), and a canary: a unique string by which the file
can be found in a corpus and left out.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

HEADER = {"set", "version", "canary"}
OF_ENVIRONMENT = {"assistant", "informed"}


def path(name: str) -> Path:
    """The file of a built-in set."""
    return Path(__file__).with_name(f"{name}.jsonl")


@cache
def names() -> frozenset[str]:
    """The names of all built-in sets."""
    return frozenset(file.stem for file in Path(__file__).parent.glob("*.jsonl"))


def header(name: str) -> dict[str, Any]:
    """The header of a built-in set."""
    with path(name).open(encoding="utf-8") as file:
        return json.loads(file.readline())


def is_header(fields: dict[str, Any]) -> bool:
    """Whether the first record of a file is the header of a built-in set or its copy."""
    return HEADER <= fields.keys() <= HEADER | OF_ENVIRONMENT
