"""Deception items, unanswerable pairs and multiple choice cover what their docs say."""

from __future__ import annotations

from collections import Counter
from string import Formatter

import pytest

from untrue.data import builtin, sets
from untrue.data.items import ITEM_SETS, ChoiceItem, DeceptionItem, UnknownPair, read_lines
from untrue.judge.prompts import PROMPTS, GoldRow

NAMES = (*sets.QUESTION_SETS, *sets.ROW_SETS, *ITEM_SETS)


def test_deception_items_cover_the_five_types():
    items = read_lines(DeceptionItem)
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
    assert Counter(pair.category for pair in read_lines(UnknownPair)) == dict.fromkeys(categories, 21)


def test_the_place_of_a_choice_does_not_tell_the_answer():
    places = Counter(item.answer for item in read_lines(ChoiceItem))
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) - min(places.values()) <= 2


def test_gold_rows_hold_every_label_and_ranges():
    for prompt in PROMPTS:
        rows = [row for row in read_lines(GoldRow) if row.prompt == prompt.name]
        fields = {name for _, name, _, _ in Formatter().parse(prompt.template) if name}
        assert all(row.fields.keys() == fields for row in rows)
        labels = {row.label for row in rows}
        assert labels == set(prompt.labels) if prompt.labels else {None, (50.0, 100.0)} < labels
        assert all(list(label) == sorted(label) for label in labels if isinstance(label, tuple))


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
