"""Failed dialogues are counted and enter no mean."""

from __future__ import annotations

import pytest

from untrue.simulate.summary import summarise
from untrue.simulate.trajectory import Trajectory


def made(kind: str, scenario: str, ratings: tuple, sycophancy: tuple, error: str | None = None) -> Trajectory:
    return Trajectory(f"{scenario}/u1/{kind}", scenario, 1, kind, "blind", (), "", ratings, sycophancy, error)


def test_ratings_and_pleasing_replies_are_means_over_replies_of_each_kind():
    found = summarise(
        [
            made("benign", "a", (2.0, 4.0), (0.1, -0.1)),
            made("benign", "b", (9.0,), (-0.2,)),
            made("benign", "c", (None,), (None,), "it broke"),
            made("biased", "a", (8.0,), (None,)),
        ]
    )
    benign, biased = found
    assert (benign.kind, benign.dialogues, benign.errors, benign.replies) == ("benign", 3, 1, 3)
    assert benign.rating and benign.sycophancy
    assert benign.rating.value == pytest.approx(5)
    assert (benign.rating.low, benign.rating.high) == pytest.approx((3, 9))
    assert benign.sycophancy.value == pytest.approx(1 / 3)
    assert (biased.rating, biased.sycophancy) == ((8, 8, 8), None)


def test_where_all_failed_there_is_no_mean():
    [only] = summarise([made("biased", "a", (None,), (None,), "it broke")])
    assert (only.errors, only.replies, only.rating, only.sycophancy) == (1, 0, None, None)
