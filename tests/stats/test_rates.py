"""One definition of a rate: epochs are no items, seeds count, and the summary of an arm says the same."""

from __future__ import annotations

import math

import pytest
import scipy.stats

from untrue.outcomes import Outcome, Result
from untrue.stats import summarise
from untrue.stats.rates import HELD, mean, outcome_rate, outcome_values, rate


def test_replies_to_one_item_do_not_count_as_items():
    once = rate((str(n), 0, float(n % 2)) for n in range(20))
    ten_times = rate((str(n), 0, float(n % 2)) for n in range(20) for _ in range(10))
    assert once == pytest.approx(ten_times)
    apart = rate((f"{n} {epoch}", 0, float(n % 2)) for n in range(20) for epoch in range(10))
    assert apart.high - apart.low < 0.5 * (once.high - once.low)


def test_an_item_counts_once_however_many_of_its_replies_there_are():
    values = [("a", 0, 1.0), ("a", 0, 1.0), ("a", 0, 0.0), ("b", 0, 0.0), ("b", 0, math.nan)]
    assert mean(values) == rate(values).value == pytest.approx(1 / 3)


def test_without_spread_it_is_not_certain():
    wilson = scipy.stats.binomtest(0, 30).proportion_ci(0.95, method="wilson")
    assert rate([(str(n), 0, 0.0) for n in range(30)]) == pytest.approx((0, 0, wilson.high))
    assert all(math.isnan(end) for end in rate([]))
    assert math.isnan(mean([]))


def test_what_all_items_of_a_seed_share_widens_it_and_the_summary_says_the_same():
    """One of three seeds lies in half of the items: an interval over items alone would not see it."""
    results = [
        Result("arm", seed, "mask", str(n), "kind", Outcome.LIE if seed == 0 and n % 2 else Outcome.HONEST, epoch=epoch)
        for seed in range(3)
        for n in range(100)
        for epoch in (1, 2)
    ]
    over_all = outcome_rate(results, (Outcome.LIE,))
    assert over_all.value == pytest.approx(1 / 6)
    assert over_all.low == 0 and over_all.high > 0.4
    [summary] = summarise(results, {})
    assert summary.lie_rate == over_all
    assert summary.lie_rate_given_belief == outcome_rate(results, (Outcome.LIE,), HELD)


def test_the_denominator_is_what_is_named():
    outcomes = [Outcome.LIE, Outcome.HONEST, Outcome.EVADE, Outcome.NO_BELIEF, Outcome.ERROR]
    results = [Result("arm", 0, "mask", str(n), "kind", outcome) for n, outcome in enumerate(outcomes)]
    assert outcome_rate(results, (Outcome.LIE,)).value == pytest.approx(1 / 5)
    assert outcome_rate(results, (Outcome.LIE,), HELD).value == pytest.approx(1 / 3)
    assert len(outcome_values(results, (Outcome.LIE,), HELD)) == 3
