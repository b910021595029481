"""Spreads and intervals: by hand, against scipy, against published values and against scores found by brute force."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from untrue.stats.intervals import change_interval, discordance, mean_interval, rate_interval, spread, tango

NAN = np.nan
Z = float(scipy.stats.norm.ppf(0.975))


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def pairs(up: int, down: int, n: int) -> np.ndarray:
    return column(*[1] * up, *[-1] * down, *[0] * (n - up - down))


def test_the_spread_of_two_seeds_is_that_of_the_items():
    around = spread(np.array([[1.0, 3.0], [2.0, 6.0]]))
    # Mean 3; the items lie 2 below and 2 above it in all: sqrt(2 / 1 x (4 + 4)) / 4 = 1.
    assert (around.mean, around.n_clusters, around.items) == pytest.approx((3, 2, 1))
    assert (around.n_seeds, around.seeds, around.noise, around.total) == (2, 0, 0, around.items)


def test_three_seeds_have_a_spread_of_their_own():
    around = spread(np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]))
    # Items: 3 below and 3 above: sqrt(2 x 18) / 6 = 1. Seeds' means 1, 2, 3: 1 / sqrt(3). Nothing is left to noise.
    assert (around.mean, around.items, around.seeds) == pytest.approx((2, 1, 1 / math.sqrt(3)))
    assert around.noise == 0
    assert around.total == pytest.approx(math.sqrt(1 + 1 / 3))


def test_the_noise_that_items_and_seeds_share_counts_once():
    around = spread(np.array([[0.0, 1.0, 5.0], [2.0, 6.0, 4.0]]))
    # Means of items 2, 4 and of seeds 1, 3.5, 4.5 around 3: left are 0, -1.5, 1.5 and 0, 1.5, -1.5, with 2 degrees.
    assert around.noise == pytest.approx(math.sqrt(9 / 2 / 6))
    assert around.total == pytest.approx(math.sqrt(around.items**2 + around.seeds**2 - around.noise**2))
    assert around.items == pytest.approx(1)


def test_missing_values_weigh_nothing():
    assert spread(np.array([[1.0, NAN], [3.0, 3.0]])).mean == pytest.approx(7 / 3)  # (1 + 3 + 3) / 3
    grid = np.random.default_rng(0).normal(0, 1, (30, 3))
    padded = np.full((40, 4), NAN)
    padded[5:35, 1:] = grid
    names = [f"pair {item // 2}" for item in range(40)]
    assert spread(padded) == spread(grid)
    assert spread(padded, names) == spread(grid, names[5:35])


def test_the_halves_of_a_pair_are_one_draw():
    grid = np.random.default_rng(1).normal(0, 1, (40, 3))
    alone, names = spread(grid), [str(item // 2) for item in range(80)]
    twice = spread(np.repeat(grid, 2, axis=0), names)
    assert (twice.n_clusters, twice.items) == pytest.approx((40, alone.items))
    assert spread(np.repeat(grid, 2, axis=0)).items < 0.75 * alone.items  # 80 items they are not
    assert mean_interval(np.repeat(grid, 2, axis=0), names) == pytest.approx(mean_interval(grid))
    opposed = spread(np.ravel([grid[:, 0], -grid[:, 0]], order="F")[:, None], names)
    assert opposed.items == pytest.approx(0)  # what one half gains, the other loses


def test_one_seed_has_students_interval_of_the_items():
    values = np.random.default_rng(1).normal(1.0, 1.0, 60)
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values[:, None]) == pytest.approx((values.mean(), theirs.low, theirs.high))


def test_three_seeds_that_differ_have_students_interval_of_their_means():
    items, runs = np.random.default_rng(1).normal(0, 0.1, (50, 1)), np.array([-0.5, 0.1, 0.5])
    theirs = scipy.stats.ttest_1samp(items.mean() + runs, 0).confidence_interval()
    assert mean_interval(items + runs) == pytest.approx((items.mean() + runs.mean(), theirs.low, theirs.high))
    # Two seeds cannot show how far a third would lie: the interval is about these weights.
    alone = mean_interval(items)
    two = mean_interval(items + runs[:2])
    assert two.high - two.low == pytest.approx(alone.high - alone.low)


def test_seeds_that_agree_add_nothing():
    values = np.random.default_rng(1).normal(0, 1, (50, 1))
    assert mean_interval(np.repeat(values, 3, axis=1)) == pytest.approx(mean_interval(values))
    answers = (values > 0.5).astype(float)
    assert rate_interval(np.repeat(answers, 3, axis=1)) == pytest.approx(rate_interval(answers))


def test_no_value_and_one_item_claim_nothing():
    for interval in (mean_interval, rate_interval, change_interval):
        assert all(math.isnan(number) for number in interval(np.full((3, 2), NAN)))
    assert mean_interval(np.array([[0.2, 0.4]])) == pytest.approx((0.3, -math.inf, math.inf))
    low, high = rate_interval(column(1))[1:]
    assert low < 0.3 and high == 1


def test_a_rate_without_any_event_is_not_certain():
    wilson = scipy.stats.binomtest(0, 100).proportion_ci(0.95, method="wilson")
    for seeds in (1, 3):  # three seeds that never lie are no more items
        assert rate_interval(np.zeros((100, seeds))) == pytest.approx((0, 0, wilson.high))
        assert rate_interval(np.ones((100, seeds))) == pytest.approx((1, 1 - wilson.high, 1))


@pytest.mark.parametrize(("events", "n"), [(1, 20), (7, 50), (30, 145)])
def test_the_limits_of_a_rate_are_those_that_the_score_test_just_allows(events, n):
    rate, *limits = rate_interval(column(*[1] * events, *[0] * (n - events)))
    assert rate == events / n
    for limit in limits:  # with n - 1, as a sample's variance has it
        assert abs(rate - limit) == pytest.approx(Z * math.sqrt(limit * (1 - limit) / (n - 1)))


def test_items_that_are_alike_are_as_many_answers_as_items():
    """Each item lies at one seed of three, which rounding must not take for certainty."""
    wilson = scipy.stats.binomtest(10, 30).proportion_ci(0.95, method="wilson")
    assert rate_interval(np.tile(np.eye(3), (10, 1))) == pytest.approx((1 / 3, wilson.low, wilson.high))


def test_a_rate_of_seeds_that_differ_holds_them_all_and_stays_between_0_and_1():
    grid = np.zeros((100, 3))
    grid[::2, 0] = 1
    assert rate_interval(grid) == pytest.approx((1 / 6, 0, 1 / 6 + scipy.stats.t.ppf(0.975, 2) / 6))


@pytest.mark.parametrize(
    ("up", "down", "n", "level", "low", "high"),
    [
        # Fagerland, Lydersen and Laake, Statistics in Medicine 33, 2014: airway reactivity before and after
        # transplantation.
        (1, 7, 21, 0.05, -0.517, -0.026),
        (28, 25, 618, 0.10, -0.0148, 0.0247),  # scoreci.mp(25, 28, 618, 0.9) of the R package PropCIs
    ],
)
def test_tango_has_the_published_limits(up, down, n, level, low, high):
    assert tango(up, down, n, level) == pytest.approx((low, high), abs=5e-4)


def test_tango_without_a_change_and_with_nothing_else():
    low, high = tango(0, 0, 100)
    # Without a discordant pair the score is -delta sqrt(n) / sqrt(delta (1 - delta)) at its worst: z^2 / (n + z^2).
    assert (low, high) == pytest.approx((-(Z**2) / (100 + Z**2), Z**2 / (100 + Z**2)))
    # Where all went up the likeliest shares below that are (1 + delta) / 2 up, the rest down: (n - z^2) / (n + z^2).
    low, high = tango(50, 0, 50)
    assert (low, high) == pytest.approx(((50 - Z**2) / (50 + Z**2), 1))
    assert tango(0, 50, 50) == pytest.approx((-high, -low))


def test_a_change_of_one_seed_is_tangos_of_one_pair_less():
    interval = change_interval(pairs(12, 2, 50))
    assert interval.value == 0.2
    assert (interval.low, interval.high) == pytest.approx(tango(12 * 49 / 50, 2 * 49 / 50, 49))
    assert discordance(pairs(12, 2, 50)) == pytest.approx((12 * 49 / 50, 2 * 49 / 50, 49))


def test_pairs_that_repeat_one_another_count_once():
    alone = change_interval(pairs(12, 2, 50))
    assert change_interval(np.repeat(pairs(12, 2, 50), 3, axis=1)) == pytest.approx(alone)
    twice, names = np.repeat(pairs(12, 2, 50), 2, axis=0), [str(item // 2) for item in range(100)]
    assert change_interval(twice, names) == pytest.approx(alone)
    assert change_interval(twice).low > alone.low


def test_a_change_that_seeds_do_not_share_is_as_wide_as_they_differ():
    grid = np.hstack([pairs(30, 0, 100), pairs(10, 0, 100), pairs(5, 0, 100)])
    theirs = scipy.stats.ttest_1samp([0.3, 0.1, 0.05], 0).confidence_interval()
    assert change_interval(grid) == pytest.approx((0.15, theirs.low, theirs.high))


def test_a_part_of_each_item_is_not_certain_either():
    """Ten items of three epochs, each of which changed in one: rounding must not take it for certainty."""
    assert change_interval(column(*[1 / 3] * 10)) == pytest.approx((1 / 3, *tango(10 / 3, 0, 10)))
