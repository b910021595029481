"""Two subjects in each eval that both have, paired item by item: what differs, and what that shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from untrue.errors import UserError
from untrue.gating.matching import doubts_of, opposite_moves, paired
from untrue.gating.measurements import Flips, Measurement, flips, sides
from untrue.gating.subjects import Subject
from untrue.harness.eval import Eval
from untrue.judge.check import last_check
from untrue.judge.prompts import STATEMENT
from untrue.outcomes import Result
from untrue.stats import compare, summarise, verdict
from untrue.stats.judge_error import Shifted, Sides, by_specificity
from untrue.stats.pairing import METRICS, PairedMetric, align, clusters
from untrue.stats.rates import HELD
from untrue.stats.types import ArmSummary, Comparison, MetricValues, Verdict


@dataclass(frozen=True)
class Sensitivity:
    """How the difference that a judge found moves if its specificity differs between the two.

    Attributes:
        source: Where sensitivity and specificity come from: the `gold` set, or nowhere, so that the judge is `supposed`
            to make no other mistake.
        sensitivity: Share of true cases of which it says yes.
        specificity: Share of others of which it does not.
        moved: The difference for each shift of the specificity.
    """

    source: Literal["gold", "supposed"]
    sensitivity: float
    specificity: float
    moved: list[Shifted]

    @property
    def holds(self) -> bool:
        """Whether the interval excludes 0 on the same side for all shifts."""
        ends = [moved.difference for moved in self.moved]
        return all(end.low > 0 for end in ends) or all(end.high < 0 for end in ends)


@dataclass(frozen=True)
class EvalComparison:
    """Two subjects in one eval.

    Attributes:
        record: The eval.
        summaries: What the first and the second did.
        comparisons: The second minus the first, in each metric.
        verdict: What that shows.
        notes: What is left out, and why.
        metrics: The eval's own metrics of the first and of the second; empty where it has none.
        flips: The items that the two answered differently.
        sensitivity: How that difference moves with the judge's specificity; None where nothing was judged.
    """

    record: Eval
    summaries: list[ArmSummary]
    comparisons: list[Comparison]
    verdict: Verdict
    notes: list[str]
    metrics: dict[str, MetricValues]
    flips: Flips
    sensitivity: Sensitivity | None = None


def compared(a: Subject, b: Subject) -> list[EvalComparison]:
    """Compare `b` with `a`. Nothing is trained; with logs nothing is asked either."""
    names = {"baseline": a.name, "candidate": b.name if b.name != a.name else f"{b.name} (2)"}
    comparisons = []
    for before, after, results, notes in paired(a, b):
        if before.logs.keys() != after.logs.keys():
            raise UserError(
                f"{after.record.name}: {a.name} and {b.name} differ in their seeds. Compare the same seeds of both."
            )
        record, controls = after.record, {names["candidate"]: names["baseline"]}
        sensitivity = _sensitivity(before, after, results) if record.judged else None
        flipped = flips(record, results)
        results = [replace(result, arm=names[result.arm]) for result in results]
        summaries = summarise(results, controls, graded=record.graded)
        rows = compare(results, controls, higher_is_better=record.higher_is_better, graded=record.graded)
        shares = {names["baseline"]: before.reading.answered, names["candidate"]: after.reading.answered}
        answered = {arm: share for arm, share in shares.items() if share is not None}
        found = verdict(
            summaries,
            rows,
            answered=answered,
            lower=record.lower,
            doubts=doubts_of(before, after, summaries),
            notes=opposite_moves(record, results, controls),
        )
        of_each = zip(names.values(), (before.reading.metrics, after.reading.metrics), strict=True)
        metrics = {name: figures for name, figures in of_each if figures}
        comparisons.append(EvalComparison(record, summaries, rows, found, notes, metrics, flipped, sensitivity))
    return comparisons


def _sensitivity(before: Measurement, after: Measurement, results: Sequence[Result]) -> Sensitivity | None:
    arms = sides(results)
    is_value = any(result.value is not None for result in results)
    said = METRICS["value" if is_value else "lie_rate"]
    could = PairedMetric(lambda result: float(is_value or result.outcome in HELD), 0, True)
    control, arm = align(arms, said)
    if np.isnan(arm - control).all():
        return None
    control_could, arm_could = align(arms, could)
    grids = Sides(control, control_could, arm, arm_could, clusters(arms))
    source, rates = _accuracy(before, after)
    return Sensitivity(source, *rates, by_specificity(grids, *rates))


def _accuracy(before: Measurement, after: Measurement) -> tuple[Literal["gold", "supposed"], tuple[float, float]]:
    """Sensitivity and specificity by the judge's check on the question that it was asked."""
    judgings = [judging for answers in (before, after) for _, judging in answers.reading.judgings]
    judges: Mapping[str, str] = {id: name for judging in judgings for id, name in judging.judges.items()}
    asked = {question for judging in judgings for question, _ in judging.questions}
    check = last_check(next(iter(judges))) if len(judges) == 1 and asked == {STATEMENT.name} else None
    if check and check.sensitivity.value + check.specificity.value > 1:
        return "gold", (check.sensitivity.value, check.specificity.value)
    return "supposed", (1.0, 1.0)
