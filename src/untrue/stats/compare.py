"""Each arm alone, each against its control, paired within item and seed, and the line through the arms of all doses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from untrue.outcomes import Outcome, Result
from untrue.stats.intervals import RESAMPLES, mean_interval, rate_interval
from untrue.stats.mde import mde, mde_of_rate
from untrue.stats.pairing import METRICS, RATES, Metric, align, by_arm, observed, require_arms, without_empty
from untrue.stats.rates import HELD, outcome_rate
from untrue.stats.tests import holm, rate_p, sign_flip
from untrue.stats.types import ArmSummary, Comparison, Interval, Trend


def compare(
    results: Iterable[Result], controls: Mapping[str, str], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Compares arms with their controls in every metric that the eval observes.

    Args:
        results: Results of one eval, in any order.
        controls: Control arm of each arm to compare.
        resamples: Bootstrap resamples and random sign flips.
        seed: Seed of the random generator.

    Returns:
        For each arm, in the order of its first result, one comparison for each metric. Holm's correction is over the
        arms, within a metric. Without a single pair the figures are NaN and p is 1.

    Raises:
        ValueError: Results of several evals, a result that appears twice, an arm without results or that is its own
            control.
    """
    arms = by_arm(results)
    require_arms([*controls, *controls.values()], arms)
    if own := [arm for arm, control in controls.items() if arm == control]:
        raise ValueError(f"arm {own[0]} is its own control; name another arm, or leave it out")
    compared = [arm for arm in arms if arm in controls]
    by_metric: list[list[Comparison]] = []
    for name, metric in observed(arms).items():
        row = [_compare(name, metric, arm, controls[arm], arms, resamples, seed) for arm in compared]
        corrected = holm([comparison.p for comparison in row])
        by_metric.append([replace(comparison, p_holm=p) for comparison, p in zip(row, corrected, strict=True)])
    return [comparison for of_one_arm in zip(*by_metric, strict=True) for comparison in of_one_arm]


def summarise(
    results: Iterable[Result], controls: Mapping[str, str], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[ArmSummary]:
    """Says what each arm did in one eval, all seeds together, in the order in which the arms first appear.

    Args and errors are those of `compare`.
    """
    arms = by_arm(results)
    require_arms([*controls, *controls.values()], arms)
    of_values = any(result.value is not None for of_arm in arms.values() for result in of_arm)
    return [_summarise(arm, controls.get(arm), of_arm, of_values, resamples, seed) for arm, of_arm in arms.items()]


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
        trends.append(Trend(name, interval, sign_flip(slopes, resamples=resamples, seed=seed), n_items, n_seeds))
    return trends


def _compare(
    name: str, metric: Metric, arm: str, control: str, arms: dict[str, list[Result]], resamples: int, seed: int
) -> Comparison:
    before, after = align([arms[control], arms[arm]], metric)
    differences = after - before
    paired = ~np.isnan(differences)
    n_items, n_seeds = without_empty(differences).shape if paired.any() else (0, 0)
    if name in RATES:
        interval = rate_interval(differences, lowest=-1.0, resamples=resamples, seed=seed)
        p, smallest = rate_p(differences, resamples=resamples, seed=seed), mde_of_rate(interval, n_items)
    else:
        interval = mean_interval(differences, resamples=resamples, seed=seed)
        p, smallest = sign_flip(differences, resamples=resamples, seed=seed), mde(interval, n_items)
    return Comparison(
        arm=arm,
        control=control,
        metric=name,
        n_items=n_items,
        n_seeds=n_seeds,
        n_pairs=int(paired.sum()),
        n_dropped=int((~paired).sum()),
        control_mean=float(before[paired].mean()) if n_items else np.nan,
        arm_mean=float(after[paired].mean()) if n_items else np.nan,
        difference=interval,
        p=p,
        p_holm=p,
        mde=smallest,
    )


def _summarise(
    arm: str, control: str | None, results: list[Result], of_values: bool, resamples: int, seed: int
) -> ArmSummary:
    counts = Counter(result.outcome for result in results)
    held = sum(counts[outcome] for outcome in HELD)

    def lie_rate(among: Collection[Outcome]) -> Interval:
        return outcome_rate(results, (Outcome.LIE,), among, resamples=resamples, seed=seed)

    def mean(metric: str) -> Interval | None:
        values = align([results], METRICS[metric])[0]
        if np.isnan(values).all():
            return None
        return (rate_interval if metric in RATES else mean_interval)(values, resamples=resamples, seed=seed)

    return ArmSummary(
        arm=arm,
        control=control,
        n_items=len({result.item for result in results}),
        n_seeds=len({result.seed for result in results}),
        counts={outcome.value: counts[outcome] for outcome in Outcome},
        lie_rate=None if of_values else lie_rate(tuple(Outcome)),
        lie_rate_given_belief=lie_rate(HELD) if held else None,
        held_share=None if of_values else held / len(results),
        pressure_margin=mean("pressure_margin"),
        neutral_margin=mean("neutral_margin"),
        pressure_gap=mean("pressure_gap"),
        value=mean("value"),
        valued=sum(result.value is not None for result in results),
    )
