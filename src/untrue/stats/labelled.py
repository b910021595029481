"""Judged rates corrected by labels of a random sample of replies: prediction-powered inference.

A judge that errs more often in one arm than in the other makes a difference of its own. Labels of both arms show it:
the rate is the judge's on all replies, plus what label and judge differ by on the sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from untrue.stats.types import Interval

FEWEST_LABELS = 20
"""Fewest labels of each arm by which a difference is corrected."""

MISTAKES_ADDED = 0.5
"""Mistakes of the judge that are added to the variance of each arm, since few labels may show none at all. With half a
mistake the interval holds the truth in 95 % of cases or more (docs/validity.md)."""

Array = NDArray[np.float64]


class Replies(NamedTuple):
    """The replies of one arm, one entry each.

    Attributes:
        clusters: Number of the item, or cluster of items, the same in both arms.
        weights: Of each reply in the rate; they sum to 1.
        judged: What the judge makes of it, from 0 to 1.
        open: Whether another label could change that. A failure, or a reply without a belief, is what it is.
        labels: What its label makes of it; NaN where it has none. Only open replies have one, drawn at random.
    """

    clusters: NDArray[np.int_]
    weights: Array
    judged: Array
    open: NDArray[np.bool_]
    labels: Array

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which have a label."""
        return ~np.isnan(self.labels)


@dataclass(frozen=True)
class Corrected:
    """Two rates and their difference, corrected by labels.

    Attributes:
        control: Rate of the control.
        arm: Rate of the arm.
        difference: Arm minus control.
        judge_weight: Lambda, from 0 (the labels alone) to 1 (the judge's rate, with its mistakes taken out).
    """

    control: Interval
    arm: Interval
    difference: Interval
    judge_weight: float


class _Parts(NamedTuple):
    """An estimate a + lambda b of one arm, and what each reply adds to its error: of a, and of b."""

    a: float
    b: float
    errors_a: Array
    errors_b: Array
    smallest: float


def corrected(control: Replies, arm: Replies, least_half: float = 0.0) -> Corrected | None:
    """The difference of two judged rates, corrected by labels of both arms.

    With f the judge's value, y the label's, and w the weight of the open replies, the rate of an arm is

        sum over closed of f + lambda x sum over open of f + w x mean over labelled of (y - lambda f)

    which is right on average whatever the judge does (Angelopoulos and others, Science 382, 2023, p. 669; lambda as in
    PPI++, arXiv 2311.01453, chosen so that the variance of the difference is smallest, within 0 and 1, and the same
    for both arms so that their rates and the difference agree). The variance is that of a sum over clusters, which both
    arms share, of what each reply adds to the error (Liang and Zeger 1986), so pairs, epochs and labels of the same
    items are taken into account; times n / (n - 1); plus (m w / n)^2 (1 + lambda^2) for each arm, where m is
    `MISTAKES_ADDED` and n its labels. Limits are Student's with n - 1 degrees of freedom, n of the arm with fewer
    labels.

    Args:
        control: Replies of the control.
        arm: Replies of the arm.
        least_half: Least half width of the difference's interval, such as that of training runs.

    Returns:
        The corrected figures, rates within 0 and 1 and the difference within -1 and 1; None where an arm has fewer than
        `FEWEST_LABELS` labels and not all its open replies.
    """
    counts = [int(side.labelled.sum()) for side in (control, arm)]
    if any(n < min(FEWEST_LABELS, side.open.sum()) for n, side in zip(counts, (control, arm), strict=True)):
        return None
    n_clusters = int(max(control.clusters.max(), arm.clusters.max())) + 1
    before, after = (_parts(side, n_clusters) for side in (control, arm))
    errors_a, errors_b = after.errors_a - before.errors_a, after.errors_b - before.errors_b
    smallest = before.smallest + after.smallest
    slope = float(np.square(errors_b).sum()) + smallest
    weight = min(1.0, max(0.0, -float((errors_a * errors_b).sum()) / slope)) if slope > 0 else 1.0

    def interval(value: float, a: Array, b: Array, smallest: float, n: int, low: float, least: float) -> Interval:
        n = max(n, 2)
        variance = float(np.square(a + weight * b).sum()) * n / (n - 1) + smallest * (1 + weight**2)
        half = max(float(t.ppf(0.975, n - 1)) * math.sqrt(variance), least)
        return Interval(min(1.0, max(low, value)), max(low, value - half), min(1.0, value + half))

    first, second = (part.a + weight * part.b for part in (before, after))
    difference = interval(second - first, errors_a, errors_b, smallest, min(counts), -1.0, least_half)
    return Corrected(
        interval(first, before.errors_a, before.errors_b, before.smallest, counts[0], 0.0, 0.0),
        interval(second, after.errors_a, after.errors_b, after.smallest, counts[1], 0.0, 0.0),
        difference,
        weight,
    )


def _parts(replies: Replies, n_clusters: int) -> _Parts:
    labelled, weights = replies.labelled, replies.weights
    n, share = int(labelled.sum()), float(weights[replies.open].sum())
    said, judged = (float(values[labelled].mean()) if n else 0.0 for values in (replies.labels, replies.judged))
    constant = np.where(replies.open, said, replies.judged)
    linear = np.where(replies.open, replies.judged - judged, 0.0)
    a, b = float(weights @ constant), float(weights @ linear)
    errors_a, errors_b = weights * (constant - a), weights * (linear - b)
    if n:
        errors_a[labelled] += share * (replies.labels[labelled] - said) / n
        errors_b[labelled] -= share * (replies.judged[labelled] - judged) / n
    whole = n == int(replies.open.sum())  # where all are labelled, the judge's mistakes are known
    return _Parts(
        a,
        b,
        _by_cluster(replies, errors_a, n_clusters),
        _by_cluster(replies, errors_b, n_clusters),
        0.0 if whole or not n else (MISTAKES_ADDED * share / n) ** 2,
    )


def _by_cluster(replies: Replies, errors: Array, n_clusters: int) -> Array:
    sums = np.zeros(n_clusters)
    np.add.at(sums, replies.clusters, errors)
    return sums
