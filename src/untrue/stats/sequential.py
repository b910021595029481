"""Evidence about a mean that may be looked at after every draw: bets against it, and when to stop is free.

A bettor starts with a capital of 1 and bets, before each draw, that the mean lies below (or above) a bound. Where it
does not, no bet gains on average, and the capital ever reaches 1 / alpha with a probability of at most alpha (Ville
1939). That holds at all times at once, so one may stop as soon as it does: the capital is an e-process, and 1 over its
maximum is a p. Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 86, 2024).

The bets are constant shares of what may be lost, nine of them at once with a ninth of the capital each (their
"diversified" bets). They need no estimate of mean or variance, and evidence against a bound is evidence against every
bound beyond it, so that all bounds not refuted are an interval.

Draws are values between -1 and 1, taken as independent draws from a population, as in the fixed design. Items drawn
from a finite set without replacement are treated as that too, so the interval does not shrink to a point when the set
is used up: it is about items like these.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from untrue.stats.types import Interval

Side = Literal["below", "above"]

BETS = tuple(tenth / 10 for tenth in range(1, 10))
"""Shares of what a draw may cost that are staked."""

_HALVINGS = 20


def log_capital(draws: ArrayLike, bound: float, side: Side) -> NDArray[np.float64]:
    """Log of the capital after each draw.

    Args:
        draws: Values between -1 and 1; the last axis is time.
        bound: What is bet against, strictly between -1 and 1.
        side: `below` bets that the mean is below the bound, against all means from the bound upwards; `above` likewise.

    Returns:
        Log of the mean over bets b of the product of 1 + b gain / most, where the gain is the draw's distance beyond
        the bound, and most is what a draw can lose.
    """
    sign = 1 if side == "above" else -1
    gains = sign * (np.asarray(draws, dtype=float) - bound) / (1 + sign * bound)
    of_bets = [np.cumsum(np.log1p(bet * gains), axis=-1) for bet in BETS]
    return np.logaddexp.reduce(of_bets, axis=0) - math.log(len(BETS))


def evidence(draws: ArrayLike, bound: float, side: Side) -> float:
    """The largest capital so far, at least 1; 1 / alpha or more refutes the bound at the one-sided level alpha.

    Args are those of `log_capital`, with one axis.
    """
    capital = log_capital(draws, bound, side)
    return math.exp(min(700.0, max(0.0, float(capital.max(initial=0.0)))))


def limits(draws: ArrayLike, alpha: float) -> Interval:
    """The mean of the draws, with the one-sided limits that hold at all times at once: the bounds that are not refuted.

    Args:
        draws: Values between -1 and 1, in order.
        alpha: One-sided level of each limit.

    Returns:
        The interval; from -1 to 1, with a value of NaN, without a draw.
    """
    values = np.asarray(draws, dtype=float)
    if not values.size:
        return Interval(math.nan, -1.0, 1.0)
    return Interval(float(values.mean()), -_limit(-values, alpha), _limit(values, alpha))


def _limit(draws: NDArray[np.float64], alpha: float) -> float:
    """The upper one, from the refuted side."""
    unrefuted, refuted = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (unrefuted + refuted) / 2
        if evidence(draws, middle, "below") >= 1 / alpha:
            refuted = middle
        else:
            unrefuted = middle
    return refuted
