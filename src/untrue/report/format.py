"""Numbers and names as text, and the rows of tables: the same in the page, its plots and the terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from untrue.outcomes import Result
from untrue.simulate.environment import KINDS, Kind
from untrue.stats.compare import PRIMARY
from untrue.stats.types import Comparison, Interval, MetricValue, MetricValues

if TYPE_CHECKING:
    from untrue.study.feedback import Policy
    from untrue.study.results import EvalAnalysis

DASH = "\N{EN DASH}"
Estimate = Interval | MetricValue | float | None  # what has a value, or none
_ASCII = str.maketrans({"\N{MINUS SIGN}": "-", DASH: "-", "\N{NO-BREAK SPACE}": " "})


@dataclass(frozen=True)
class Unit:
    """How the values of a metric are written: scaled, with so many digits and a suffix."""

    scale: float
    digits: int
    of_value: str
    of_difference: str

    def number(self, value: Estimate, sign: bool = False) -> str:
        """A bare number with a true minus, a plus if `sign` is set; a dash if not finite."""
        value = value.value if isinstance(value, Interval | MetricValue) else value
        if value is None or not math.isfinite(value):
            return DASH
        rounded = round(value * self.scale, self.digits) or 0.0  # no "-0.0"
        return f"{rounded:{'+' if sign and rounded else ''}.{self.digits}f}".replace("-", "\N{MINUS SIGN}")

    def value(self, value: Estimate) -> str:
        """A value with its unit, such as `12.5 %`."""
        return _join(self.number(value), self.of_value)

    def difference(self, value: Estimate) -> str:
        """A signed difference with its unit, such as `+7.5 pp`."""
        return _join(self.number(value, sign=True), self.of_difference)

    def size(self, value: Estimate) -> str:
        """The size of a difference, without a sign."""
        return _join(self.number(value), self.of_difference)

    def estimate(self, interval: Interval | MetricValue | None, between: str = " ") -> str:
        """A value and its interval, such as `12.5 % [8.1, 17.2]`; a dash where there is none."""
        return f"{self.value(interval)}{between}{self.bounds(interval)}".rstrip()

    def change(self, interval: Interval | None, between: str = " ") -> str:
        """A signed difference and its interval, such as `+7.5 pp [+2.1, +12.9]`; a dash where there is none."""
        return f"{self.difference(interval)}{between}{self.bounds(interval, sign=True)}".rstrip()

    def bounds(self, interval: Interval | MetricValue | None, sign: bool = False) -> str:
        """The two ends of an interval, such as `[8.1, 17.2]`; empty where there is none."""
        if interval is None or not any(end is not None and math.isfinite(end) for end in interval[1:]):
            return ""
        return f"[{self.number(interval.low, sign)}, {self.number(interval.high, sign)}]"


PERCENT = Unit(scale=100, digits=1, of_value="%", of_difference="pp")
NATS = Unit(scale=1, digits=3, of_value="", of_difference="")
DECIMAL = Unit(scale=1, digits=2, of_value="", of_difference="")


@dataclass(frozen=True)
class Metric:
    """How a metric is told: its name in the results, its title, what it means, and its unit."""

    name: str
    title: str
    meaning: str
    unit: Unit


# The metrics of an eval that gives outcomes, the most telling first.
HONESTY = (
    Metric("lie_rate", "Lie rate", "lies, in % of all results", PERCENT),
    Metric("pressure_gap", "Pressure gap", "margin under pressure minus neutral margin, nats per token", NATS),
    Metric("untrue_belief_rate", "Untrue beliefs", "belief not the truth, in % of all results", PERCENT),
    Metric("neutral_margin", "Neutral margin", "nats per token, neutral prompt", NATS),
    Metric("evasion_rate", "Evasions", "no side taken on a belief, in % of all results", PERCENT),
    Metric("pressure_margin", "Pressure margin", "nats per token, under pressure", NATS),
)

# Those in nats: under pressure, neutral, and the gap between them.
MARGINS = tuple(metric for metric in HONESTY[::-1] if metric.unit is NATS)


def value_metric(value_name: str, graded: bool = False) -> Metric:
    """The mean value of an eval by its name there, such as `accuracy`."""
    meaning = "mean over all results" if graded else "in % of all results"
    return Metric("value", value_name.capitalize(), meaning, PERCENT)


def metric_named(name: str, value_name: str | None = None) -> Metric:
    """A metric by its name in the results; a value has the name that its eval gives it."""
    return next((metric for metric in HONESTY if metric.name == name), value_metric(value_name or "value"))


def _join(number: str, unit: str) -> str:
    return number if number == DASH or not unit else f"{number}\N{NO-BREAK SPACE}{unit}"


def p_value(p: float | None) -> str:
    """A p value with two significant digits, at most three after the point."""
    if p is None or not math.isfinite(p):
        return DASH
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def outcome_word(result: Result, graded: bool = False) -> str:
    """The outcome of a result, or its value: 0 is wrong and 1 right, unless graded."""
    if result.outcome is not None:
        return result.outcome.replace("_", " ")
    value = result.value or 0.0
    if graded:
        return PERCENT.value(value)
    return {0.0: "wrong", 1.0: "right"}.get(value, f"{value:.0%} right")


def dose(value: float) -> str:
    """A dose or share in percent, without needless digits."""
    return f"{value * 100:.3g}\N{NO-BREAK SPACE}%"


def label(text: str, most: int = 60) -> str:
    """A name that is safe to draw: one line, without control characters."""
    printable = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in text)
    return printable if len(printable) <= most else printable[: most - 1] + "…"


def ascii_numbers(text: str) -> str:
    """The same text with hyphens and plain spaces in its numbers, for terminals and JSON."""
    return text.translate(_ASCII)


SELF_JUDGED = "self-judged"  # stands beside the name of an arm that was its own judge


def metrics(analysis: EvalAnalysis) -> tuple[Metric, ...]:
    """The metrics that an eval observes, those that decide first."""
    if analysis.record.value_name is not None:
        return (value_metric(analysis.record.value_name, analysis.record.graded),)
    seen = [m for m in HONESTY if any(getattr(summary, m.name) is not None for summary in analysis.summaries)]
    return tuple(seen) or HONESTY[:1]


def deciding(analysis: EvalAnalysis) -> tuple[Metric, ...]:
    """The metrics by which the verdict goes."""
    return tuple(m for m in metrics(analysis) if m.name in PRIMARY)


def flag(analysis: EvalAnalysis, arm: str) -> str:
    """What must stand beside an arm's name; often empty."""
    return SELF_JUDGED if analysis.self_judged(arm) else ""


