"""Bets against a mean: what they come to, and how often they are wrong when looked at after every draw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from untrue.stats.sequential import BETS, evidence, limits, log_capital


def test_the_capital_is_the_mean_of_nine_products() -> None:
    # Against a mean of 0.2 or more a draw can lose 1 - 0.2 = 0.8: a bet of b gains b x 0.25 on 0, and loses b on 1.
    draws = [0.0, 1.0, -1.0]
    factors = [(1 + bet * 0.25, 1 - bet, 1 + bet * 1.5) for bet in BETS]
    wanted = [np.mean([math.prod(of[:n]) for of in factors]) for n in (1, 2, 3)]
    assert np.exp(log_capital(draws, 0.2, "below")) == pytest.approx(wanted)
    assert np.exp(log_capital([0.0], 0.2, "below")) == pytest.approx([1 + 0.5 * 0.25])
    assert np.exp(log_capital([1.0, -1.0], 0.0, "above")) == pytest.approx([1.5, np.mean([1 - b * b for b in BETS])])
    assert np.exp(log_capital(-np.array(draws), -0.2, "above")) == pytest.approx(wanted)


def test_evidence_never_falls_and_starts_at_one() -> None:
    assert evidence([], 0.0, "above") == evidence([-1.0], 0.0, "above") == 1
    assert evidence([1.0] * 5 + [-1.0] * 20, 0.0, "above") == evidence([1.0] * 5, 0.0, "above") > 5
    assert math.isfinite(evidence([1.0] * 5000, 0.0, "above"))


@pytest.mark.parametrize(("bound", "side"), [(0.05, "below"), (0.0, "above"), (0.2, "below")])
@pytest.mark.parametrize("discordance", [0.02, 0.1, 0.5])
def test_a_true_bound_is_refuted_at_any_time_in_at_most_one_of_twenty(bound, side, discordance) -> None:
    generator, repeats = np.random.default_rng(5), 2000
    rise = (discordance + bound) / 2 if discordance > bound else bound
    uniform = generator.random((repeats, 400))
    draws = np.where(uniform < rise, 1.0, np.where(uniform < 2 * rise - bound, -1.0, 0.0))
    capital = log_capital(draws, bound, side)
    wrong = (capital.max(axis=1) >= math.log(20)).mean()
    assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repeats)
    means = np.exp(capital).mean(axis=0)  # no bet gains on average
    assert (means[:20] <= 1 + 4 * np.exp(capital[:, :20]).std(axis=0) / math.sqrt(repeats) + 1e-9).all()


def test_limits_are_the_bounds_that_are_not_refuted() -> None:
    draws = np.random.default_rng(2).choice([-1.0, 0.0, 0.0, 0.0, 1.0], 300)
    value, low, high = limits(draws, 0.05)
    assert value == pytest.approx(draws.mean())
    assert low < value < high
    for bound in np.linspace(-0.99, 0.99, 45):
        assert (evidence(draws, bound, "below") >= 20) == (bound >= high)
        assert (evidence(draws, bound, "above") >= 20) == (bound <= low)
    mirrored = limits(-draws, 0.05)
    assert (mirrored.low, mirrored.high) == pytest.approx((-high, -low))
    wider = limits(draws, 0.01)
    assert wider.low < low and wider.high > high


def test_no_draw_shows_nothing_and_draws_at_the_edge_do_not_break_it() -> None:
    nothing = limits([], 0.05)
    assert math.isnan(nothing.value) and nothing[1:] == (-1, 1)
    assert limits([1.0] * 50, 0.05).high == pytest.approx(1)
    assert limits([1.0] * 50, 0.05).low > 0.5
