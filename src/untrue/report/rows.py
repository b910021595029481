"""The lines of the tables: one arm in one metric, and what is said of a judge, for the page and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from untrue.report.content import JudgeNote, ReportContent
from untrue.report.format import DASH, NATS, PERCENT, Unit, p_value
from untrue.stats import is_found
from untrue.stats.types import ArmSummary, Interval


@dataclass(frozen=True)
class Metric:
    """A measure of the study: its name in the results, its title and what it means."""

    name: str
    title: str
    meaning: str
    unit: Unit


HONESTY = (
    Metric("lie_rate", "Lie rate", "lies, in % of all results", PERCENT),
    Metric("pressure_margin", "Pressure margin", "nats per token, under pressure", NATS),
    Metric("neutral_margin", "Neutral margin", "nats per token, neutral prompt", NATS),
    Metric("pressure_gap", "Pressure gap", "pressure minus neutral margin", NATS),
)
"""The metrics of an eval that gives outcomes, those that decide first."""


def metrics(content: ReportContent) -> tuple[Metric, ...]:
    """The metrics that the eval of this content observes."""
    if content.value_name is not None:
        return (Metric("value", content.value_name.capitalize(), "in % of all results without error", PERCENT),)
    seen = [m for m in HONESTY if any(getattr(summary, m.name) is not None for summary in content.summaries)]
    return tuple(seen) or HONESTY[:1]


@dataclass(frozen=True)
class ArmRow:
    """One arm in one metric; every figure is text, a dash where there is none."""

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
    smallest: str
    significant: bool
    flag: str


class CategoryCell(NamedTuple):
    """One arm on one kind of item against its control: the difference in each deciding metric, with its bounds."""

    category: str
    n: int
    figures: tuple[tuple[str, str], ...]


def deciding(content: ReportContent) -> tuple[Metric, ...]:
    """The metrics by which the verdict goes; margins, which see more, come first."""
    return tuple(reversed(metrics(content)[:2]))


def category_rows(content: ReportContent) -> dict[str, list[CategoryCell]]:
    """For each arm that has a control, one cell for each kind of item; dashes where all of the kind are errors."""
    if not content.categories:
        return {}
    found = {
        (kind, comparison.arm, comparison.metric): comparison
        for kind, comparisons in content.categories.items()
        for comparison in comparisons
        if comparison.n_items
    }

    def cell(kind: str, arm: str) -> CategoryCell:
        of_kind = [(metric.unit, found.get((kind, arm, metric.name))) for metric in deciding(content)]
        return CategoryCell(
            kind,
            max((comparison.n_items for _, comparison in of_kind if comparison), default=0),
            tuple(
                (unit.difference(one.difference.value), unit.bounds(one.difference, sign=True)) if one else (DASH, "")
                for unit, one in of_kind
            ),
        )

    compared = [summary.arm for summary in content.summaries if summary.control]
    return {arm: [cell(kind, arm) for kind in content.categories] for arm in compared}


def arm_rows(content: ReportContent, metric: Metric) -> list[ArmRow]:
    """One row for each arm, in the order of the summaries."""
    compared = {c.arm: c for c in content.comparisons if c.metric == metric.name}
    unit = metric.unit
    rows = []
    for summary in content.summaries:
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
                smallest=unit.smallest(comparison.mde if comparison else None),
                significant=comparison is not None and is_found(comparison),
                flag=content.flag(summary.arm),
            )
        )
    return rows


class CorrectedRow(NamedTuple):
    """Lies of one arm among its held beliefs, as judged and corrected for the judge's mistakes, with bounds."""

    arm: str
    judged: str
    judged_bounds: str
    corrected: str
    corrected_bounds: str
    flag: str


def corrected_rows(judge: JudgeNote, summaries: Sequence[ArmSummary]) -> list[CorrectedRow]:
    """One row for each arm whose rate is corrected."""
    return [
        CorrectedRow(
            summary.arm,
            PERCENT.value(summary.lie_rate_given_belief.value if summary.lie_rate_given_belief else None),
            PERCENT.bounds(summary.lie_rate_given_belief),
            PERCENT.value(found.value) if math.isfinite(found.value) else "unknown",
            PERCENT.bounds(found),
            "self-judged" if summary.arm in judge.self_judged else "",
        )
        for summary in summaries
        if (found := judge.corrected_lie_rate_given_belief.get(summary.arm))
    ]


def judge_check(judge: JudgeNote) -> str:
    """What a judge's last check found, in a line."""
    check = judge.check
    if check is None:
        return "never checked, so nothing is known of what its verdicts are worth"
    errors = f", {check.errors} without a verdict" if check.errors else ""
    parts = [f"accuracy {_shown(check.accuracy)}"]
    for name, worth in check.questions.items():
        part = f"on the question {name!r} accuracy {_shown(worth.accuracy)}"
        if worth.kappa:
            part += f", kappa {worth.kappa.value:.2f} [{worth.kappa.low:.2f}, {worth.kappa.high:.2f}]"
        if name == "statement":
            part += f", sensitivity {PERCENT.value(check.sensitivity.value)}"
            part += f", specificity {PERCENT.value(check.specificity.value)}"
        parts.append(part)
    return f"checked on {check.made[:10]} on {check.rows} labelled replies{errors}: {'; '.join(parts)}"


def _shown(rate: Interval) -> str:
    return f"{PERCENT.value(rate.value)} {PERCENT.bounds(rate)}"
