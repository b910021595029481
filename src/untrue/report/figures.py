"""The figures of a judged eval as lines of a table: what each is called, and its value in each arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from untrue.report.format import PERCENT, Unit
from untrue.stats.types import Figure, Figures, Interval

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
"""Name of a figure -> what it is for people, in the order in which they are shown; flags are told elsewhere."""

_UNITS = {name: Unit(1, digits, "", "") for name, digits in {"youden_j": 2, "n": 0, "items": 0}.items()}


class FigureRow(NamedTuple):
    """One figure: for each arm its value and its bounds, as text."""

    label: str
    cells: tuple[tuple[str, str], ...]


def figure_rows(figures: Mapping[str, Figures]) -> list[FigureRow]:
    """The figures over all items, of arms by name; the cells are in the order of the arms."""
    return _rows([of_arm.total for of_arm in figures.values()])


def kind_rows(figures: Mapping[str, Figures]) -> dict[str, list[FigureRow]]:
    """The same for each kind of item, by its name in words."""
    kinds = dict.fromkeys(kind for of_arm in figures.values() for kind in of_arm.by_kind)
    return {
        kind.replace("_", " "): _rows([of_arm.by_kind.get(kind, {}) for of_arm in figures.values()]) for kind in kinds
    }


def _rows(arms: list[dict[str, Figure]]) -> list[FigureRow]:
    return [
        FigureRow(label, tuple(_cell(name, of_arm.get(name)) for of_arm in arms))
        for name, label in LABELS.items()
        if any(name in of_arm for of_arm in arms)
    ]


def _cell(name: str, figure: Figure | None) -> tuple[str, str]:
    unit = _UNITS.get(name, PERCENT)
    if figure is None or figure.low is None or figure.high is None or not math.isfinite(figure.value):
        return unit.value(figure and figure.value), ""
    return unit.value(figure.value), unit.bounds(Interval(figure.value, figure.low, figure.high))
