"""What a judge's mistakes do to a rate, and how far two judges agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from untrue.stats.intervals import mean_interval
from untrue.stats.pairing import Grid
from untrue.stats.types import Interval

_Z = float(ndtri(0.975))
RESAMPLES = 10_000


class Proportion(NamedTuple):
    """A share, and the number of rows behind it."""

    value: float
    n: int


def corrected_rate(rate: float, n: int, sensitivity: Proportion, specificity: Proportion) -> Interval:
    """The rate corrected for the judge's mistakes, presumed as frequent in every arm as on the checked replies.

    Rogan and Gladen's estimate, (rate + specificity - 1) / (sensitivity + specificity - 1), cut off at 0 and 1
    (American Journal of Epidemiology 107, 1978, p. 71), with the 95 % interval of Lang and Reiczigel (Preventive
    Veterinary Medicine 113, 2014, p. 13), which counts the uncertainty of sensitivity and specificity.

    Args:
        rate: Share of items that the judge calls a lie, among those that allow one; epochs averaged. NaN if unknown.
        n: Those items. With several epochs each, this is on the safe side.
        sensitivity: Share of lies that the judge calls a lie.
        specificity: Share of other replies that it does not call one.

    Returns:
        The rate; NaN, from 0 to 1, if the judge is no better than chance, or without items or a rate.
    """
    skill = sensitivity.value + specificity.value - 1
    n_se, n_sp, n_rate = sensitivity.n + 2, specificity.n + 2, n + _Z**2
    se = (sensitivity.n * sensitivity.value + 1) / n_se
    sp = (specificity.n * specificity.value + 1) / n_sp
    if n == 0 or math.isnan(rate) or min(skill, se + sp - 1) <= 0:
        return Interval(math.nan, 0.0, 1.0)
    apparent = (n * rate + _Z**2 / 2) / n_rate
    middle = (apparent + sp - 1) / (se + sp - 1)
    spread_se, spread_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    shift = 2 * _Z**2 * (middle * spread_se - (1 - middle) * spread_sp)
    variance = apparent * (1 - apparent) / n_rate + middle**2 * spread_se + (1 - middle) ** 2 * spread_sp
    half = _Z * math.sqrt(variance) / (se + sp - 1)
    value = min(1.0, max(0.0, (rate + specificity.value - 1) / skill))
    return Interval(value, max(0.0, min(value, middle + shift - half)), min(1.0, max(value, middle + shift + half)))


SHIFT = 0.05  # by how much the judge's specificity is supposed to differ between two arms


class Shifted(NamedTuple):
    """A difference of two rates (arm minus control), with the arm's specificity minus the control's as `shift`."""

    shift: float
    difference: Interval


class Sides(NamedTuple):
    """What a judge made of two arms, items x seeds, NaN for a missing answer.

    Attributes:
        control: Share of the control's replies that the judge says yes of, such as lies; `arm` likewise.
        control_open: Share of which it could: without a belief there is no lie; `arm_open` likewise.
        clusters: Cluster of each item.
    """

    control: Grid
    control_open: Grid
    arm: Grid
    arm_open: Grid
    clusters: Sequence[str]


def by_specificity(sides: Sides, sensitivity: float, specificity: float) -> list[Shifted]:
    """How a difference of two judged rates moves if the judge's specificity differs between the arms by `SHIFT`.

    With r the judged rate and h the share of replies of which the judge could say yes, the true rate of an arm is

        (r - h (1 - specificity)) / (sensitivity + specificity - 1)

    (Rogan and Gladen, American Journal of Epidemiology 107, 1978, p. 71, applied to the h). The arm's specificity is
    the given one plus the shift, at most 1; the control's is the arm's minus the shift. The interval is that of the
    mean over items and takes both as known.

    Returns:
        The difference for shifts of -0.05, 0 and 0.05; NaN if the judge would be no better than chance.
    """
    moved = []
    for shift in (-SHIFT, 0.0, SHIFT):
        of_arm = min(1.0, specificity + shift)
        of_control = of_arm - shift
        if sensitivity + min(of_arm, of_control) - 1 <= 0:
            moved.append(Shifted(shift, Interval(math.nan, -1.0, 1.0)))
            continue
        before = (sides.control - sides.control_open * (1 - of_control)) / (sensitivity + of_control - 1)
        after = (sides.arm - sides.arm_open * (1 - of_arm)) / (sensitivity + of_arm - 1)
        value, low, high = mean_interval(after - before, sides.clusters)
        moved.append(Shifted(shift, Interval(value, max(-1.0, low), min(1.0, high))))
    return moved


def kappa(table: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Cohen's kappa of two raters (Educational and Psychological Measurement 20, 1960, p. 37).

    (observed - expected) / (1 - expected), where the expected agreement is that of independent raters with the same
    label frequencies. 0 if both raters only use one and the same label; NaN for an empty table. `table` counts labels
    of the first rater x those of the second; the 95 % percentile interval is from a bootstrap over items.
    """
    counts = np.asarray(table, dtype=float)
    n = int(counts.sum())
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples)
    low, high = np.percentile(_kappas(drawn.reshape(resamples, *counts.shape)), [2.5, 97.5])
    return Interval(float(_kappas(counts[None])[0]), float(low), float(high))


def _kappas(tables: np.ndarray) -> np.ndarray:
    """Kappas of a stack of tables."""
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    chance = 1 - expected
    return np.where(chance > 1e-12, (observed - expected) / np.where(chance > 1e-12, chance, 1.0), 0.0)
