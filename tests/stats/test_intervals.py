"""The interval of a mean: against scipy for one seed, by hand for the seeds, and by simulation for its coverage."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from untrue.stats import intervals
from untrue.stats.intervals import mean_interval, rate_interval, seed_variance

NAN = np.nan


def test_one_seed_is_the_plain_bootstrap_of_items():
    values = np.random.default_rng(1).exponential(1.0, 60)
    ours = mean_interval(values[:, None])
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=2)
    assert ours.value == pytest.approx(values.mean())
    # Two sets of 10,000 random resamples: the limits agree to a few hundredths of the standard error (0.13).
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_missing_values_weigh_nothing():
    assert mean_interval(np.array([[1.0, NAN], [3.0, 3.0]])).value == pytest.approx(7 / 3)  # (1 + 3 + 3) / 3
    grid = np.random.default_rng(0).normal(0, 1, (30, 2))
    padded = np.full((40, 3), NAN)
    padded[:30, :2] = grid
    assert mean_interval(padded) == mean_interval(grid)


def test_seed_variance_by_hand():
    # Item means 2 and 4; within items: (-1, 1) and (-2, 2); seed means of these -1.5 and 1.5, variance 4.5.
    # What is left is (0.5, -0.5), (-0.5, 0.5): sum of squares 1 over (2 - 1)(2 - 1) = 1 degree of freedom; for the mean
    # of two items 1 / 2. So the seeds' own variance is 4.5 - 0.5 = 4, and that of the mean of two seeds 2.
    assert seed_variance(np.array([[1.0, 3.0], [2.0, 6.0]])) == pytest.approx(2.0)


def test_seed_variance_is_nil_where_noise_explains_the_seeds():
    assert seed_variance(np.array([[1.0, 3.0], [3.0, 1.0]])) == 0.0
    assert seed_variance(np.array([[1.0], [3.0]])) == 0.0


def test_seeds_that_agree_add_nothing_and_seeds_that_differ_widen_the_interval():
    values = np.random.default_rng(1).normal(0, 1, (50, 1))
    alone = mean_interval(values)
    agreeing = mean_interval(np.repeat(values, 3, axis=1))
    assert (agreeing.low, agreeing.high) == pytest.approx((alone.low, alone.high))
    differing = mean_interval(values + np.array([-0.5, 0.0, 0.5]))
    # Three seeds with standard deviation 0.5: 0.5 / sqrt(3) times Student's t of 2 degrees, 4.30, is 1.24 on each side.
    assert differing.value == pytest.approx(alone.value)
    assert (differing.high - differing.low) / 2 == pytest.approx(1.24, rel=0.15)


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(monkeypatch):
    grid = np.random.default_rng(0).normal(0, 1, (40, 3))
    whole = mean_interval(grid)
    monkeypatch.setattr(intervals, "_BLOCK", 1_000)
    assert mean_interval(grid) == whole
    assert mean_interval(grid, seed=1) != whole


def test_no_value_and_one_item_claim_nothing():
    assert all(math.isnan(number) for number in mean_interval(np.full((3, 2), NAN)))
    assert mean_interval(np.array([[0.2, 0.4]])) == pytest.approx((0.3, -math.inf, math.inf))


def test_a_rate_without_any_event_is_not_certain():
    # 100 items without a lie: 1 - 0.025^(1/100) = 0.0362, the limit of scipy's exact (Clopper-Pearson) interval.
    exact = scipy.stats.binomtest(0, 100).proportion_ci(0.95, method="exact")
    assert rate_interval(np.zeros((100, 3))) == pytest.approx((0.0, 0.0, exact.high))
    assert rate_interval(np.ones((100, 1))) == pytest.approx((1.0, 1 - exact.high, 1.0))
    assert rate_interval(np.zeros((100, 1)), lowest=-1.0) == pytest.approx((0.0, -exact.high, exact.high))


def test_a_rate_stays_between_its_limits():
    assert rate_interval(np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])) == (0.5, 0.0, 1.0)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))
    margins, lies, coverage, rates = (benchmark[name] for name in ("margins", "lies", "coverage", "rates"))
    held = {
        f"item {item}, noise {noise}, seed {seed}, {seeds} seeds": coverage(
            margins(seeds, item=item, noise=noise, seed=seed), 0.0
        )[0]
        for item, noise, seed, seeds in (
            (0.3, 0.1, 0.0, 1),
            (0.3, 0.1, 0.0, 3),
            (0.3, 0.1, 0.0, 5),
            (0.1, 0.3, 0.0, 3),
            (0.1, 0.3, 0.0, 5),
            (0.3, 0.1, 0.02, 3),
            (0.3, 0.1, 0.02, 5),
        )
    }
    held |= {f"lies, {seeds} seeds": coverage(lies(seeds, control=0.1, arm=0.2), 0.1, rates)[0] for seeds in (1, 3)}
    assert {case: share for case, share in held.items() if not 0.93 <= share <= 0.97} == {}
