"""The 95 % interval of a mean over items and seeds together: a percentile bootstrap, with few seeds taken seriously."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from untrue.stats.pairing import Grid, without_empty
from untrue.stats.types import Interval

RESAMPLES = 10_000
_BLOCK = 2_000_000  # numbers drawn at a time: keeps the memory at some 30 MB whatever the number of items


def mean_interval(grid: Grid, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean of all values, with its 95 % percentile interval over items and seeds.

    Each resample draws the items with replacement, every item with all its seeds. That gives the spread of the items
    and of the noise of each item at each seed. What all items of one seed share (a lucky training run) is added as a
    draw of Student's t with n_seeds - 1 degrees of freedom, times the standard error of the mean of the seeds
    (`seed_variance`). Three seeds resampled with replacement would understate it, and would count the noise three
    times (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007); docs/design/statistics.md measures
    both. With one seed this is the plain bootstrap of the items, and speaks of that seed alone.

    Args:
        grid: Items x seeds, NaN where there is no value. A resample's mean is over the values it has.
        resamples: Number of resamples.
        seed: Seed of the random generator.

    Returns:
        The interval. All NaN without a value; from minus to plus infinity with one item, which shows no spread.
    """
    grid = without_empty(grid)
    if grid.size == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(np.nanmean(grid))
    if len(grid) == 1:
        return Interval(value, -math.inf, math.inf)
    generator = np.random.default_rng(seed)
    means = _item_resamples(grid, resamples, generator)
    if (variance := seed_variance(grid)) > 0:
        means += math.sqrt(variance) * generator.standard_t(grid.shape[1] - 1, resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def rate_interval(grid: Grid, *, lowest: float = 0.0, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """`mean_interval` of a rate, or of a difference of rates (`lowest=-1.0`), and never of no width.

    The limits stay between `lowest` and 1. Where all values are equal (no lie at all, or no pair that differs)
    resampling sees no spread, which is not certainty. The limits are then those of an event that n items did not show:
    1 - 0.025^(1 / n), about 3.7 / n (Clopper and Pearson 1934, zero events). Seeds do not count as further items there.
    """
    value, low, high = mean_interval(grid, resamples=resamples, seed=seed)
    grid = without_empty(grid)
    if grid.size and np.nanmin(grid) == np.nanmax(grid):
        unseen = 1 - 0.025 ** (1 / len(grid))
        low, high = value - unseen, value + unseen
    return Interval(value, max(low, lowest), min(high, 1.0))


def seed_variance(grid: Grid) -> float:
    """Variance of the grid's mean that comes from what all items of a seed share; 0 where it does not show.

    The estimate of a two-way random-effects analysis of variance (items x seeds, one value in each cell): with u the
    mean of each seed after each item's own mean is taken away, and the noise what is then left,
    (variance(u) - noise variance / n_items) / n_seeds, cut off at 0. Missing cells enter through their counts, which is
    exact for a full grid and approximate otherwise.

    Args:
        grid: Items x seeds, NaN where there is no value, no item and no seed without any value.
    """
    n_items, n_seeds = grid.shape
    if n_seeds == 1:
        return 0.0
    within = grid - np.nanmean(grid, axis=1, keepdims=True)
    seed_means = np.nanmean(within, axis=0)
    counts = np.count_nonzero(~np.isnan(grid), axis=0)
    freedom = counts.sum() - n_items - n_seeds + 1
    noise = np.nansum((within - seed_means) ** 2) / freedom * np.mean(1 / counts) if freedom > 0 else 0.0
    return max(0.0, float(np.var(seed_means, ddof=1) - noise)) / n_seeds


def _item_resamples(grid: Grid, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Means of resampled items: the sum of what was drawn over its count, so that missing cells weigh nothing."""
    n_items = len(grid)
    sums = np.nansum(grid, axis=1)
    counts = np.count_nonzero(~np.isnan(grid), axis=1).astype(float)
    means = np.empty(resamples)
    block = max(1, _BLOCK // n_items)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(0, n_items, (size, n_items), dtype=np.int32)
        means[start : start + size] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means
