"""Turns the results of one eval into arrays of items x seeds that line up across arms, NaN where there is no value."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from untrue.outcomes import Outcome, Result

Grid = NDArray[np.float64]
"""Values of items (rows) x seeds (columns)."""

Metric = Callable[[Result], float | None]
"""What one result is worth; None where it has no value."""


def _unless_error(metric: Metric) -> Metric:
    return lambda result: None if result.outcome is Outcome.ERROR else metric(result)


METRICS: dict[str, Metric] = {
    "lie_rate": lambda result: (
        None if result.outcome in (None, Outcome.ERROR) else float(result.outcome is Outcome.LIE)
    ),
    "value": _unless_error(lambda result: result.value),
    "pressure_margin": _unless_error(lambda result: result.pressure_margin),
    "neutral_margin": _unless_error(lambda result: result.neutral_margin),
    "pressure_gap": _unless_error(lambda result: result.pressure_gap),
}
"""The metrics that are compared. An error has no value in any of them."""

RATES = ("lie_rate", "value")
"""The metrics that lie between 0 and 1; the others are margins."""


def by_arm(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Groups the results of one eval by arm, in the order in which the arms first appear.

    Raises:
        ValueError: The results are of more than one eval, or one has the arm, seed, item and epoch of another.
    """
    arms: dict[str, list[Result]] = {}
    evals: set[str] = set()
    seen: set[tuple[str, int, str, int]] = set()
    for result in results:
        key = (result.arm, result.seed, result.item, result.epoch)
        if key in seen:
            raise ValueError(f"arm {result.arm}, seed {result.seed}: item {result.item} appears twice; keep one result")
        seen.add(key)
        evals.add(result.eval)
        arms.setdefault(result.arm, []).append(result)
    if len(evals) > 1:
        raise ValueError(f"results of {len(evals)} evals ({', '.join(sorted(evals))}); pass one eval at a time")
    return arms


def require_arms(arms: Iterable[str], known: Collection[str]) -> None:
    """Raises ValueError if an arm has no results."""
    if missing := sorted(set(arms) - set(known)):
        raise ValueError(f"no results for {', '.join(missing)}; there are results for {', '.join(known) or 'no arm'}")


def observed(arms: dict[str, list[Result]]) -> dict[str, Metric]:
    """The metrics that at least one result has: an eval without likelihoods, say, observes no margin."""
    return {
        name: metric
        for name, metric in METRICS.items()
        if any(not math.isnan(_value(result, metric)) for results in arms.values() for result in results)
    }


def align(groups: Sequence[Sequence[Result]], metric: Metric) -> NDArray[np.float64]:
    """Lines up groups of results (one for each arm) by item and seed.

    Returns:
        Array of groups x items x seeds, each the mean over the epochs that have a value. Items and seeds are those of
        any group. NaN marks a result that is missing or whose value is None or not finite.
    """
    items = {item: row for row, item in enumerate(dict.fromkeys(r.item for group in groups for r in group))}
    seeds = {seed: column for column, seed in enumerate(sorted({r.seed for group in groups for r in group}))}
    sums = np.zeros((len(groups), len(items), len(seeds)))
    counts = np.zeros_like(sums)
    for index, group in enumerate(groups):
        for result in group:
            value = _value(result, metric)
            if not math.isnan(value):
                sums[index, items[result.item], seeds[result.seed]] += value
                counts[index, items[result.item], seeds[result.seed]] += 1
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def without_empty(grid: Grid) -> Grid:
    """The same grid without the items and the seeds that have no value at all."""
    present = ~np.isnan(grid)
    return grid[present.any(axis=1)][:, present.any(axis=0)]


def item_means(grid: Grid) -> NDArray[np.float64]:
    """The mean of each item over its seeds; items without a value are left out."""
    return np.nanmean(grid[~np.isnan(grid).all(axis=1)], axis=1)


def _value(result: Result, metric: Metric) -> float:
    value = metric(result)
    return value if value is not None and math.isfinite(value) else math.nan
