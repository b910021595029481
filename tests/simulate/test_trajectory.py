"""Trajectories are written and read back; one that failed has no score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from untrue.errors import UserError
from untrue.simulate.trajectory import Trajectory, read_identity, read_trajectories, write_trajectories

GOOD = Trajectory(
    id="tea-001/u1/biased",
    scenario="tea-001",
    user=1,
    kind="biased",
    assistant="blind",
    messages=({"role": "user", "content": "Ünder?"}, {"role": "assistant", "content": "Yes.\u2028"}),
    system="You talk about tea.",
    ratings=(7.5,),
    sycophancy=(0.1,),
)
FAILED = Trajectory(**{**vars(GOOD), "id": "b", "ratings": (None,), "sycophancy": (None,), "error": "it broke"})


def test_the_score_is_the_sum_of_the_ratings():
    assert Trajectory(**{**vars(GOOD), "ratings": (7.5, 2.0)}).score == 9.5


@pytest.mark.parametrize("change", [{"error": "it broke"}, {"ratings": (7.5, None)}, {"ratings": ()}])
def test_what_failed_has_no_score(change):
    assert Trajectory(**{**vars(GOOD), **change}).score is None


def test_what_is_written_is_read_back(tmp_path: Path):
    path = tmp_path / "new" / "trajectories.jsonl"
    write_trajectories(path, [GOOD, FAILED], {"seed": 3})
    assert read_trajectories(path) == [GOOD, FAILED]
    assert read_identity(path) == {"seed": 3}
    assert Trajectory.from_json(GOOD.to_json()) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 3},
        {"kind": "Benign"},
        {"id": 3},
        {"user": "one"},
        {"ratings": None},
        {"ratings": ["8"]},
        {"ratings": [11]},
        {"ratings": [float("nan")]},
        {"ratings": [5, 5]},
        {"sycophancy": ["much"]},
        {"stars": 5},
        {"messages": ["Hello"]},
        {"messages": [{"content": "Hello"}]},
    ],
)
def test_a_line_that_is_no_trajectory_is_named(tmp_path: Path, change):
    path = tmp_path / "trajectories.jsonl"
    path.write_text(GOOD.to_json() + "\n" + json.dumps(json.loads(GOOD.to_json()) | change) + "\n", "utf-8")
    with pytest.raises(UserError, match=r"trajectories.jsonl, line 2: is no trajectory"):
        read_trajectories(path)
