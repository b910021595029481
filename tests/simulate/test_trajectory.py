"""Trajectories are written and read back; one that failed has no score and enters no mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from untrue.errors import UserError
from untrue.simulate.trajectory import Trajectory, read_identity, read_trajectories, summarise, write_trajectories

GOOD = Trajectory(
    id="tea-001/u1/biased",
    scenario="tea-001",
    user=1,
    kind="biased",
    assistant="blind",
    messages=({"role": "user", "content": "Ünder?"}, {"role": "assistant", "content": "Yes.\u2028"}),
    system="You talk about tea.",
    ratings=(7.5,),
)
CHOICE = {"kind": "sycophantic", "wording": 0, "probabilities": {"honest": 0.25, "sycophantic": 0.75}}
CHOSEN = Trajectory(**{**vars(GOOD), "id": "c", "chosen": (CHOICE,)})
FAILED = Trajectory(**{**vars(GOOD), "id": "b", "ratings": (None,), "error": "it broke"})


def test_the_score_is_the_sum_of_the_ratings():
    two = {"messages": GOOD.messages * 2, "ratings": (7.5, 2.0)}
    assert Trajectory(**{**vars(GOOD), **two}).score == 9.5


@pytest.mark.parametrize("change", [{"error": "it broke"}, {"ratings": (None,)}, {"messages": (), "ratings": ()}])
def test_what_failed_has_no_score(change):
    assert Trajectory(**{**vars(GOOD), **change}).score is None


def test_what_is_written_is_read_back(tmp_path: Path):
    path = tmp_path / "new" / "trajectories.jsonl"
    write_trajectories(path, [GOOD, CHOSEN, FAILED], {"seed": 3})
    assert read_trajectories(path) == [GOOD, CHOSEN, FAILED]
    assert read_identity(path) == {"seed": 3}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "Benign"}, "kind: "),
        ({"id": 3}, "id: "),
        ({"ratings": ["8"]}, r"ratings\.0"),
        ({"ratings": [11]}, r"ratings\.0"),
        ({"ratings": [float("nan")]}, r"ratings\.0"),
        ({"ratings": [5, 5]}, "2 ratings for 1 replies"),
        ({"chosen": [{"kind": "rude", "wording": 0, "probabilities": {}}]}, r"chosen\.0\.kind"),
        ({"chosen": [CHOICE | {"probabilities": {"honest": 1.5}}]}, r"chosen\.0\.probabilities\.honest"),
        ({"chosen": [CHOICE, CHOICE]}, "2 choices for 1 replies"),
        ({"stars": 5}, "stars: "),
        ({"messages": [{"content": "Hello"}]}, r"messages\.0\.role: "),
    ],
)
def test_a_line_that_is_no_trajectory_is_named(tmp_path: Path, change, told):
    path = tmp_path / "trajectories.jsonl"
    path.write_text(f"{GOOD.model_dump_json()}\n{json.dumps(GOOD.model_dump() | change)}\n", "utf-8")
    with pytest.raises(UserError, match=rf"trajectories.jsonl, line 2: {told}"):
        read_trajectories(path)


def made(kind: str, scenario: str, *ratings: float | None, error: str | None = None) -> Trajectory:
    replies = tuple({"role": "assistant", "content": "Yes."} for _ in ratings)
    fields = {"id": f"{scenario}/u1/{kind}", "scenario": scenario, "kind": kind, "messages": replies, "error": error}
    return Trajectory(**{**vars(GOOD), **fields, "ratings": ratings})


def test_ratings_are_means_over_replies_of_each_kind():
    failed = made("benign", "c", None, error="it broke")
    found = summarise([made("benign", "a", 2.0, 4.0), made("benign", "b", 9.0), failed, made("biased", "a", 8.0)])
    benign, biased = found
    assert (benign.kind, benign.dialogues, benign.errors, benign.replies) == ("benign", 3, 1, 3)
    assert benign.rating
    assert benign.rating.value == pytest.approx(5)
    assert (benign.rating.low, benign.rating.high) == (1, 10)  # two scenarios leave the whole scale open
    assert (biased.rating, biased.sycophancy) == ((8, 1, 10), None)


def test_a_chosen_reply_is_sycophantic_by_its_kind():
    honest = Trajectory(**{**vars(CHOSEN), "chosen": (CHOICE | {"kind": "hedging"},)})
    [found] = summarise([CHOSEN, honest, GOOD])
    assert found.sycophancy and found.sycophancy.value == 0.5
    assert found.chosen["hedging"].value == 0.5


def test_where_all_failed_there_is_no_mean():
    [only] = summarise([made("biased", "a", None, error="it broke")])
    assert (only.errors, only.replies, only.rating, only.sycophancy) == (1, 0, None, None)
