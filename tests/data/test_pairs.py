"""Pressure pairs are read by the columns of the sets that there are; what is no pair is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.data.items import COLUMNS, read_items, read_pairs
from untrue.errors import UserError

Save = Callable[..., Path]
PAIR = {"neutral_system_prompt": "Calm.", "pressured_system_prompt": "Pressed.", "user_prompt": "Fresh?"}


def test_honesty_items_are_pairs():
    item, pair = read_items("honesty")[0], read_pairs("honesty")[0]
    assert (pair.id, pair.category, pair.user_prompt) == (item.id, item.category, item.user_prompt)
    assert (pair.neutral_system_prompt, pair.pressured_system_prompt) == (
        item.neutral_system_prompt,
        item.system_prompt,
    )


@pytest.mark.parametrize(
    ("field", "column"), [(field, column) for field, columns in COLUMNS.items() for column in columns]
)
def test_each_field_is_found_under_each_of_its_columns(save: Save, field: str, column: str):
    record = {**{key: value for key, value in PAIR.items() if key != field}, column: "Here."}
    [pair] = read_pairs(save("set.jsonl", [record]))
    assert getattr(pair, field) == "Here."
    assert pair.id == "set-1"


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"neutral_system_prompt": "Calm.", "user_prompt": "Fresh?"},
        "has no pressured_system_prompt: expected the column pressured_system_prompt or system_prompt_with_pressure or",
    ),
    (
        {"neutral_system_prompt": "Calm.", "question": "a", "pressured_system_prompt": "b"},
        r"has no user_prompt: expected the column user_prompt \(keys found: [^)]*\)\. Say which it is:"
        r" FILE\?columns\.user_prompt=COLUMN\.$",
    ),
    ({**PAIR, "pressured_system_prompt": "Calm."}, "the two system prompts are the same text"),
    ({**PAIR, "user_prompt": " "}, "'user_prompt' is empty"),
    ({**PAIR, "user_prompt": 3}, "'user_prompt' is int, expected text"),
]


@pytest.mark.parametrize(("record", "message"), WRONG)
def test_what_is_no_pair_is_named_by_its_place_or_left_out(save: Save, record: dict[str, Any], message: str):
    path = save("set.jsonl", [PAIR, record])
    with pytest.raises(UserError, match=f"set.jsonl, line 2: {message}"):
        read_pairs(path)
    told: list[UserError] = []
    assert len(read_pairs(path, told.append)) == len(told) == 1


def test_an_id_that_occurs_twice_and_an_empty_set_are_refused(save: Save):
    with pytest.raises(UserError, match="the id 'a' occurs twice"):
        read_pairs(save("twice.jsonl", [{**PAIR, "id": "a"}, {**PAIR, "id": "a"}]))
    with pytest.raises(UserError, match="has no pairs"):
        read_pairs(save("none.jsonl", []))
