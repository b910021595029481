"""The rows of the tables, as text for the page and for the terminal: one arm in one metric, corrected rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from untrue.report.format import DASH, HONESTY, PERCENT, Metric, p_value, value_metric
from untrue.stats import is_found
from untrue.stats.types import ArmSummary

if TYPE_CHECKING:
    from untrue.evals.judge_note import JudgeNote
    from untrue.study.results import EvalAnalysis

SELF_JUDGED = "self-judged"


@dataclass(frozen=True)
class ArmRow:
    """One arm in one metric; every number is text, a dash where there is none."""

    arm: str
    control: str | None
    n: int
    n_seeds: int
    n_dropped: int
    value: str
    bounds: str
    difference: str
    difference_bounds: str
    p_holm: str
    mde: str
    significant: bool
    flag: str


class CategoryCell(NamedTuple):
    """One arm on one category of items against its control: the difference in each deciding metric, with its bounds."""

    category: str
    n: int
    differences: tuple[tuple[str, str], ...]


class CorrectedRow(NamedTuple):
    """Lies of one arm among its held beliefs, as judged and corrected for the judge's mistakes, with bounds."""

    arm: str
    judged: str
    judged_bounds: str
    corrected: str
    corrected_bounds: str
    flag: str


def metrics(analysis: EvalAnalysis) -> tuple[Metric, ...]:
    """The metrics that an eval observes, those that decide first."""
    if analysis.spec.value_name is not None:
        return (value_metric(analysis.spec.value_name),)
    seen = [m for m in HONESTY if any(getattr(summary, m.name) is not None for summary in analysis.summaries)]
    return tuple(seen) or HONESTY[:1]


def deciding(analysis: EvalAnalysis) -> tuple[Metric, ...]:
    """The metrics by which the verdict goes; margins, which see more, come first."""
    return tuple(reversed(metrics(analysis)[:2]))


def flag(analysis: EvalAnalysis, arm: str) -> str:
    """What must be read beside an arm's name wherever it stands; empty where there is nothing."""
    return SELF_JUDGED if analysis.self_judged(arm) else ""


def category_rows(analysis: EvalAnalysis) -> dict[str, list[CategoryCell]]:
    """For each arm that has a control, one cell for each category of items; dashes where all of it are errors."""
    by_key = {
        (category, comparison.arm, comparison.metric): comparison
        for category, comparisons in analysis.categories.items()
        for comparison in comparisons
        if comparison.n_items
    }

    def cell(category: str, arm: str) -> CategoryCell:
        compared = [(metric.unit, by_key.get((category, arm, metric.name))) for metric in deciding(analysis)]
        return CategoryCell(
            category,
            max((comparison.n_items for _, comparison in compared if comparison), default=0),
            tuple(
                (unit.difference(comparison.difference.value), unit.bounds(comparison.difference, sign=True))
                if comparison
                else (DASH, "")
                for unit, comparison in compared
            ),
        )

    arms = [summary.arm for summary in analysis.summaries if summary.control] if analysis.categories else []
    return {arm: [cell(category, arm) for category in analysis.categories] for arm in arms}


def arm_rows(analysis: EvalAnalysis, metric: Metric) -> list[ArmRow]:
    """One row for each arm, in the order of the summaries."""
    compared = {c.arm: c for c in analysis.comparisons if c.metric == metric.name}
    unit = metric.unit
    rows = []
    for summary in analysis.summaries:
        estimate = getattr(summary, metric.name)
        comparison = compared.get(summary.arm)
        rows.append(
            ArmRow(
                arm=summary.arm,
                control=summary.control,
                n=summary.n,
                n_seeds=summary.n_seeds,
                n_dropped=comparison.n_dropped if comparison else 0,
                value=unit.value(estimate.value if estimate else None),
                bounds=unit.bounds(estimate),
                difference=unit.difference(comparison.difference.value) if comparison else DASH,
                difference_bounds=unit.bounds(comparison.difference, sign=True) if comparison else "",
                p_holm=p_value(comparison.p_holm if comparison else None),
                mde=unit.smallest(comparison.mde if comparison else None),
                significant=comparison is not None and is_found(comparison),
                flag=flag(analysis, summary.arm),
            )
        )
    return rows


def corrected_rows(judge: JudgeNote, summaries: Sequence[ArmSummary]) -> list[CorrectedRow]:
    """One row for each arm whose rate is corrected."""
    return [
        CorrectedRow(
            summary.arm,
            PERCENT.value(summary.lie_rate_given_belief.value if summary.lie_rate_given_belief else None),
            PERCENT.bounds(summary.lie_rate_given_belief),
            PERCENT.value(corrected.value) if math.isfinite(corrected.value) else "unknown",
            PERCENT.bounds(corrected),
            SELF_JUDGED if summary.arm in judge.self_judged else "",
        )
        for summary in summaries
        if (corrected := judge.corrected_lie_rate_given_belief.get(summary.arm))
    ]
