"""95 % intervals of means and rates over items and seeds, for one model and for the difference of two.

With fewer than three seeds only the items are random, and the numbers speak of these weights. With three or more the
training runs are random too: the interval is the wider of the items' and the seeds'. Items of one cluster (a scenario,
a pair of questions) are one draw. docs/validity.md measures the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from untrue.stats.pairing import Grid, without_empty
from untrue.stats.types import Interval

RUNS = 3  # from so many seeds on, numbers speak of a recipe and no longer of these weights alone


class Spread(NamedTuple):
    """What a mean rests on: standard errors, and numbers of clusters of items and of seeds.

    Attributes:
        items: Error from the items and their answers.
        seeds: Error of the mean of the seeds' means; 0 below three seeds.
        noise: The part in both: what neither item nor seed explains.
    """

    mean: float
    n_clusters: int
    items: float
    n_seeds: int
    seeds: float
    noise: float

    @property
    def total(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(max(self.items**2 + self.seeds**2 - self.noise**2, self.items**2, self.seeds**2))


def spread(grid: Grid, clusters: Sequence[str] | None = None) -> Spread:
    """The mean of a grid (items x seeds, NaN for a missing value, not empty) and its standard errors.

    The items' error is that of a ratio of sums over clusters (Liang and Zeger 1986, with g / (g - 1)); the seeds' error
    is the standard deviation of their means over the root of their number. Without `clusters` each item is its own.
    """
    names = np.array(clusters) if clusters else np.arange(len(grid))
    names, grid = names[~np.isnan(grid).all(axis=1)], without_empty(grid)
    mean = _rounded(float(np.nanmean(grid)))
    _, index = np.unique(names, return_inverse=True)
    n_clusters, n_seeds = int(index.max()) + 1, grid.shape[1]
    residuals = np.zeros(n_clusters)
    np.add.at(residuals, index, np.nansum(grid - mean, axis=1))
    count = np.count_nonzero(~np.isnan(grid))
    items = (
        math.sqrt(n_clusters / (n_clusters - 1) * np.square(residuals).sum()) / count if n_clusters > 1 else math.inf
    )
    items = _rounded(items)
    if n_seeds < RUNS:
        return Spread(mean, n_clusters, items, n_seeds, 0.0, 0.0)
    seeds = _rounded(float(np.std(np.nanmean(grid, axis=0), ddof=1)) / math.sqrt(n_seeds))
    left = grid - np.nanmean(grid, axis=1, keepdims=True) - np.nanmean(grid, axis=0) + mean
    freedom = max(1, count - len(grid) - n_seeds + 1)
    noise = _rounded(math.sqrt(np.nansum(np.square(left)) / freedom / count))
    return Spread(mean, n_clusters, items, n_seeds, seeds, noise)


def _rounded(value: float) -> float:
    """0 for what rounding leaves of equal values."""
    return value if abs(value) > 1e-12 else 0.0


def mean_interval(grid: Grid, clusters: Sequence[str] | None = None, level: float = 0.05) -> Interval:
    """Mean of all values with its interval, by Student's t.

    Args:
        grid: Items x seeds, NaN for a missing value.
        clusters: Cluster of each item.
        level: 1 minus the coverage.

    Returns:
        The interval: all NaN without a value, from minus to plus infinity with one item.
    """
    if without_empty(grid).size == 0:
        return Interval(math.nan, math.nan, math.nan)
    around = spread(grid, clusters)
    if around.n_clusters == 1:
        return Interval(around.mean, -math.inf, math.inf)
    half = float(max(around.items * stdtrit(around.n_clusters - 1, 1 - level / 2), seeds_half(around, level)))
    return Interval(around.mean, around.mean - half, around.mean + half)


def share_interval(grid: Grid, clusters: Sequence[str] | None = None, level: float = 0.05) -> Interval:
    """`mean_interval` of probabilities and other shares, cut off at 0 and 1."""
    value, low, high = mean_interval(grid, clusters, level)
    return Interval(value, max(0.0, low), min(1.0, high))


def rate_interval(grid: Grid, clusters: Sequence[str] | None = None, level: float = 0.05) -> Interval:
    """A rate with Wilson's interval (1927) for as many independent answers as carry the same spread.

    If all values are 0, or all 1, an item counts as one answer. Args and result are those of `mean_interval`.
    """
    if without_empty(grid).size == 0:
        return Interval(math.nan, math.nan, math.nan)
    around, z = spread(grid, clusters), float(ndtri(1 - level / 2))
    rate, n = min(max(around.mean, 0.0), 1.0), _answers(around, around.mean * (1 - around.mean))
    middle, half = (rate + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n)
    half *= math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    runs = seeds_half(around, level)
    low, high = min(rate, middle - half, rate - runs), max(rate, middle + half, rate + runs)
    return Interval(rate, max(0.0, low), min(1.0, high))


def change_interval(differences: Grid, clusters: Sequence[str] | None = None, level: float = 0.05) -> Interval:
    """The difference of two rates on the same items, with the interval of `tango` for as many independent pairs.

    `differences` are items x seeds, arm minus control, from -1 to 1; NaN for a missing pair. Args as in
    `mean_interval`.
    """
    if without_empty(differences).size == 0:
        return Interval(math.nan, math.nan, math.nan)
    around, pairs = spread(differences, clusters), discordance(differences, clusters)
    low, high = tango(*pairs, level)
    runs = seeds_half(around, level)
    low, high = min(low, around.mean - runs), max(high, around.mean + runs)
    return Interval(around.mean, max(-1.0, low), min(1.0, high))


def discordance(differences: Grid, clusters: Sequence[str] | None = None) -> tuple[float, float, float]:
    """Pairs up, pairs down and all pairs, as so many independent pairs as carry the same spread.

    Durkalski and others (2003) correct McNemar's variance for clusters; here the correction goes into the counts.
    """
    around = spread(differences, clusters)
    present = differences[~np.isnan(differences)]
    up, down = float(np.clip(present, 0, None).mean()), float(np.clip(-present, 0, None).mean())
    n = _answers(around, up + down - around.mean**2)
    return up * n, down * n, n


def tango(up: float, down: float, n: float, level: float = 0.05) -> tuple[float, float]:
    """The score interval of a difference of paired proportions (Tango, Statistics in Medicine 17, 1998, p. 891).

    Of `n` pairs, `up` went from no to yes and `down` from yes to no; `level` is 1 minus the two-sided coverage.
    """
    from scipy.optimize import brentq  # takes long to import

    z, value = float(ndtri(1 - level / 2)), (up - down) / n

    def score(delta: float) -> float:
        b = -up - down + (2 * n - up + down) * delta
        one_way = (math.sqrt(max(0.0, b * b + 8 * n * down * delta * (1 - delta))) - b) / (4 * n)
        return (up - down - n * delta) / math.sqrt(max(n * (2 * one_way + delta * (1 - delta)), 1e-300))

    edge = 1 - 1e-9
    low = brentq(lambda d: score(d) - z, -edge, value) if value > -edge and score(-edge) > z else -1.0
    high = brentq(lambda d: score(d) + z, value, edge) if value < edge and score(edge) < -z else 1.0
    return min(float(low), value), max(float(high), value)  # pyright: ignore[reportArgumentType]


def seeds_half(around: Spread, level: float = 0.05) -> float:
    """Half the width of the interval of the seeds' means; 0 below three seeds."""
    return around.seeds * float(stdtrit(around.n_seeds - 1, 1 - level / 2)) if around.n_seeds >= RUNS else 0.0


def _answers(around: Spread, variance: float) -> float:
    """How many independent answers of this variance give this standard error; the number of items if it is 0."""
    if around.n_clusters == 1 or around.items == 0 or variance <= 0:
        return float(around.n_clusters)
    return variance / around.items**2
