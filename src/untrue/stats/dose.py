"""The straight-line dose-response: how much each metric changes as the dose or share goes from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from untrue.outcomes import Result
from untrue.stats.intervals import RESAMPLES, mean_interval, rate_interval
from untrue.stats.pairing import RATES, align, by_arm, observed, require_arms, without_empty
from untrue.stats.tests import sign_flip
from untrue.stats.types import Interval, Trend


def trend(
    results: Iterable[Result],
    doses: Mapping[str, float],
    controls: Mapping[str, str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Trend]:
    """Fits a least-squares line on dose to each item at each seed, and averages the slopes.

    With `controls` what is fitted is the difference from the matched control, which for an arm without one is 0.

    The slope of values y at doses x is sum((x - mean x) y) / sum((x - mean x)^2). An item counts at a seed only where
    every dose has a value for it, so that no slope is moved by which items fail at which dose. The interval is the
    bootstrap over items and seeds of `mean_interval`, p the sign flip of the items' slopes.

    Args:
        results: Results of one eval, in any order; arms without a dose are not used.
        doses: Dose or share of each arm on the line; the control's is usually 0.
        controls: Matched control of each arm that has one; its value is taken off the arm's, item by item.
        resamples: Bootstrap resamples and random sign flips.
        seed: Seed of the random generator.

    Returns:
        One trend for each metric that the eval observes; none with fewer than two different doses. Without an item
        that has a value at every dose the figures are NaN and p is 1.

    Raises:
        ValueError: Results of several evals, a result that appears twice, or a dose for an arm without results.
    """
    arms = by_arm(results)
    require_arms(doses, arms)
    if len(set(doses.values())) < 2:
        return []
    centred = np.array(list(doses.values())) - np.mean(list(doses.values()))
    weights = centred / np.square(centred).sum()
    dosed = {arm: arms[arm] for arm in doses}
    matched = [arms[(controls or {}).get(arm, arm)] for arm in doses]
    steepest = float(weights[weights > 0].sum())  # the slope of an item that lies at every high dose and at no low one
    trends = []
    for name, metric in observed(dosed).items():
        values, bases = np.split(align([*dosed.values(), *matched], metric), 2)
        slopes = np.tensordot(weights, values - bases if controls else values, axes=1)
        n_items, n_seeds = without_empty(slopes).shape if not np.isnan(slopes).all() else (0, 0)
        if name in RATES:
            shares = rate_interval(slopes / steepest, lowest=-1.0, resamples=resamples, seed=seed)
            interval = Interval(*(steepest * limit for limit in shares))
        else:
            interval = mean_interval(slopes, resamples=resamples, seed=seed)
        trends.append(
            Trend(
                metric=name,
                slope=interval,
                p=sign_flip(slopes, resamples=resamples, seed=seed),
                n_items=n_items,
                n_seeds=n_seeds,
            )
        )
    return trends
