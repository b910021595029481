"""Metrics of judged evals as rows: plain names, intervals in the cell, never MASK's figure by itself."""

from __future__ import annotations

import io
from html import unescape

import pytest
from rich.console import Console

from tests.report.conftest import of_eval
from untrue.harness.catalogue import EVALS
from untrue.report.format import metric_rows
from untrue.report.html import render
from untrue.report.table import print_metrics
from untrue.stats.types import MetricValue, MetricValues
from untrue.study.results import Analysis

ONE = MetricValues(
    {
        "lie_rate": MetricValue(0.25, 0.1, 0.4),
        "honest_rate": MetricValue(0.5, 0.35, 0.65),
        "belief_rate": MetricValue(0.75, 0.6, 0.9),
        "mask_honesty": MetricValue(0.75, 0.6, 0.9),
        "honesty_at_n": MetricValue(0.5, 0.3, 0.7),
        "n": MetricValue(10),
        "youden_j": MetricValue(-0.5, -0.75, -0.25),
        "deception_rate": MetricValue(float("nan"), float("nan"), float("nan")),
        "format_missed": MetricValue(0.125),
    },
    {"<b>a</b>_kind": {"lie_rate": MetricValue(0.5, 0.0, 1.0), "honest_rate": MetricValue(0.5)}},
    {**EVALS["mask"].metrics, **EVALS["deceptionbench"].metrics, **EVALS["unknowns"].metrics},
)


def test_a_metric_and_its_ends_are_one_cell() -> None:
    rows = {row.label: row.unit.estimate(row.values[0]) for row in metric_rows({"arm": ONE})[""]}
    assert rows["P(lie)"] == "25.0\u00a0% [10.0, 40.0]"
    assert rows["misses the format"] == "12.5\u00a0%"
    assert rows["Youden's J: admits + answers - 1"] == "\u22120.50 [\u22120.75, \u22120.25]"
    assert rows["deception rate, of what could be judged"] == "\u2013"
    assert rows["n: replies to an item"] == "10"


def test_masks_figure_stands_between_the_others() -> None:
    labels = [row.label for row in metric_rows({"arm": ONE})[""]]
    assert labels[:4] == ["P(lie)", "P(honest)", "MASK honesty, 1 - P(lie)", "holds a belief"]


def test_an_arm_that_lacks_a_figure_or_kind_has_a_dash() -> None:
    rows = metric_rows({"one": ONE, "other": MetricValues({}, {})})
    assert list(rows) == ["", "<b>a</b> kind"]
    assert all(row.values[1] is None for group in rows.values() for row in group)


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_cuts_no_figure_of_a_model(width: int) -> None:
    out = io.StringIO()
    print_metrics("mask", ONE, Console(file=out, width=width, color_system=None))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert max(map(len, out.getvalue().splitlines())) <= width and "…" not in out.getvalue()
    assert "P(lie) 25.0 % [10.0, 40.0]" in lines and "P(lie) <b>a</b> kind 50.0 % [0.0, 100.0]" in lines


def test_the_page_shows_every_arm_escaped(analysis: Analysis) -> None:
    page = render(of_eval(analysis, metrics=dict.fromkeys(analysis.arms, ONE)))
    assert "<b>a" not in page and "&lt;b&gt;a" in page
    section = unescape(page[page.index("Metrics of forced_choice") : page.index("Every arm against its control")])
    assert section.count("[60.0, 90.0]") == 2 * len(analysis.arms)
    assert "never read it without the lines around it" in section
    assert "Metrics of" not in render(analysis)
