"""Two subjects in each eval that both have, paired item by item: what differs, and what that shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from untrue.evals.eval import Eval
from untrue.gating.subject import Subject, doubts_of, paired
from untrue.stats import compare, summarise, verdict
from untrue.stats.types import ArmSummary, Comparison, Figures, Verdict


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
    """

    record: Eval
    summaries: list[ArmSummary]
    comparisons: list[Comparison]
    verdict: Verdict
    notes: list[str]
    metrics: dict[str, Figures]


def compared(a: Subject, b: Subject) -> list[EvalComparison]:
    """Compare `b` with `a`. Nothing is trained; with logs nothing is asked either.

    Raises:
        UserError: They were not asked the same.
    """
    names = {"baseline": a.name, "candidate": b.name if b.name != a.name else f"{b.name} (2)"}
    comparisons = []
    for before, after, results, notes in paired(a, b):
        record, controls = after.record, {names["candidate"]: names["baseline"]}
        results = [replace(result, arm=names[result.arm]) for result in results]
        summaries = summarise(results, controls)
        rows = compare(results, controls, higher_is_better=record.higher_is_better)
        shares = {names["baseline"]: before.reading.answered, names["candidate"]: after.reading.answered}
        answered = {arm: share for arm, share in shares.items() if share is not None}
        doubts = doubts_of(before, after, summaries)
        found = verdict(summaries, rows, answered=answered, lower=record.lower, decides=record.decides, doubts=doubts)
        sides = zip(names.values(), (before.reading.metrics, after.reading.metrics), strict=True)
        metrics = {name: figures for name, figures in sides if figures}
        comparisons.append(EvalComparison(record, summaries, rows, found, notes, metrics))
    return comparisons
