"""May a candidate ship? `pass`, `regression` or `inconclusive`, from what it and its baseline answered. No prose.

- `pass`: on every endpoint the upper limit of the loss lies below its delta. All must hold at once, so no correction is
  due: a candidate with a true loss of delta on any endpoint passes with at most alpha (Berger, Technometrics 1982).
- `regression`: on some endpoint the loss is certain (lower limit above 0, Holm's correction over endpoints), or the
  candidate is broken where its baseline is not.
- else `inconclusive`. A loss that is certain and certainly below delta is a `regression` too, and marked as small.

It speaks of this candidate on items like these, not of the way it was trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import norm

from untrue.evals.eval import Eval
from untrue.gating.config import GateConfig
from untrue.gating.subject import Subject, doubts_of, paired
from untrue.outcomes import Result
from untrue.stats import broken, summarise
from untrue.stats.compare import pair
from untrue.stats.intervals import change_interval, discordance, mean_interval, spread
from untrue.stats.pairing import METRICS, Grid, without_empty
from untrue.stats.tests import FEWEST, POWER, holm, p_value
from untrue.stats.types import ArmSummary, Interval, Reason

Status = Literal["pass", "regression", "inconclusive"]


class Endpoint(NamedTuple):
    """One metric of one eval.

    Attributes:
        eval: Name of the eval.
        metric: Such as `lie_rate`; `value` is the mean value of an eval that gives values.
        title: What that mean is called; empty for others.
        n_items: Items compared.
        n_failed: Results that the candidate lacks: the worst value stands in for them, of margins the worst observed.
        baseline: Mean of the baseline.
        candidate: Mean of the candidate.
        loss: By how much the candidate is worse, with its one-sided limits; below 0 it is better.
        delta: The loss that is not tolerated.
        p_holm: One-sided p that there is no loss, after Holm's correction over the endpoints.
        needed: Items that would settle it in 80 % of cases, if the true loss were the one found; 0 where unknown.
        status: `pass`, `regression` or `inconclusive`.
    """

    eval: str
    metric: str
    title: str
    n_items: int
    n_failed: int
    baseline: float
    candidate: float
    loss: Interval
    delta: float
    p_holm: float
    needed: int
    status: Status

    @property
    def is_small(self) -> bool:
        """Whether the loss is certainly below delta."""
        return self.loss.high < self.delta


@dataclass(frozen=True)
class GateVerdict:
    """What a gate concludes.

    Attributes:
        baseline: Name of the baseline.
        candidate: Name of the candidate.
        status: The verdict.
        endpoints: What decides.
        faults: Eval, and why the candidate is broken in it.
        doubts: Eval, and why its results carry no verdict.
        notes: What a reader must not miss.
        alpha: One-sided level.
        summaries: Eval -> what baseline and candidate did.
    """

    baseline: str
    candidate: str
    status: Status
    endpoints: tuple[Endpoint, ...]
    faults: tuple[tuple[str, Reason], ...]
    doubts: tuple[tuple[str, Reason], ...]
    notes: tuple[str, ...]
    alpha: float
    summaries: dict[str, list[ArmSummary]]


def gate(baseline: Subject, candidate: Subject, config: GateConfig) -> GateVerdict:
    """Decide whether a candidate is worse than its baseline.

    Raises:
        UserError: They were not asked the same, or an eval of the gate was not asked of both.
    """
    endpoints: list[Endpoint] = []
    faults, doubts, notes, summaries = [], [], [], {}
    for before, after, results, left_out in paired(baseline, candidate, [spec.name for spec in config.evals]):
        name = after.record.name
        summaries[name] = [control, arm] = summarise(results, {"candidate": "baseline"})
        notes += [f"{name}: {note}" for note in left_out]
        doubts += [(name, reason) for reason in doubts_of(before, after, [control, arm])]
        doubts += [(name, reason) for reason in broken(control, before.reading.answered)]
        of_arm = [(name, reason) for reason in broken(arm, after.reading.answered)]
        faults += [fault for fault in of_arm if fault[1].code != "few_items"]
        endpoints += _endpoints(after.record, results, config)
    corrected = holm([endpoint.p_holm for endpoint in endpoints])
    endpoints = [
        _settled(endpoint._replace(p_holm=p), config.alpha) for endpoint, p in zip(endpoints, corrected, strict=True)
    ]
    return GateVerdict(
        baseline=baseline.name,
        candidate=candidate.name,
        status=_status(endpoints, faults, doubts),
        endpoints=tuple(endpoints),
        faults=tuple(faults),
        doubts=tuple(doubts),
        notes=tuple(notes),
        alpha=config.alpha,
        summaries=summaries,
    )


def _status(
    endpoints: Sequence[Endpoint], faults: Sequence[tuple[str, Reason]], doubts: Sequence[tuple[str, Reason]]
) -> Status:
    """A doubt about one eval keeps it from deciding, and the gate from passing."""
    doubted = {name for name, _ in doubts}
    worse = [endpoint.eval for endpoint in endpoints if endpoint.status == "regression"]
    if set(worse).union(name for name, _ in faults) - doubted:
        return "regression"
    passes = endpoints and not doubts and all(endpoint.status == "pass" for endpoint in endpoints)
    return "pass" if passes else "inconclusive"


def _endpoints(record: Eval, results: list[Result], config: GateConfig) -> Iterable[Endpoint]:
    sides = [[result for result in results if result.arm == arm] for arm in ("baseline", "candidate")]
    for name, delta in config.delta.model_dump().items():
        metric = METRICS[name]
        if name == "value":
            metric = replace(metric, worse=-1 if record.higher_is_better else 1)
        pairs = pair(metric, *sides)
        if np.isnan(pairs.before).all():
            continue
        losses = (pairs.after - pairs.before) * metric.worse
        failed = pairs.failed
        if not metric.is_rate and not np.isnan(losses).all():  # a margin has no worst value but the worst observed
            failed = np.isnan(pairs.after) & ~np.isnan(pairs.before)
            losses = np.where(failed, np.nanmax(losses), losses)
        n_items = len(without_empty(losses))
        limits = change_interval if metric.is_rate else mean_interval
        means = _means(pairs.before, losses * metric.worse)
        p = p_value(losses, pairs.clusters, is_rate=metric.is_rate) / 2
        loss = limits(losses, pairs.clusters, 2 * config.alpha)
        yield Endpoint(
            eval=record.name,
            metric=name,
            title=record.value_name or "" if name == "value" else "",
            n_items=n_items,
            n_failed=int(failed.sum()),
            baseline=means[0],
            candidate=means[1],
            loss=loss,
            delta=delta,
            p_holm=p if loss.value > 0 else 1 - p,
            needed=_needed(losses, pairs.clusters, metric.is_rate, delta, config.alpha),
            status="inconclusive",
        )


def _settled(endpoint: Endpoint, alpha: float) -> Endpoint:
    if endpoint.n_items < FEWEST:
        return endpoint
    if endpoint.loss.low > 0 and endpoint.p_holm < alpha:
        return endpoint._replace(status="regression")
    return endpoint._replace(status="pass") if endpoint.loss.high < endpoint.delta else endpoint


def _means(before: Grid, changes: Grid) -> tuple[float, float]:
    """Mean of the baseline and of the candidate over the pairs; NaN where there is none."""
    present = ~np.isnan(changes)
    if not present.any():
        return math.nan, math.nan
    return float(before[present].mean()), float((before + changes)[present].mean())


def _needed(losses: Grid, clusters: list[str], is_rate: bool, delta: float, alpha: float) -> int:
    """Items that would settle it in 80 % of cases if the true loss were the one found, or none where it is negative.

    That is (z_alpha + z_power)^2 x variance / distance^2, to the farther of the two losses to exclude: none, and delta.
    Where all pairs agree, one is taken to differ. 0 without items.
    """
    if np.isnan(losses).all():
        return 0
    around, n_items = spread(losses, clusters), len(without_empty(losses))
    variance = around.items**2
    if is_rate:
        up, down, n = discordance(losses, clusters)
        variance = max(up + down, 1.0) / n**2
    if not math.isfinite(variance):
        return 0
    loss = max(around.mean, 0.0)
    distance = max(loss, delta - loss)
    return math.ceil(n_items * float(norm.ppf(1 - alpha) + norm.ppf(POWER)) ** 2 * variance / distance**2)
