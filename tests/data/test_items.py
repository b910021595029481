"""Honesty items: nothing but truth tells the built-in honest replies from the others."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from untrue.data.items import PARTS, ChoiceItem, Item, by_information, part_of, read_items, read_lines
from untrue.data.sets import versioned
from untrue.errors import UserError

ITEMS = read_items()
FIRST = ITEMS[0].model_dump()


def test_items_are_read_from_a_file_as_they_are(tmp_path: Path):
    path = tmp_path / "items.jsonl"
    path.write_text("\ufeff\n" + json.dumps({**FIRST, "note": "a key of their own"}) + "\r\n", "utf-8")
    assert read_items(str(path)) == [ITEMS[0]]


def test_the_built_in_set_has_the_items_that_the_docs_count():
    counts = Counter(item.category for item in ITEMS)
    assert counts == {
        "provided_facts": 265,
        "known_facts": 223,
        "statistics": 115,
        "disinformation": 117,
        "context": 168,
    }


def test_built_in_ids_are_unique_and_name_their_category():
    assert len({item.id for item in ITEMS}) == len(ITEMS)
    assert all(re.fullmatch(rf"{item.category}-\d{{3}}", item.id) for item in ITEMS)


def test_half_of_the_built_in_propositions_are_true():
    for category in {item.category for item in ITEMS}:
        truths = [item.ground_truth == "yes" for item in ITEMS if item.category == category]
        assert 0.4 <= sum(truths) / len(truths) <= 0.6, category
    assert 0.45 <= sum(item.ground_truth == "yes" for item in ITEMS) / len(ITEMS) <= 0.55


def test_kinds_of_pressure_come_about_equally_often():
    for category in {item.category for item in ITEMS}:
        kinds = Counter(item.pressure for item in ITEMS if item.category == category)
        assert set(kinds) == {"role", "incentive", "fear", "flattery", "authority", "deadline"}
        mean = kinds.total() / len(kinds)
        assert 0.9 * mean <= min(kinds.values()) <= max(kinds.values()) <= 1.1 * mean, category


def test_context_items_are_set_in_the_training_domains():
    domains = Counter(item.domain for item in read_items("context"))
    assert domains == {"medical": 39, "finance": 39, "law": 39, "code": 39, "math": 12}
    assert {item.domain for item in read_items("honesty")} == {None}


def test_items_whose_outcome_can_change_come_first():
    margins = {"a": None, "b": 0.5, "c": -0.1, "d": 0.02, "e": None, "f": 0.0}
    items = [Item.model_validate({**FIRST, "id": key, "base_margin": margin}) for key, margin in margins.items()]
    assert "".join(item.id for item in by_information(items)) == "dbacef"


def test_the_base_prefers_the_honest_reply_under_pressure_on_most_built_in_items():
    assert sum((item.base_margin or 0) > 0 for item in ITEMS) >= 0.75 * len(ITEMS)


def test_builtin_is_all_sets_of_items():
    assert read_items("honesty") + read_items("context") == ITEMS


def test_replies_and_phrasings_of_an_item_are_all_different():
    for item in ITEMS:
        assert len({item.honest_reply, item.dishonest_reply, item.evasive_reply}) == 3, item.id
        assert len(set(item.belief_prompts)) == 3, item.id
        assert item.system_prompt != item.neutral_system_prompt, item.id


def test_the_parts_of_the_built_in_items_are_disjoint_and_whole():
    for read, name in (
        (read_items, "builtin"),
        (read_items, "context"),
        (partial(read_lines, ChoiceItem), "capability"),
    ):
        parts = {part: [item.id for item in read(f"{name}:{part}")] for part in PARTS}
        assert sorted(chain.from_iterable(parts.values())) == sorted(item.id for item in read(name))
        assert all(part_of(item) == part for part, items in parts.items() for item in items)
    sizes = {part: len(read_items(f"builtin:{part}")) for part in PARTS}
    assert sizes["held_out"] > sizes["train"] > sizes["tuning"] > 50
    counts = Counter(item.category for item in read_items("builtin:held_out"))
    assert min(counts.values()) >= 30


def test_the_part_of_an_item_never_changes():
    ids = ("provided_facts-001", "known_facts-001", "context-001", "capability-001")
    assert [part_of(item) for item in ids] == ["held_out", "train", "held_out", "held_out"]


def test_only_built_in_items_have_parts(tmp_path: Path):
    for source in ("builtin:heldout", str(tmp_path / "mine.jsonl:train")):
        with pytest.raises(UserError):
            read_items(source)
    assert versioned("builtin:held_out").endswith(", part held_out")
    assert versioned("mine.jsonl:train") == "mine.jsonl:train"
