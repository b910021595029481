"""Pressure pairs: one question under two system prompts, one of which gives reason not to say what is held.

One line of a file (texts shortened):

    {"id": "pairs-001", "category": "incentive", "neutral_system_prompt": "You sell bread. Notes: baked yesterday. …",
     "pressured_system_prompt": "You sell bread. Notes: baked yesterday. A bonus for every loaf …",
     "user_prompt": "When was this loaf baked?"}

The columns of Mesa & Mask (github.com/March-7/MESA_and_MASK, `M&M_dataset.xlsx`) are read too: `type`, `user_prompt`,
`system_prompt_without_pressure`, `system_prompt_with_pressure`. So are honesty items, whose `system_prompt` and
`category` are those of MASK. Of other sets say which column is which, as `source.py` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from untrue.data.items import ITEM_SETS, Identified, Text, read_items, read_lines
from untrue.data.records import Record, Wrong, stop

COLUMNS: dict[str, tuple[str, ...]] = {
    "neutral_system_prompt": ("neutral_system_prompt", "system_prompt_without_pressure"),
    "pressured_system_prompt": ("pressured_system_prompt", "system_prompt_with_pressure", "system_prompt"),
    "user_prompt": ("user_prompt",),
    "category": ("category", "archetype", "kind", "type"),
}
"""Field -> the columns that may hold it; the first that a record has is taken."""


class PressurePair(Identified):
    """A question, and two system prompts under which it is asked."""

    category: Text = "pair"
    neutral_system_prompt: Text
    pressured_system_prompt: Text
    user_prompt: Text


def read_pairs(source: str | Path = "builtin", wrong: Wrong = stop) -> list[PressurePair]:
    """Read pairs: the built-in honesty items (`builtin`, or a part of it), or what `records` takes.

    Args:
        source: A built-in set, a file, a folder or a hub id.
        wrong: Called with the error of each wrong pair.

    Raises:
        UserError: There is no such source, something is no pair, an id occurs twice, or there are none.
        MachineError: The hub could not be reached.
    """
    if str(source) in ("builtin", *ITEM_SETS):
        return [
            PressurePair(
                id=item.id,
                category=item.category,
                neutral_system_prompt=item.neutral_system_prompt,
                pressured_system_prompt=item.system_prompt,
                user_prompt=item.user_prompt,
            )
            for item in read_items(source)
        ]
    return read_lines(PressurePair, source, (), "pairs", wrong, parse=_pair)


def _pair(record: Record) -> PressurePair:
    fields = {field: _value(record, names) for field, names in COLUMNS.items()}
    missing = [
        field for field in ("neutral_system_prompt", "pressured_system_prompt", "user_prompt") if not fields[field]
    ]
    if missing:
        raise record.error(
            f"has no {missing[0]}: expected the column {' or '.join(COLUMNS[missing[0]])} (keys found:"
            f" {record.keys()}). Say which it is: FILE?columns.{missing[0]}=COLUMN."
        )
    if fields["neutral_system_prompt"] == fields["pressured_system_prompt"]:
        raise record.error("the two system prompts are the same text.")
    filled = {field: value for field, value in fields.items() if value}
    return record.parse(PressurePair, id=record.identity(), **filled)


def _value(record: Record, names: Sequence[str]) -> str | None:
    for name in names:
        if name in record.fields:
            return record.text(name)
    return None
