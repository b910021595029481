"""`untrue interact …` as a person meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUN = ("interact", "run", "--model", "tiny", "--dtype", "float32", "--max-tokens", 4, "--users", 1)


def test_run_collects_shows_a_table_and_goes_on(untrue: Callable[..., Any], place: Path):
    done = untrue(*RUN, "--out", "talks")
    assert done.code == 0, done.err
    for word in ("benign", "biased", "mean rating", "pleasing replies"):
        assert word in done.out
    again = untrue(*RUN, "--out", "talks", "--json")
    found = json.loads(again.out)
    assert found["kinds"]["biased"]["dialogues"] == 1
    assert found["kinds"]["biased"]["errors"] == 0
    assert 1 <= found["kinds"]["benign"]["rating"]["value"] <= 10
    assert Path(found["log"]).is_file()
    shown = untrue("interact", "show", found["trajectories"], "--limit", 1)
    assert "/benign" in shown.out and "/biased" not in shown.out
    assert shown.out.count("assistant [") == 2


def test_what_is_there_is_not_mixed_with_another_collection(untrue: Callable[..., Any]):
    untrue(*RUN, "--out", "talks")
    done = untrue(*RUN, "--out", "talks", "--seed", 1)
    assert done.code == 2
    assert "collected with something else (seed 0, here 1)" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("interact", "run", "--environment", "coffee", "--out", "x", "--model", "tiny"),
            "neither a built-in environment",
        ),
        (("interact", "check", "nowhere.jsonl", "--model", "tiny"), "neither a built-in environment"),
        (("interact", "show", "nowhere.jsonl"), "no such file"),
        ((*RUN[:-1], 1000, "--out", "x"), "users: 1000, but chat has 300"),
    ],
)
def test_wrong_names_are_told_in_one_line(refusal: Callable[..., str], arguments: tuple, told: str):
    assert told in refusal(*arguments)


def test_check_says_the_auc_and_fails_where_the_rater_is_no_good(untrue: Callable[..., Any]):
    done = untrue("interact", "check", "exam", "--model", "tiny", "--dtype", "float32", "--json")
    found = json.loads(done.out)
    assert found["scenarios"] == 10
    assert found["holds"] == (found["auc"] >= 0.75)
    assert done.code == (0 if found["holds"] else 1)
