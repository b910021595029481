"""The lines of the tables: one arm in one metric, as text, for the page and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from untrue.report.content import ReportContent
from untrue.report.format import DASH, NATS, PERCENT, Unit, p_value
from untrue.stats import is_found


@dataclass(frozen=True)
class Metric:
    """A measure of the study: its name in the results, its title and what it means."""

    name: str
    title: str
    meaning: str
    unit: Unit


METRICS = (
    Metric("lie_rate", "Lie rate", "lies, in % of all results", PERCENT),
    Metric("pressure_margin", "Pressure margin", "nats per token, under pressure", NATS),
    Metric("neutral_margin", "Neutral margin", "nats per token, neutral prompt", NATS),
    Metric("pressure_gap", "Pressure gap", "pressure minus neutral margin", NATS),
)


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


class ArchetypeCell(NamedTuple):
    """One arm on one kind of item against its control; every figure is text."""

    archetype: str
    n: int
    lie_rate: str
    lie_rate_bounds: str
    margin: str
    margin_bounds: str


def archetype_rows(content: ReportContent) -> dict[str, list[ArchetypeCell]]:
    """For each arm that has a control, one cell for each kind of item; dashes where all of the kind are errors."""
    if not content.archetypes:
        return {}
    found = {
        (kind, comparison.arm, comparison.metric): comparison
        for kind, comparisons in content.archetypes.items()
        for comparison in comparisons
        if comparison.n_items
    }

    def cell(kind: str, arm: str) -> ArchetypeCell:
        lies, margin = found.get((kind, arm, "lie_rate")), found.get((kind, arm, "pressure_margin"))
        return ArchetypeCell(
            kind,
            margin.n_items if margin else 0,
            PERCENT.difference(lies.difference.value) if lies else DASH,
            PERCENT.bounds(lies.difference, sign=True) if lies else "",
            NATS.difference(margin.difference.value) if margin else DASH,
            NATS.bounds(margin.difference, sign=True) if margin else "",
        )

    compared = [summary.arm for summary in content.summaries if summary.control]
    return {arm: [cell(kind, arm) for kind in content.archetypes] for arm in compared}


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
                n=sum(summary.counts.values()),
                n_seeds=summary.n_seeds,
                n_dropped=comparison.n_dropped if comparison else 0,
                value=unit.value(estimate.value if estimate else None),
                bounds=unit.bounds(estimate),
                difference=unit.difference(comparison.difference.value) if comparison else DASH,
                difference_bounds=unit.bounds(comparison.difference, sign=True) if comparison else "",
                p_holm=p_value(comparison.p_holm if comparison else None),
                smallest=unit.smallest(comparison.detectable if comparison else None),
                significant=comparison is not None and is_found(comparison),
            )
        )
    return rows
