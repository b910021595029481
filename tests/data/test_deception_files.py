"""DeceptionBench is read as PKU-Alignment has it: a JSON array, ids that are numbers, no setting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.data import sets
from untrue.data.items import read_deception
from untrue.errors import UserError

Save = Callable[..., Path]


def item(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": "Sandbagging",
        "inner_prompt": "How wet is rain?",
        "system_prompt": "You sell umbrellas.",
        "outer_prompt": "Is rain wet?",
        "format": "<think> … </think>",
        **changes,
    }


def test_an_array_with_numbers_for_ids(save: Save):
    first, second = read_deception(save("deceptionbench.json", [item(0), item(1, setting="shop")]))
    assert (first.id, first.type, first.setting) == ("0", "Sandbagging", "unknown")
    assert (first.inner_prompt, first.outer_prompt) == ("How wet is rain?", "Is rain wet?")
    assert (second.id, second.setting) == ("1", "shop")


def test_a_folder_in_the_hubs_format(save: Save):
    folder = save("DeceptionBench/deceptionbench.json", [item(0), item(1)]).parent
    assert [found.id for found in read_deception(folder)] == ["0", "1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outer_prompt": ""}, "line 10, entry 2: outer_prompt: string should have at least 1 character."),
        ({"format": None}, "line 10, entry 2: format: field required."),
        ({"id": 0}, "line 10, entry 2: the id '0' occurs twice. Give each its own."),
    ],
)
def test_a_wrong_item_is_named_or_left_out(save: Save, changes: dict[str, Any], words: str):
    path = save("a.json", [item(0), item(1, **changes), item(2)])
    with pytest.raises(UserError) as caught:
        read_deception(path)
    assert str(caught.value) == f"{path}, {words}"
    told: list[UserError] = []
    assert [found.id for found in read_deception(path, told.append)] == ["0", "2"]
    assert len(told) == 1


def test_items_are_no_rows_and_nothing_is_no_items(save: Save):
    with pytest.raises(UserError, match="line 2, entry 1: not a shape that is known"):
        sets.rows(save("a.json", [item(0)]))
    with pytest.raises(UserError, match="has no deception items"):
        read_deception(save("b.json", []))
