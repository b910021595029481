"""Each arm alone, each against its control, paired within item and seed, and the line through the arms of all doses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from untrue.outcomes import Outcome, Result
from untrue.stats.intervals import change_interval, mean_interval, rate_interval, share_interval
from untrue.stats.pairing import (
    METRICS,
    Grid,
    PairedMetric,
    align,
    by_arm,
    clusters,
    observed,
    require_arms,
    tally,
    without_empty,
)
from untrue.stats.rates import honesty_rates, rate
from untrue.stats.tests import FEWEST, holm, mde, p_value
from untrue.stats.types import ArmSummary, Comparison, Interval, Trend

# The metrics that decide. The pressure margin is the neutral margin plus the pressure gap, and is only shown.
PRIMARY = ("lie_rate", "evasion_rate", "untrue_belief_rate", "pressure_gap", "neutral_margin", "value")


def compare(
    results: Iterable[Result], controls: Mapping[str, str], *, higher_is_better: bool = True, graded: bool = False
) -> list[Comparison]:
    """Compares arms with their controls in every metric that the eval observes.

    Holm's correction covers all arms and the metrics in `PRIMARY`; the others keep their p. If only the arm lacks an
    answer, a rate counts the worst value for it.

    Args:
        controls: Control of each arm to compare.
        higher_is_better: Of an eval that gives values.
        graded: See `PairedMetric`.

    Returns:
        One comparison per arm and metric, arms in the order of their first result. Without a pair: NaN, and p is 1.

    Raises:
        ValueError: Results of several evals, a duplicate result, an arm without results, or an arm as its own control.
    """
    arms = by_arm(results)
    require_arms([*controls, *controls.values()], arms)
    if own := [arm for arm, control in controls.items() if arm == control]:
        raise ValueError(f"arm {own[0]} is its own control; name another arm, or leave it out")
    metrics = observed(arms, graded)
    if "value" in metrics:
        metrics["value"] = replace(metrics["value"], worse=-1 if higher_is_better else 1)
    compared = [arm for arm in arms if arm in controls]
    tests = len(compared) * sum(name in PRIMARY for name in metrics)
    rows = [_compare(name, m, arm, controls[arm], arms, tests) for arm in compared for name, m in metrics.items()]
    corrected = iter(holm([row.p for row in rows if row.metric in PRIMARY]))
    return [replace(row, p_holm=next(corrected)) if row.metric in PRIMARY else row for row in rows]


def summarise(results: Iterable[Result], controls: Mapping[str, str], *, graded: bool = False) -> list[ArmSummary]:
    """Says what each arm did over all seeds, in order of first appearance; args and errors as in `compare`."""
    arms = by_arm(results)
    require_arms([*controls, *controls.values()], arms)
    of_values = any(result.value is not None for of_arm in arms.values() for result in of_arm)
    return [_summarise(arm, controls.get(arm), of_arm, of_values, graded) for arm, of_arm in arms.items()]


def trend(
    results: Iterable[Result],
    doses: Mapping[str, float],
    controls: Mapping[str, str] | None = None,
    *,
    graded: bool = False,
) -> list[Trend]:
    """Fits a least-squares line on dose to each item at each seed, and averages the slopes.

    The slope of values y at doses x is sum((x - mean x) y) / sum((x - mean x)^2). An item counts at a seed only if it
    has a value at every dose. Interval and p are those of a paired difference.

    Args:
        doses: Dose or share of each arm on the line; the control's is usually 0. Other arms are not used.
        controls: If given, the line is fitted to arm minus matched control, which is 0 for an arm without one.
        graded: See `PairedMetric`.

    Returns:
        One trend per metric; none with fewer than two different doses. Without a complete item: NaN, and p is 1.

    Raises:
        ValueError: Results of several evals, a duplicate result, or a dose for an arm without results.
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
    for name, metric in observed(dosed, graded).items():
        values, bases = np.split(align([*dosed.values(), *matched], metric), 2)
        slopes = np.tensordot(weights, values - bases if controls else values, axes=1)
        n_items, n_seeds = without_empty(slopes).shape if not np.isnan(slopes).all() else (0, 0)
        of_items = clusters([*dosed.values(), *matched])
        if metric.counts_pairs:
            shares = change_interval(slopes / steepest, of_items)
            interval = Interval(*(steepest * limit for limit in shares))
        else:
            interval = mean_interval(slopes, of_items)
        trends.append(Trend(name, interval, p_value(slopes, of_items, is_rate=False), n_items, n_seeds))
    return trends


