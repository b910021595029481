"""How well scores tell true statements from false ones: AUROC, with an interval over items."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from untrue.stats.rates import rate
from untrue.stats.types import Interval


class Scores(NamedTuple):
    """The scores of the true and the false statement of one item; they are compared within one category and seed."""

    item: str
    seed: int
    category: str
    true: float
    false: float


def area(true: ArrayLike, false: ArrayLike) -> NDArray[np.float64]:
    """The area under the ROC curve: the Mann-Whitney U of the true scores over the number of pairs; a tie is half.

    Scores lie along the first axis; further axes are computed one by one.
    """
    from scipy.stats import rankdata  # takes long to import

    ours, theirs = np.asarray(true, dtype=float), np.asarray(false, dtype=float)
    n, m = len(ours), len(theirs)
    ranks = rankdata(np.concatenate([ours, theirs]), axis=0)[:n].sum(axis=0)
    return (ranks - n * (n + 1) / 2) / (n * m)


def auroc(scores: Iterable[Scores]) -> Interval:
    """The AUROC within each category and seed, averaged over items, with its 95 % interval; only finite scores count.

    The interval is that of a mean over items of the placements of DeLong, DeLong and Clarke-Pearson (Biometrics 44,
    1988) in Obuchowski's form for clusters (Biometrics 53, 1997): the share of false statements below the item's true
    one, plus the share of true statements above its false one, minus the AUROC.
    """
    groups: dict[tuple[int, str], list[Scores]] = {}
    for one in scores:
        if math.isfinite(one.true) and math.isfinite(one.false):
            groups.setdefault((one.seed, one.category), []).append(one)
    values = []
    for group in groups.values():
        true, false = np.array([one.true for one in group]), np.array([one.false for one in group])
        wins = (np.sign(np.subtract.outer(true, false)) + 1) / 2  # true statement of a row, false one of a column
        placements = wins.mean(axis=1) + wins.mean(axis=0) - wins.mean()
        values += [(one.item, one.seed, float(worth)) for one, worth in zip(group, placements, strict=True)]
    return rate(values)
