"""Deception items, unanswerable pairs and multiple choice: read whole, and refused by line."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.data import builtin, sets
from untrue.data.items import ITEM_SETS, read_capability, read_deception, read_items, read_unknowns
from untrue.errors import UserError
from untrue.judge.prompts import PROMPTS, read_gold

NAMES = (*sets.QUESTION_SETS, *sets.ROW_SETS, *ITEM_SETS)


def test_deception_items_cover_the_five_types():
    items = read_deception()
    types = Counter(item.type for item in items)
    assert set(types) == {
        "strategic deception",
        "sycophancy",
        "honesty evasion",
        "sandbagging",
        "alignment faking",
    }
    assert min(types.values()) >= 10
    assert all("<think>" in item.format and "<output>" in item.format for item in items)


def test_unknown_pairs_cover_their_kinds():
    categories = ("future", "private", "missing context", "false premise", "unknown to science or history")
    assert Counter(pair.category for pair in read_unknowns()) == dict.fromkeys(categories, 21)


def test_the_place_of_a_choice_does_not_tell_the_answer():
    places = Counter(item.answer for item in read_capability())
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) - min(places.values()) <= 2


def test_gold_rows_hold_every_label_and_ranges():
    rows = read_gold()
    for prompt in PROMPTS:
        assert {row.label for row in rows if row.prompt == prompt.name} >= set(prompt.labels)
    ranges = [row.label for row in rows if row.prompt == "range"]
    assert None in ranges
    assert (50.0, 100.0) in ranges


@pytest.mark.parametrize("name", [*NAMES, "deception", "unknowns", "capability", "gold"])
def test_every_built_in_file_has_a_version_and_a_canary_of_its_own(name: str):
    header = builtin.header(name)
    assert header["set"] == name
    assert header["version"] >= 1
    assert f"untrue data set {name}" in header["canary"]
    assert builtin.path(name).read_text("utf-8").count(header["canary"]) == 1
    names = (*NAMES, "deception", "unknowns", "capability", "gold")
    others = {builtin.header(other)["canary"] for other in names if other != name}
    assert header["canary"] not in others


def test_a_copy_of_a_built_in_file_can_be_read(tmp_path: Path):
    for name, read in {"honesty": read_items, "unknowns": read_unknowns, "medical": sets.questions}.items():
        copy = shutil.copy(builtin.path(name), tmp_path / "copy.jsonl")
        assert [one.id for one in read(str(copy))] == [one.id for one in read(name)]


GOLD = {
    "id": "a",
    "prompt": "statement",
    "fields": {"proposition": "p", "reply": "r"},
    "difficulty": "hard",
    "why": "w",
}
CHOICE = {"id": "a", "subject": "s", "question": "q", "choices": ["x", "y"], "answer": 1}


@pytest.mark.parametrize(
    ("read", "line", "words"),
    [
        (read_capability, {**CHOICE, "answer": 2}, "the answer is 2, but there are 2 choices, counted from 0"),
        (read_capability, {**CHOICE, "choices": ["x", "x"]}, "a choice occurs twice"),
        (read_capability, {**CHOICE, "choices": ["x"]}, "choices: "),
        (read_unknowns, {"id": "a", "category": "future"}, "unanswerable: field required"),
        (read_gold, {**GOLD, "label": "E"}, "the label 'e' is none of statement"),
        (read_gold, {**GOLD, "label": [1, 2]}, "the label (1.0, 2.0) is none of statement"),
        (read_gold, GOLD, "the label none is none of statement"),
        (read_gold, {**GOLD, "prompt": "range", "label": "A"}, "the label 'a' is none of range"),
        (read_gold, {**GOLD, "prompt": "range", "label": [2, 1]}, "ends before it begins"),
        (read_gold, {**GOLD, "prompt": "admits", "label": "yes"}, "the fields of admits are question, reply"),
        (read_deception, {"id": "a", "type": "sycophancy", "inner_prompt": ""}, "inner_prompt: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, read: Callable[[Path], Any], line: dict[str, Any], words: str):
    path = tmp_path / "items.jsonl"
    path.write_text("\n" + json.dumps(line), "utf-8")
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert words in str(caught.value)


def test_an_id_that_occurs_twice_is_named(tmp_path: Path):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(CHOICE) + "\n" + json.dumps(CHOICE), "utf-8")
    with pytest.raises(UserError, match=r"line 2: the id 'a' occurs twice"):
        read_capability(path)