class Pairs(NamedTuple):
    """Two arms in one metric, items x seeds; NaN for a missing value. `failed`: only the arm lacks an answer."""

    before: Grid
    after: Grid
    failed: NDArray[np.bool_]
    clusters: list[str]


def pair(metric: PairedMetric, control: Sequence[Result], arm: Sequence[Result]) -> Pairs:
    """Lines up an arm with its control. Without a value of the control the pair is missing."""
    sums, counts = tally([control, arm], metric)
    lacking = np.maximum(counts[0] - counts[1], 0) if metric.is_rate else np.zeros(counts[0].shape)
    sums[1] += lacking * (metric.worse > 0)
    counts[1] += lacking
    before, after = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return Pairs(before, after, lacking > 0, clusters([control, arm]))


def _compare(
    name: str, metric: PairedMetric, arm: str, control: str, arms: dict[str, list[Result]], tests: int
) -> Comparison:
    before, after, failed, of_items = pair(metric, arms[control], arms[arm])
    differences = after - before
    paired = ~np.isnan(differences)
    n_items, n_seeds = without_empty(differences).shape if paired.any() else (0, 0)
    p = p_value(differences, of_items, is_rate=metric.counts_pairs)
    tests = tests if name in PRIMARY else 1
    control_mean = float(before[paired].mean()) if n_items else np.nan
    return Comparison(
        arm=arm,
        control=control,
        metric=name,
        n_items=n_items,
        n_seeds=n_seeds,
        n_pairs=int(paired.sum()),
        n_failed=int(failed.sum()),
        n_dropped=int((~paired).sum()),
        control_mean=control_mean,
        arm_mean=float(after[paired].mean()) if n_items else np.nan,
        difference=(change_interval if metric.counts_pairs else mean_interval)(differences, of_items),
        p=p,
        p_holm=p,
        mde=mde(differences, of_items, is_rate=metric.counts_pairs, rate=control_mean, tests=tests),
        worse=metric.worse,
    )


def _summarise(arm: str, control: str | None, results: list[Result], of_values: bool, graded: bool) -> ArmSummary:
    counts = Counter(result.outcome for result in results)
    reads = [(r.item, r.seed, float(r.reads)) for r in results if r.reads is not None]
    tried = len({item for item, _, _ in reads})
    rates = honesty_rates(results)

    def mean(name: str) -> Interval | None:
        metric = METRICS[name]
        values = align([results], metric)[0]
        if np.isnan(values).all():
            return None
        of_rate = share_interval if graded and name == "value" else rate_interval
        return (of_rate if metric.is_rate else mean_interval)(values, clusters([results]))

    return ArmSummary(
        arm=arm,
        control=control,
        n_items=len({result.item for result in results}),
        n_seeds=len({result.seed for result in results}),
        counts={outcome.value: counts[outcome] for outcome in Outcome},
        lie_rate=None if of_values else rates["lie_rate"],
        lie_rate_given_belief=rates["lie_rate_given_belief"] if rates["belief_rate"].value > 0 else None,
        belief_rate=None if of_values else rates["belief_rate"],
        evasion_rate=None if of_values or np.isnan(rates["evasion_rate"].value) else rates["evasion_rate"],
        untrue_belief_rate=mean("untrue_belief_rate"),
        reads=rate(reads) if tried >= FEWEST else None,
        pressure_margin=mean("pressure_margin"),
        neutral_margin=mean("neutral_margin"),
        pressure_gap=mean("pressure_gap"),
        value=mean("value"),
        n_values=sum(result.value is not None for result in results),
    )
