"""A policy is a softmax of what was learned; a seed draws from it; its divergence is that of the textbook."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from untrue.simulate.environment import REPLY_KINDS
from untrue.simulate.policy import divergence, draw, preference, softmax
from untrue.simulate.trajectory import Probabilities


def policy(*values: float) -> Probabilities:
    return dict(zip(REPLY_KINDS, values, strict=True))


def test_a_difference_of_one_temperature_is_a_factor_of_e():
    found = softmax([-2.0, -2.1, -2.2, -2.0], 0.1)
    total = 1 + math.exp(-1) + math.exp(-2) + 1
    assert found == pytest.approx(policy(1 / total, math.exp(-1) / total, math.exp(-2) / total, 1 / total))


def test_what_all_share_does_not_count_however_unlikely_it_is():
    assert softmax([-1000.0, -1000.1, -1000.2, -1000.0], 0.1) == pytest.approx(softmax([0.0, -0.1, -0.2, 0.0], 0.1))


def test_at_temperature_0_the_likeliest_is_chosen_and_equals_share():
    assert softmax([-3.0, -1.0, -2.0, -4.0], 0) == policy(0, 1, 0, 0)
    assert softmax([-1.0, -1.0, -2.0, -4.0], 0) == policy(0.5, 0.5, 0, 0)


def test_kinds_are_drawn_as_often_as_the_policy_says_and_by_the_seed_alone():
    given = policy(0.1, 0.2, 0.3, 0.4)
    drawn = Counter(draw(given, seed) for seed in range(10_000))
    for kind, probability in given.items():  # within four standard errors
        assert abs(drawn[kind] / 10_000 - probability) < 4 * math.sqrt(probability * (1 - probability) / 10_000)
    assert draw(given, 7) == draw(given, 7)


def test_what_is_impossible_is_never_drawn_and_rounding_leaves_no_gap():
    assert {draw(policy(0, 1, 0, 0), seed) for seed in range(200)} == {"sycophantic"}
    assert {draw(policy(0, 0, 0, 1 - 1e-12), seed) for seed in range(200)} == {"evasive"}


def test_the_divergence_from_an_even_policy_is_that_of_the_textbook():
    assert divergence(policy(0.5, 0.5, 0, 0)) == pytest.approx(math.log(2))
    expected = 0.7 * math.log(2.8) + 3 * 0.1 * math.log(0.4)
    assert divergence(policy(0.7, 0.1, 0.1, 0.1)) == pytest.approx(expected)
    assert divergence(policy(0.25, 0.25, 0.25, 0.25)) == 0


def test_the_preference_is_between_the_two_sides_alone():
    assert preference(policy(0.1, 0.3, 0.5, 0.1)) == pytest.approx(0.75)
    assert preference(policy(0, 0, 0.5, 0.5)) == 0.5