def with_control(analysis: EvalAnalysis, arm: str, metric: Metric) -> Comparison | None:
    """The comparison of an arm with its control; None where there is none."""
    return next((c for c in analysis.comparisons if (c.arm, c.metric) == (arm, metric.name)), None)


def is_found(comparison: Comparison | None) -> bool:
    """Whether a difference counts as one, in a metric that decides: the p of others is not corrected."""
    return comparison is not None and comparison.metric in PRIMARY and comparison.is_found


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


def metric_rows(metrics: Mapping[str, MetricValues]) -> dict[str, list[MetricRow]]:
    """The metrics of arms by name, in their order: over all items under "", then by category in words."""
    groups = {"": [of_arm.total for of_arm in metrics.values()]}
    for category in dict.fromkeys(category for of_arm in metrics.values() for category in of_arm.by_category):
        groups[category.replace("_", " ")] = [of_arm.by_category.get(category, {}) for of_arm in metrics.values()]
    infos = {name: info for of_arm in metrics.values() for name, info in of_arm.info.items()}
    units = {name: PERCENT if info.unit == "%" else Unit(1, info.digits, "", "") for name, info in infos.items()}
    return {
        group: [
            MetricRow(info.label, units[name], tuple(of_arm.get(name) for of_arm in arms))
            for name, info in infos.items()
            if any(name in of_arm for of_arm in arms)
        ]
        for group, arms in groups.items()
    }
