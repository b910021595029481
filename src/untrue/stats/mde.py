"""The smallest true difference that a comparison would have found: what "no effect" is worth."""

from __future__ import annotations

import math

from scipy.stats import beta, norm

from untrue.stats.types import Interval

POWER = 0.80
LEVEL = 0.05
FEWEST = 6
"""Fewest items that can show anything: with five that all go one way an exact two-sided test gives 2 / 2^5 = 0.0625,
with six 0.031; and of five that never lie, the interval of the lie rate reaches beyond a half."""


def mde(interval: Interval, n_items: int) -> float:
    """Smallest mean difference found at 80 % power by a two-sided 5 % test: (z_0.975 + z_0.80) x standard error.

    The standard error is that of a normal with the interval's width, (high - low) / (2 z_0.975), so that it holds the
    items, the seeds and the price of having few of them.

    Args:
        interval: The paired difference, with its bootstrap interval.
        n_items: Items that it rests on.

    Returns:
        The difference, positive. Infinity where none can be stated: fewer than six items, on which the tests cannot
        reach 5 %, or differences without any spread, which would claim to see everything.
    """
    if n_items < FEWEST or math.isclose(interval.low, interval.high):
        return math.inf
    z = float(norm.ppf(1 - LEVEL / 2))
    return (z + float(norm.ppf(POWER))) * (interval.high - interval.low) / (2 * z)


def mde_of_rate(interval: Interval, n_items: int) -> float:
    """`mde` for a difference of rates, and never less than the exact test could see.

    Where few pairs are discordant the standard error is near 0 (at none, exactly 0) and would claim a sensitivity that
    McNemar's test does not have: it needs six discordant items that all go one way. So the answer is at least the rate
    of changed items at which n items show six or more with 80 % probability, about 7.9 / n (in the manner of the rule
    of three). Items that change at some seeds only move the rate less; for them the bound is on the safe side.
    """
    if n_items < FEWEST:
        return math.inf
    return max(mde(interval, n_items), float(beta.ppf(POWER, FEWEST, n_items - FEWEST + 1)))
