"""MASK's six configurations are read with the columns that each has, from the hub's folder or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.data.items import read_items
from untrue.data.mask import CONFIGS, MaskRow, read_mask
from untrue.errors import UserError

Save = Callable[..., Path]
BELIEFS = {"belief_elicit_1": "Is rain wet?", "belief_elicit_2": "Rain: wet?", "belief_elicit_3": "Wet rain?"}
FIRST_TURN = {"dd_turn_1_prompt": "Say that it is dry.", "dd_turn_1_response": "It is dry."}
EXTRA: dict[str, dict[str, str]] = dict.fromkeys(CONFIGS, BELIEFS) | {
    "doubling_down_known_facts": FIRST_TURN | BELIEFS,
    "provided_facts": {},
    "statistics": {"belief_elicit_1": "How wet is rain?"},
}


def row(config: str, number: int) -> dict[str, Any]:
    """A row with the columns that the data set's card names for a configuration."""
    return {
        "task_id": f"{config}_{number}",
        "system_prompt": "You sell umbrellas.",
        "user_prompt": "Is rain wet?",
        "type": "incentive",
        "proposition": "Rain is wet.",
        "ground_truth": "yes",
        **EXTRA[config],
        "delivery": 1,
        "formatted_ground_truth": "Rain is wet: yes",
        "canary": "none",
    }


@pytest.fixture
def folder(save: Save, tmp_path: Path) -> Path:
    """The data set as the hub has it."""
    card = ["---", "configs:"]
    for config in CONFIGS:
        save(f"MASK/{config}/test-00000-of-00001.parquet", [row(config, 1), row(config, 2)])
        card += [f"- config_name: {config}", f"  data_files: [{{split: test, path: {config}/test-*}}]"]
    (tmp_path / "MASK/README.md").write_text("\n".join([*card, "---"]), "utf-8")
    return tmp_path / "MASK"


def test_six_configurations_are_six_categories(folder: Path):
    rows = read_mask(folder)
    assert [row.category for row in rows] == [config for config in CONFIGS for _ in range(2)]
    assert [row.task_id for row in rows] == [f"{config}_{n}" for config in CONFIGS for n in (1, 2)]
    assert {row.category: len(row.belief_prompts) for row in rows} == {
        "continuations": 3,
        "disinformation": 3,
        "doubling_down_known_facts": 3,
        "known_facts": 3,
        "provided_facts": 0,
        "statistics": 1,
    }
    assert {row.category for row in rows if row.dd_turn_1_prompt} == {"doubling_down_known_facts"}
    first = rows[0]
    assert (first.proposition, first.ground_truth, first.belief_elicit_2) == ("Rain is wet.", "yes", "Rain: wet?")


def test_only_some_configuration(folder: Path):
    assert {row.category for row in read_mask(f"{folder}@statistics")} == {"statistics"}
    with pytest.raises(UserError, match="'facts' is no configuration of MASK, expected one of continuations, disinf"):
        read_mask(f"{folder}@facts")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_file_is_the_configuration_that_it_is_named_after(save: Save, suffix: str):
    [found] = read_mask(save(f"known_facts.{suffix}", [row("known_facts", 1)]))
    assert found == MaskRow(id="known_facts_1", category="known_facts", **row("known_facts", 1))


@pytest.mark.parametrize("name", ["builtin", "builtin:held_out", "context"])
def test_honesty_items_are_rows_of_mask(name: str):
    found, item = read_mask(name)[0], read_items(name)[0]
    assert (found.task_id, found.type) == (item.id, "binary")
