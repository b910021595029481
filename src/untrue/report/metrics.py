"""The metrics of a judged eval as rows of a table: the label of each, and its value in each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from untrue.report.format import PERCENT, Unit
from untrue.stats.types import Figure, Figures


class MetricRow(NamedTuple):
    """One metric: its label, its unit, and for each arm its value, None where the arm lacks it."""

    label: str
    unit: Unit
    values: tuple[Figure | None, ...]


def metric_rows(metrics: Mapping[str, Figures]) -> list[MetricRow]:
    """The metrics over all items, of arms by name; the values are in the order of the arms."""
    return _rows(metrics, [of_arm.total for of_arm in metrics.values()])


def category_metric_rows(metrics: Mapping[str, Figures]) -> dict[str, list[MetricRow]]:
    """The same for each category of items, by its name in words."""
    categories = dict.fromkeys(category for of_arm in metrics.values() for category in of_arm.by_kind)
    return {
        category.replace("_", " "): _rows(metrics, [of_arm.by_kind.get(category, {}) for of_arm in metrics.values()])
        for category in categories
    }


def _rows(metrics: Mapping[str, Figures], arms: list[dict[str, Figure]]) -> list[MetricRow]:
    infos = {name: info for of_arm in metrics.values() for name, info in of_arm.metrics.items()}
    return [
        MetricRow(
            info.label,
            PERCENT if info.unit == "%" else Unit(1, info.digits, "", ""),
            tuple(of_arm.get(name) for of_arm in arms),
        )
        for name, info in infos.items()
        if any(name in of_arm for of_arm in arms)
    ]
