"""Two-sided tests of paired differences (exact McNemar, sign-flip permutation) and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from untrue.stats.pairing import Grid, item_means

_ENUMERATED = 15  # up to so many items that differ, all 2^15 sign patterns are tried
_BLOCK = 2_000_000  # signs held at a time


def rate_p(differences: Grid, *, resamples: int = 10_000, seed: int = 0) -> float:
    """The p value of a difference of rates: `mcnemar` where each pair differs by -1, 0 or 1, else `sign_flip`.

    Items asked several times at one seed differ by parts of 1, whose sizes McNemar's test would not see.

    Args:
        differences: Items x seeds, arm minus control; NaN where a pair is missing.
        resamples: Number of random sign patterns.
        seed: Seed of the random generator.
    """
    whole = np.isin(differences, (-1.0, 0.0, 1.0)) | np.isnan(differences)
    return mcnemar(differences) if whole.all() else sign_flip(differences, resamples=resamples, seed=seed)


def mcnemar(differences: Grid) -> float:
    """The p value of McNemar's exact test (McNemar 1947; binomial form) that as many items went up as down.

    An item counts once, by the sign of its net change over its seeds, so that repeats of an item are not taken as
    independent. With one seed this is exactly McNemar's test, with several the exact sign test; items without a net
    change do not count. p = 1 where no item changed.

    Args:
        differences: Items x seeds, arm minus control of a 0/1 outcome; NaN where a pair is missing.
    """
    net = np.nansum(differences, axis=1)
    up, down = int((net > 0).sum()), int((net < 0).sum())
    return float(binomtest(up, up + down, 0.5).pvalue) if up + down else 1.0


def sign_flip(differences: Grid, *, resamples: int = 10_000, seed: int = 0) -> float:
    """The p value of the sign-flip permutation test (Fisher's, for pairs) that the mean item difference is 0.

    Each item's difference, averaged over its seeds, keeps or changes its sign. All patterns are tried where at most 15
    items differ; else `resamples` random ones, with p = (1 + as extreme) / (1 + resamples), so that p is never 0
    (Phipson and Smyth 2010). It holds for differences that are symmetric about 0 when there is no effect.

    Args:
        differences: Items x seeds, arm minus control; NaN where a pair is missing.
        resamples: Number of random sign patterns.
        seed: Seed of the random generator.
    """
    values = item_means(differences)
    values = values[values != 0]
    if not values.size:
        return 1.0
    least = abs(values.sum()) - 1e-12 * np.abs(values).sum()  # ties must count in spite of rounding
    if values.size <= _ENUMERATED:
        patterns = (np.arange(2**values.size)[:, None] >> np.arange(values.size)) & 1
        return float(np.mean(_flipped_sums(patterns, values) >= least))
    generator = np.random.default_rng(seed)
    extreme = 0
    block = max(1, _BLOCK // values.size)
    for start in range(0, resamples, block):
        patterns = generator.integers(0, 2, (min(block, resamples - start), values.size), dtype=np.int8)
        extreme += int((_flipped_sums(patterns, values) >= least).sum())
    return (1 + extreme) / (1 + resamples)


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


def _flipped_sums(patterns: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute sums of the values with the signs flipped where the pattern is 1."""
    return np.abs(values.sum() - 2 * (patterns @ values))
