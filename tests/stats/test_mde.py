"""The smallest effect that could have been seen, by hand and by simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from untrue.stats.intervals import mean_interval, rate_interval
from untrue.stats.mde import mde, mde_of_rate
from untrue.stats.tests import mcnemar, sign_flip
from untrue.stats.types import Interval


def test_detectable_by_hand():
    # Half width 0.1 is 1.960 standard errors: 0.05102 each. (1.960 + 0.8416) x 0.05102 = 0.1429.
    assert mde(Interval(0.0, -0.1, 0.1), 100) == pytest.approx(0.1429, abs=1e-4)


def test_a_margin_of_that_size_is_found_four_times_in_five():
    random = np.random.default_rng(0)
    size = mde(mean_interval(random.normal(0, 0.3, (400, 1))), 400)
    found = [sign_flip(random.normal(size, 0.3, (400, 1)), resamples=500) < 0.05 for _ in range(300)]
    assert 0.7 < np.mean(found) < 0.9


def test_without_a_discordant_pair_the_sensitivity_is_that_of_the_exact_test():
    size = mde_of_rate(rate_interval(np.zeros((145, 1)), lowest=-1.0), 145)
    # At that rate 145 items show six changes, the fewest that McNemar's test can call significant, four times in five.
    assert scipy.stats.binom.sf(5, 145, size) == pytest.approx(0.8)
    assert size == pytest.approx(7.9 / 145, rel=0.02)
    six, five = np.zeros((145, 1)), np.zeros((145, 1))
    six[:6], five[:5] = 1, 1
    assert mcnemar(six) < 0.05 < mcnemar(five)


def test_with_many_discordant_pairs_the_standard_error_decides():
    interval = Interval(0.0, -0.1, 0.1)
    assert mde_of_rate(interval, 145) == mde(interval, 145)


def test_what_cannot_be_stated_is_infinite():
    assert mde(Interval(0.0, -0.1, 0.1), 5) == math.inf
    assert mde_of_rate(Interval(0.0, -0.1, 0.1), 5) == math.inf
    assert mde(Interval(0.0, 0.0, 0.0), 145) == math.inf
    assert mde(Interval(math.nan, math.nan, math.nan), 0) == math.inf
