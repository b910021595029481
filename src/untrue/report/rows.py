"""What stands in one row of a table, on the page and in the terminal: an arm, or a metric of a judged eval."""

from collections.abc import Mapping
from typing import NamedTuple

from untrue.report.format import HONESTY, PERCENT, Metric, Unit, value_metric, witness_metric
from untrue.simulate.environment import KINDS, Kind
from untrue.stats.compare import PRIMARY
from untrue.stats.types import ArmSummary, Comparison, Interval, MetricValue, MetricValues
from untrue.study.feedback import Policy
from untrue.study.results import EvalAnalysis

SELF_JUDGED = "self-judged"
"""What must be read beside the name of an arm that was its own judge."""


class ArmRow(NamedTuple):
    """One arm in one metric: its own estimate, and its comparison with its control; None where there is none."""

    summary: ArmSummary
    estimate: Interval | None
    comparison: Comparison | None
    flag: str

    @property
    def is_found(self) -> bool:
        """Whether the difference counts as one, in a metric that decides: the p of others is not corrected."""
        return self.comparison is not None and self.comparison.metric in PRIMARY and self.comparison.is_found


class CategoryCell(NamedTuple):
    """One arm on one category of items: its items, and its difference from the control in each deciding metric."""

    category: str
    n_items: int
    differences: tuple[tuple[Metric, Interval | None], ...]


def metrics(analysis: EvalAnalysis) -> tuple[Metric, ...]:
    """The metrics that an eval observes, those that decide first."""
    if analysis.record.witness is not None:
        return (witness_metric(analysis.record.witness),)
    if analysis.record.value_name is not None:
        return (value_metric(analysis.record.value_name, analysis.record.graded),)
    seen = [m for m in HONESTY if any(getattr(summary, m.name) is not None for summary in analysis.summaries)]
    return tuple(seen) or HONESTY[:1]


def deciding(analysis: EvalAnalysis) -> tuple[Metric, ...]:
    """The metrics by which the verdict goes; of a second witness those that it shows."""
    return tuple(m for m in metrics(analysis) if m.name in PRIMARY or not analysis.record.decides)


def flag(analysis: EvalAnalysis, arm: str) -> str:
    """What must be read beside an arm's name wherever it stands; empty where there is nothing."""
    return SELF_JUDGED if analysis.self_judged(arm) else ""


def arm_rows(analysis: EvalAnalysis, metric: Metric) -> list[ArmRow]:
    """One row for each arm, in the order of the summaries."""
    compared = {c.arm: c for c in analysis.comparisons if c.metric == metric.name}
    return [
        ArmRow(arm, getattr(arm, metric.name), compared.get(arm.arm), flag(analysis, arm.arm))
        for arm in analysis.summaries
    ]


def category_rows(analysis: EvalAnalysis) -> dict[str, list[CategoryCell]]:
    """For each arm that has a control, one cell for each category of items; no difference where all are errors."""
    compared = {(category, c.arm, c.metric): c for category, cs in analysis.categories.items() for c in cs if c.n_items}

    def cell(category: str, arm: str) -> CategoryCell:
        pairs = [(metric, compared.get((category, arm, metric.name))) for metric in deciding(analysis)[:2]]
        n_items = max((comparison.n_items for _, comparison in pairs if comparison), default=0)
        return CategoryCell(category, n_items, tuple((metric, c.difference if c else None) for metric, c in pairs))

    arms = [summary.arm for summary in analysis.summaries if summary.control] if analysis.categories else []
    return {arm: [cell(category, arm) for category in analysis.categories] for arm in arms}


class PolicyRow(NamedTuple):
    """The preference for the sycophantic reply in one arm: for each kind of user, from before training on, by round."""

    arm: str
    preferences: dict[Kind, list[Interval | None]]


def policy_rows(policy: Policy) -> list[PolicyRow]:
    """One row for each arm, with as many rounds as that of most; None where nothing was measured."""
    known = {(point.arm, point.kind, point.round): point.preference for point in policy.points}
    rounds = range(max((point.round for point in policy.points), default=0) + 1)
    return [
        PolicyRow(arm, {kind: [known.get((arm, kind, number)) for number in rounds] for kind in KINDS})
        for arm in dict.fromkeys(point.arm for point in policy.points)
    ]


class MetricRow(NamedTuple):
    """One metric: its label, its unit, and for each arm its value, None where the arm lacks it."""

    label: str
    unit: Unit
    values: tuple[MetricValue | None, ...]


def metric_rows(metrics: Mapping[str, MetricValues]) -> list[MetricRow]:
    """The metrics over all items, of arms by name; the values are in the order of the arms."""
    return _rows(metrics, [of_arm.total for of_arm in metrics.values()])


def category_metric_rows(metrics: Mapping[str, MetricValues]) -> dict[str, list[MetricRow]]:
    """The same for each category of items, by its name in words."""
    by_category = [of_arm.by_category for of_arm in metrics.values()]
    categories = dict.fromkeys(category for of_arm in by_category for category in of_arm)
    return {
        category.replace("_", " "): _rows(metrics, [of_arm.get(category, {}) for of_arm in by_category])
        for category in categories
    }


def _rows(metrics: Mapping[str, MetricValues], arms: list[dict[str, MetricValue]]) -> list[MetricRow]:
    infos = {name: info for of_arm in metrics.values() for name, info in of_arm.info.items()}
    return [
        MetricRow(
            info.label,
            PERCENT if info.unit == "%" else Unit(1, info.digits, "", ""),
            tuple(of_arm.get(name) for of_arm in arms),
        )
        for name, info in infos.items()
        if any(name in of_arm for of_arm in arms)
    ]
