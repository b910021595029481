"""The test of a paired difference, its correction for many, and the smallest difference that it would find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, ndtri, stdtr, stdtrit

from untrue.stats.intervals import RUNS, Spread, discordance, spread
from untrue.stats.pairing import Grid, without_empty

LEVEL = 0.05
POWER = 0.80
# What the MDE of three seeds or more aims at. Runs cannot seem to differ by less than nothing, so where they are
# alike the MDE errs upwards; this shares the error between runs that are alike and runs that differ
# (docs/validity.md).
AIM = 0.75
FEWEST = 6  # fewest items that can show anything: five that all go one way are 2 / 2^5 = 0.06 by chance


def p_value(differences: Grid, clusters: Sequence[str] | None = None, *, is_rate: bool) -> float:
    """Two-sided p that the mean difference is 0: the larger of the items' and, from three seeds on, the training runs'.

    The items' p of margins is Student's t. That of rates is McNemar's score (Tango's at 0), and at least the exact
    test's smallest p for as many discordant pairs. The runs' p is Student's t of the seeds' means. p is 1 for a mean of
    0 and below six items. `differences` are items x seeds, arm minus control; NaN for a missing pair.
    """
    if without_empty(differences).size == 0:
        return 1.0
    around = spread(differences, clusters)
    if around.mean == 0 or around.n_clusters < FEWEST:
        return 1.0
    if is_rate:
        up, down, _ = discordance(differences, clusters)
        score = 2 * float(ndtr(-abs(up - down) / math.sqrt(up + down)))
        of_items = max(score, min(1.0, 2 * 0.5 ** (up + down)))
    else:
        of_items = _student(around.mean, around.items, around.n_clusters)
    of_runs = _student(around.mean, around.seeds, around.n_seeds) if around.n_seeds >= RUNS else 0.0
    return max(of_items, of_runs)


def _student(mean: float, error: float, n: int) -> float:
    return 2 * float(stdtr(n - 1, -abs(mean) / error)) if error > 0 else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979), in the order given.

    The k-th smallest of m p values is multiplied by m - k + 1; none may be below a smaller one's, or above 1.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def mde(
    differences: Grid, clusters: Sequence[str] | None = None, *, is_rate: bool, rate: float = 0.5, tests: int = 1
) -> float:
    """The smallest true difference that the same test would find at 80 % power; infinity if there is none.

    The errors of items, runs and noise are drawn anew around it, with the standard errors that the test would see. For
    rates the pairs that go up and down are drawn.

    Args:
        differences: Items x seeds, arm minus control.
        clusters: Cluster of each item.
        is_rate: Whether the values are those of a rate.
        rate: That of the control: near 0 and 1 a training run moves a rate less.
        tests: Tests under Holm's correction: the first must pass at 5 % over their number.
    """
    if without_empty(differences).size == 0:
        return math.inf
    around, level = _calibrated(spread(differences, clusters)), LEVEL / tests
    if around.n_clusters < FEWEST or (around.items == 0 and not is_rate):
        return math.inf
    if is_rate:
        return _detectable_rate(around, *discordance(differences, clusters), rate, level)
    normal, of_items, of_runs = _draws(around.n_clusters, around.n_seeds)
    needed = float(stdtrit(around.n_clusters - 1, 1 - level / 2)) * around.items * of_items
    needed = np.maximum(needed, _runs_need(around, level) * of_runs)
    return float(np.quantile(needed - around.total * normal, _aim(around)))


def _calibrated(around: Spread) -> Spread:
    """The spread with the runs' standard error corrected, so that half of studies overestimate it.

    The observed error is divided by the median of its distribution; what is beyond the noise counts. With both factors
    and `AIM` the power at the median MDE is 75 to 85 % from runs that are alike to runs with a standard error three
    times the noise, and 87 % at ten times with four seeds (`benchmarks/validity.py power`).
    """
    if around.n_seeds < RUNS:
        return around
    freedom = around.n_seeds - 1
    shown = around.seeds**2 * freedom / _chi2(freedom, 0.5)
    beyond = 1.3 * max(0.0, shown - 1.1 * around.noise**2)
    return around._replace(seeds=math.sqrt(around.noise**2 + beyond))


def _aim(around: Spread) -> float:
    return AIM if around.seeds > 0 else POWER


def _detectable_rate(around: Spread, up: float, down: float, n: float, rate: float, level: float) -> float:
    """The difference of rates found in the share of draws that `_aim` says, by bisection; 1 if none is."""
    (normal, _, of_runs), aim = _draws(around.n_clusters, around.n_seeds), _aim(around)
    excess = max(0.0, abs(up - down) - math.sqrt(up + down))  # what went one way beyond chance
    churn, critical = (up + down - excess) / 2 / n, float(ndtri(1 - level / 2))
    fewest = math.log2(2 / level)  # pairs that differ, below which even the exact test finds nothing
    runs = math.sqrt(max(0.0, around.seeds**2 - around.noise**2))
    alike = _alike(rate, churn) if 0 < churn < rate else None

    def density(rate: float) -> float:
        """In proportion to a normal's density at this rate's threshold: the effect of a shift of all items."""
        return math.exp(-(float(ndtri(min(max(rate, 1 / n), 1 - 1 / n))) ** 2) / 2)

    def is_found(size: float) -> bool:
        after, generator = rate + size, np.random.default_rng(0)
        fall = _falls(alike, rate, after) if alike is not None else churn if after < 1 else 0.0
        fall = min(fall, (1 - size) / 2)
        rises = generator.binomial(max(1, round(n)), fall + size, len(normal))
        falls = generator.binomial(max(1, round(n)) - rises, min(1.0, fall / (1 - fall - size)) if fall else 0.0)
        # What an item does not explain: of the control as it was, of the arm as at its own rate.
        noise = around.noise * math.sqrt((1 + _falls(alike, after, after) / churn) / 2 if alike is not None else 1.0)
        moved = runs * math.sqrt((1 + (density(after) / density(rate)) ** 2) / 2)
        within = around._replace(seeds=math.hypot(moved, noise), noise=noise)
        needed = np.maximum(critical * np.sqrt(rises + falls) / n, _runs_need(within, level) * of_runs)
        found = ((rises - falls) / n + moved * normal > needed) & (rises + falls >= fewest)
        return bool(np.mean(found) >= aim)

    low, high = 0.0, 1.0
    for _ in range(11):  # to a twentieth of a point
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def _alike(rate: float, churn: float) -> float:
    """The correlation of two normal answers to an item of which only one is a yes in a share `churn` of items."""
    from scipy.optimize import brentq  # takes long to import, as `scipy.stats` does

    most = 0.999
    if churn <= _falls(most, rate, rate):
        return most
    if churn >= _falls(0.0, rate, rate):
        return 0.0
    return float(brentq(lambda c: _falls(c, rate, rate) - churn, 0.0, most))  # pyright: ignore[reportArgumentType]


def _falls(alike: float, before: float, after: float) -> float:
    """Share of items with a yes at one rate and a no at another: one normal above its threshold, and one below."""
    from scipy.stats import multivariate_normal

    if not 0 < before < 1 or after >= 1:
        return 0.0
    first, second = -float(ndtri(before)), -float(ndtri(after))
    both = multivariate_normal.cdf([first, second], cov=[[1, alike], [alike, 1]])  # pyright: ignore[reportArgumentType]
    return max(0.0, float(ndtr(second) - both))


def _runs_need(around: Spread, level: float) -> float:
    """The mean that Student's t of the seeds calls significant at their expected spread; 0 below three seeds."""
    if around.n_seeds < RUNS:
        return 0.0
    return float(stdtrit(around.n_seeds - 1, 1 - level / 2)) * max(around.seeds, around.noise)


def _chi2(freedom: int, share: Any) -> Any:
    return 2 * gammaincinv(freedom / 2, share)


@cache
def _draws(n_clusters: int, n_seeds: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Standard normal errors, and standard errors of items and runs as multiples of the true ones."""
    from scipy.stats import qmc

    even = qmc.Sobol(3, scramble=False).random_base2(12) + 0.5**13  # more even than random numbers would be
    of_items, of_runs = (
        np.sqrt(_chi2(freedom, even[:, k]) / freedom)
        for k, freedom in ((1, max(1, n_clusters - 1)), (2, max(1, n_seeds - 1)))
    )
    return ndtri(even[:, 0]), of_items, of_runs
