"""The figures of a judged eval as lines of a table: what each is called, and its value in each arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from untrue.report.format import PERCENT, Unit
from untrue.stats.types import Figure, Figures, Interval, MetricInfo


class FigureRow(NamedTuple):
    """One figure: for each arm its value and its bounds, as text."""

    label: str
    cells: tuple[tuple[str, str], ...]


def figure_rows(figures: Mapping[str, Figures]) -> list[FigureRow]:
    """The figures over all items, of arms by name; the cells are in the order of the arms."""
    return _rows(figures, [of_arm.total for of_arm in figures.values()])


def kind_rows(figures: Mapping[str, Figures]) -> dict[str, list[FigureRow]]:
    """The same for each kind of item, by its name in words."""
    kinds = dict.fromkeys(kind for of_arm in figures.values() for kind in of_arm.by_kind)
    return {
        kind.replace("_", " "): _rows(figures, [of_arm.by_kind.get(kind, {}) for of_arm in figures.values()])
        for kind in kinds
    }


def _rows(figures: Mapping[str, Figures], arms: list[dict[str, Figure]]) -> list[FigureRow]:
    infos = {name: info for of_arm in figures.values() for name, info in of_arm.metrics.items()}
    return [
        FigureRow(info.label, tuple(_cell(info, of_arm.get(name)) for of_arm in arms))
        for name, info in infos.items()
        if any(name in of_arm for of_arm in arms)
    ]


def _cell(info: MetricInfo, figure: Figure | None) -> tuple[str, str]:
    unit = PERCENT if info.unit == "%" else Unit(1, info.digits, "", "")
    if figure is None or figure.low is None or figure.high is None or not math.isfinite(figure.value):
        return unit.value(figure and figure.value), ""
    return unit.value(figure.value), unit.bounds(Interval(figure.value, figure.low, figure.high))
