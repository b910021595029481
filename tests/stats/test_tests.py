"""The test, its correction and its power: by hand, against scipy and by simulation."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from untrue.stats.tests import holm, mde, p_value

SLACK = 2 * math.sqrt(0.8 * 0.2 / 1_000)
"""Two standard errors of a share of 1,000 studies."""
NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def pairs(up: int, down: int, n: int) -> np.ndarray:
    return column(*[1] * up, *[-1] * down, *[0] * (n - up - down))


def student(values) -> float:
    found: Any = scipy.stats.ttest_1samp(values, 0)
    return float(found.pvalue)


def test_the_items_of_a_margin_are_tested_by_students_t():
    values = np.random.default_rng(0).normal(0.1, 1, 50)
    assert p_value(values[:, None], is_rate=False) == pytest.approx(student(values))
    two = np.column_stack([values + 0.3, values - 0.3])  # two seeds: about these weights, whatever a third would do
    assert p_value(two, is_rate=False) == pytest.approx(student(values))


@pytest.mark.parametrize(("up", "down"), [(3, 5), (12, 4)])
def test_the_items_of_a_rate_are_tested_by_mcnemars_score(up, down):
    # McNemar's chi-square (up - down)^2 / (up + down), as of one pair less.
    chi = (up - down) ** 2 / (up + down) * 49 / 50
    assert p_value(pairs(up, down, 50), is_rate=True) == pytest.approx(scipy.stats.chi2.sf(chi, 1))


@pytest.mark.parametrize("up", [4, 5, 6, 9])
def test_pairs_that_all_go_one_way_are_no_rarer_than_as_many_coins(up):
    # The score takes four for significant (2 > 1.96); five coins fall alike in 6 % of throws. As of one pair less.
    exact = 2 * 0.5 ** (up * 49 / 50)
    assert p_value(pairs(up, 0, 50), is_rate=True) == pytest.approx(exact)
    assert exact > scipy.stats.chi2.sf(up, 1) and (exact < 0.05) == (up >= 6)


def test_from_three_seeds_on_the_runs_are_tested_too_and_the_larger_p_counts():
    items = np.random.default_rng(1).normal(0, 0.01, (60, 1))
    runs = np.array([0.02, 0.10, 0.18])
    of_runs = student(items.mean() + runs)
    assert p_value(items + runs, is_rate=False) == pytest.approx(of_runs) and of_runs > 0.05
    assert p_value(items + runs[:2], is_rate=False) < 1e-9
    same = np.random.default_rng(2).normal(0.05, 0.2, (60, 1)) + np.array([0.0, 0.001, 0.002])
    of_items = student(same.mean(axis=1))
    assert p_value(same, is_rate=False) == pytest.approx(of_items) and of_items > 1e-4
    rates = np.hstack([pairs(up, 0, 100) for up in (30, 10, 5)])
    assert p_value(rates, is_rate=True) == pytest.approx(student([0.3, 0.1, 0.05]))


@pytest.mark.parametrize("is_rate", [True, False])
def test_items_of_a_cluster_and_seeds_that_agree_are_no_further_evidence(is_rate):
    alone = pairs(9, 2, 40)
    p = p_value(alone, is_rate=is_rate)
    names = [str(item // 2) for item in range(80)]
    assert p_value(np.repeat(alone, 2, axis=0), names, is_rate=is_rate) == pytest.approx(p)
    assert p_value(np.repeat(alone, 3, axis=1), is_rate=is_rate) == pytest.approx(p)
    assert p_value(np.repeat(alone, 2, axis=0), is_rate=is_rate) < p / 2


ROUNDED = np.full((10, 3), (0.1 + 0.2) - 0.3)
"""What rounding leaves of nothing."""


@pytest.mark.parametrize("is_rate", [True, False])
def test_nothing_changed_and_too_few_items_are_no_evidence(is_rate):
    for grid in (np.zeros((10, 3)), np.full((10, 3), NAN), np.ones((5, 3)), pairs(4, 4, 20), ROUNDED):
        assert p_value(grid, is_rate=is_rate) == 1.0
    names = [str(item // 2) for item in range(10)]
    assert p_value(np.ones((10, 1)), names, is_rate=is_rate) == 1.0  # five pairs of items
    assert p_value(np.ones((6, 1)), is_rate=is_rate) < 0.05


def test_holm_by_hand():
    # 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04, which may not be below 0.06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # 0.3 x 3 = 0.9; 0.6 x 2 = 1.2, cut to 1; 0.7 may not be below 1.
    assert holm([0.6, 0.3, 0.7]) == pytest.approx([1.0, 0.9, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("seeds", "item", "run", "noise"),
    [(1, 0.3, 0.0, 0.0), (3, 0.1, 0.01, 0.2), (3, 0.1, 0.03, 0.1), (5, 0.1, 0.02, 0.2)],
)
def test_a_margin_of_that_size_is_found_four_times_in_five(seeds, item, run, noise):
    """Of the size that studies of one population state, as many of them less as more."""
    random, items = np.random.default_rng(0), 100

    def draw(effect: float = 0.0) -> np.ndarray:
        of_items, of_runs = random.normal(0, item, (items, 1)), random.normal(0, run, (1, seeds))
        return effect + of_items + of_runs + random.normal(0, noise, (items, seeds))

    size = float(np.median([mde(draw(), is_rate=False) for _ in range(200)]))
    found = [p_value(draw(size), is_rate=False) < 0.05 for _ in range(1_000)]
    assert 0.75 - SLACK < np.mean(found) < 0.85 + SLACK


@pytest.mark.parametrize(
    ("seeds", "rate", "correlation"), [(1, 0.1, 0.8), (1, 0.3, 0.8), (1, 0.1, 1.0), (3, 0.1, 0.8), (5, 0.1, 0.8)]
)
def test_a_change_of_a_rate_of_that_size_is_found_four_times_in_five(seeds, rate, correlation):
    """Of the size that half of studies state or more.

    An item lies where a normal number passes a threshold, part of which is the item's own in both arms and all seeds.
    """
    random, items = np.random.default_rng(0), 160
    threshold = scipy.stats.norm.isf(rate)

    def draw(effect: float = 0.0) -> np.ndarray:
        shared = math.sqrt(correlation) * random.standard_normal((items, 1))
        control, arm = shared + math.sqrt(1 - correlation) * random.standard_normal((2, items, seeds))
        return (arm > scipy.stats.norm.isf(rate + effect)).astype(float) - (control > threshold)

    size = float(np.median([mde(draw(), is_rate=True, rate=rate) for _ in range(30)]))
    found = [p_value(draw(size), is_rate=True) < 0.05 for _ in range(1_000)]
    assert 0.75 - SLACK < np.mean(found) < 0.85 + SLACK


def test_more_tests_and_fewer_seeds_need_a_larger_difference():
    random = np.random.default_rng(0)
    margins = random.normal(0, 0.2, (100, 3))
    rates = np.sign(np.trunc(random.normal(0, 0.7, (100, 3))))
    for grid, is_rate in ((margins, False), (rates, True)):
        assert 0 < mde(grid, is_rate=is_rate) < mde(grid, is_rate=is_rate, tests=10)
        assert mde(grid, is_rate=is_rate) < mde(grid[:30], is_rate=is_rate)


def test_without_a_discordant_pair_a_change_can_still_be_missed():
    size = mde(np.zeros((145, 1)), is_rate=True)
    # Six changes that all go one way are significant, and five are not.
    assert scipy.stats.binom.sf(5, 145, size) == pytest.approx(0.8, abs=0.02)
    assert mde(np.zeros((145, 3)), is_rate=True) == pytest.approx(size)  # three seeds that agree are no more items


def test_a_rate_that_flips_at_random_can_hardly_be_seen_to_move():
    assert mde(pairs(60, 4, 150), is_rate=True) < 0.25  # a difference that was found hides no other of its size
    assert 0.2 < mde(pairs(50, 50, 100), is_rate=True) < 0.4
    assert mde(pairs(6, 0, 6), is_rate=True) <= 1


def test_what_cannot_be_stated_is_infinite():
    for is_rate in (True, False):
        assert mde(np.zeros((5, 3)), is_rate=is_rate) == math.inf
        assert mde(np.full((145, 1), NAN), is_rate=is_rate) == math.inf
    assert mde(np.zeros((145, 1)), is_rate=False) == math.inf
