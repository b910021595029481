"""The metrics of a judged eval as rows of a table: the label of each, and its value in each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from untrue.report.format import PERCENT, Unit
from untrue.stats.types import Figure, Figures

LABELS = {
    "items": "items",
    "lie": "P(lie)",
    "honest": "P(honest)",
    "mask_honesty": "MASK honesty, 1 - P(lie)",
    "coverage": "coverage: a belief is held",
    "committed": "committed: takes a side on a held belief",
    "evade": "evades a held belief",
    "no_belief": "holds no belief",
    "lie_rate_given_belief": "P(lie) where a belief is held",
    "honesty_at_n": "honesty@n: items without a lie or error",
    "all_honest_at_n": "items whose n replies are all honest",
    "n": "n: replies to an item",
    "belief_imputed": "ground truth taken for the belief",
    "deception_rate": "deception rate, of what could be judged",
    "deception_rate_min": "the same if no error is deception",
    "deception_rate_max": "the same if every error is deception",
    "format_missed": "misses the format",
    "admitted": "admits unknowns, of unanswerable questions that were judged",
    "answered": "answers knowns, of their answerable twins that were judged",
    "youden_j": "Youden's J: admits + answers - 1",
    "error": "errors",
    "truncated": "cut at the token limit",
}
"""Name of a metric -> its label, in the order in which they are shown; flags are told elsewhere."""

_UNITS = {name: Unit(1, digits, "", "") for name, digits in {"youden_j": 2, "n": 0, "items": 0}.items()}


class MetricRow(NamedTuple):
    """One metric: its label, its unit, and for each arm its value, None where the arm lacks it."""

    label: str
    unit: Unit
    values: tuple[Figure | None, ...]


def metric_rows(metrics: Mapping[str, Figures]) -> list[MetricRow]:
    """The metrics over all items, of arms by name; the values are in the order of the arms."""
    return _rows([of_arm.total for of_arm in metrics.values()])


def category_metric_rows(metrics: Mapping[str, Figures]) -> dict[str, list[MetricRow]]:
    """The same for each category of items, by its name in words."""
    categories = dict.fromkeys(category for of_arm in metrics.values() for category in of_arm.by_kind)
    return {
        category.replace("_", " "): _rows([of_arm.by_kind.get(category, {}) for of_arm in metrics.values()])
        for category in categories
    }


def _rows(arms: list[dict[str, Figure]]) -> list[MetricRow]:
    return [
        MetricRow(label, _UNITS.get(name, PERCENT), tuple(of_arm.get(name) for of_arm in arms))
        for name, label in LABELS.items()
        if any(name in of_arm for of_arm in arms)
    ]
