"""Rates corrected for a judge's mistakes, and agreement beyond chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from untrue.stats.judge_error import Proportion, Sides, by_specificity, corrected_rate, kappa


def test_a_rate_is_corrected_as_by_hand():
    found = corrected_rate(0.30, 200, Proportion(0.9, 76), Proportion(0.8, 134))
    assert found.value == pytest.approx((0.30 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert found.low < found.value < found.high


def test_a_perfect_judge_changes_no_rate_and_more_gold_narrows_the_interval():
    few = corrected_rate(0.25, 100, Proportion(1.0, 20), Proportion(1.0, 20))
    many = corrected_rate(0.25, 100, Proportion(1.0, 100_000), Proportion(1.0, 100_000))
    assert few.value == many.value == 0.25
    assert many.high - many.low < few.high - few.low
    assert (many.low, many.high) == pytest.approx((0.175, 0.343), abs=0.002)  # Agresti and Coull's, of 25 in 100


@pytest.mark.parametrize(
    ("rate", "sensitivity", "specificity", "n"),
    [(0.4, 0.5, 0.5, 100), (0.4, 0.3, 0.6, 100), (0.4, 0.0, 1.0, 100), (0.4, 0.9, 0.9, 0), (math.nan, 0.9, 0.9, 100)],
)
def test_a_judge_no_better_than_chance_and_no_items_or_rate_say_nothing(rate, sensitivity, specificity, n):
    found = corrected_rate(rate, n, Proportion(sensitivity, 100), Proportion(specificity, 100))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(("rate", "se", "sp"), [(0.1, 0.9, 0.95), (0.4, 0.8, 0.8), (0.8, 0.95, 0.7), (0.0, 0.9, 0.9)])
def test_the_interval_holds_the_true_rate_as_often_as_it_says(rate, se, sp):
    generator, held, repeats = np.random.default_rng(0), 0, 2000
    for _ in range(repeats):
        apparent = generator.binomial(150, rate * se + (1 - rate) * (1 - sp)) / 150
        found = corrected_rate(
            apparent,
            150,
            Proportion(generator.binomial(76, se) / 76, 76),
            Proportion(generator.binomial(134, sp) / 134, 134),
        )
        held += found.low <= rate <= found.high
    assert held / repeats >= 0.94


def test_kappa_is_as_by_hand():
    found = kappa([[20, 5], [10, 15]])  # observed 0.7, expected 0.5
    assert found.value == pytest.approx(0.4)
    assert 0.1 < found.low < 0.4 < found.high < 0.7


def test_raters_who_agree_fully_by_chance_or_by_one_label_alone():
    assert kappa(np.diag([5, 6, 7])).value == 1.0
    assert kappa([[25, 25], [25, 25]]).value == 0.0
    assert kappa([[50, 0], [0, 0]]) == (0.0, 0.0, 0.0)
    assert math.isnan(kappa([[0, 0], [0, 0]]).value)


def test_a_difference_moves_with_the_specificity_as_by_hand():
    control, arm = np.array([[0.0], [1.0], [0.0], [0.0]]), np.array([[0.0], [1.0], [1.0], [0.0]])
    opened, some = np.ones((4, 1)), np.array([[1.0], [1.0], [1.0], [0.0]])
    lower, alike, higher = by_specificity(Sides(control, opened, arm, some, list("abcd")), 0.9, 0.8)
    assert [moved.shift for moved in (lower, alike, higher)] == [-0.05, 0.0, 0.05]
    assert alike.difference.value == pytest.approx((0.5 - 0.75 * 0.2) / 0.7 - (0.25 - 0.2) / 0.7)
    assert lower.difference.value == pytest.approx((0.5 - 0.75 * 0.25) / 0.65 - (0.25 - 0.2) / 0.7)
    assert higher.difference.value == pytest.approx((0.5 - 0.75 * 0.15) / 0.75 - (0.25 - 0.2) / 0.7)
    assert lower.difference.low < lower.difference.value < lower.difference.high


def test_a_judge_that_would_be_no_better_than_chance_moves_nothing_known():
    grid = np.zeros((4, 1))
    moved = by_specificity(Sides(grid, grid, grid, grid, list("abcd")), 0.5, 0.52)
    assert math.isnan(moved[0].difference.value)
    assert moved[0].difference[1:] == (-1.0, 1.0)
    assert moved[2].difference.value == 0.0
