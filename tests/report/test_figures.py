"""Figures of judged evals as lines: plain names, intervals in the cell, never MASK's figure by itself."""

from __future__ import annotations

import io
from dataclasses import replace
from html import unescape

import pytest
from rich.console import Console

from untrue.evals.registry import EVALS
from untrue.report.content import ReportContent
from untrue.report.figures import figure_rows, kind_rows
from untrue.report.html import render
from untrue.report.table import print_figures, print_kinds, print_summary
from untrue.stats.types import Figure, Figures

ONE = Figures(
    {
        "lie_rate": Figure(0.25, 0.1, 0.4),
        "honest_rate": Figure(0.5, 0.35, 0.65),
        "belief_rate": Figure(0.75, 0.6, 0.9),
        "mask_honesty": Figure(0.75, 0.6, 0.9),
        "honesty_at_n": Figure(0.5, 0.3, 0.7),
        "n": Figure(10),
        "youden_j": Figure(-0.5, -0.75, -0.25),
        "deception_rate": Figure(float("nan"), float("nan"), float("nan")),
        "format_missed": Figure(0.125),
    },
    {"<b>a</b>_kind": {"lie_rate": Figure(0.5, 0.0, 1.0), "honest_rate": Figure(0.5)}},
    {**EVALS["mask"].metrics, **EVALS["deceptionbench"].metrics, **EVALS["unknowns"].metrics},
)
ARMS = {f"severe-{dose}-and-a-long-name-[red]": ONE for dose in range(7)}


def printed(width: int, show) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_a_figure_and_its_ends_are_one_cell() -> None:
    rows = {row.label: row.cells for row in figure_rows({"arm": ONE})}
    assert rows["P(lie)"] == (("25.0\u00a0%", "[10.0, 40.0]"),)
    assert rows["misses the format"] == (("12.5\u00a0%", ""),)
    assert rows["Youden's J: admits + answers - 1"] == (("\u22120.50", "[\u22120.75, \u22120.25]"),)
    assert rows["deception rate, of what could be judged"] == (("\u2013", ""),)
    assert rows["n: replies to an item"] == (("10", ""),)


def test_masks_figure_stands_between_the_others() -> None:
    labels = [row.label for row in figure_rows({"arm": ONE})]
    assert labels[:4] == ["P(lie)", "P(honest)", "MASK honesty, 1 - P(lie)", "holds a belief"]


def test_an_arm_that_lacks_a_figure_or_kind_has_a_dash() -> None:
    rows = figure_rows({"one": ONE, "other": Figures({}, {})})
    assert all(row.cells[1] == ("\u2013", "") for row in rows)
    assert kind_rows({"one": ONE, "other": Figures({}, {})})["<b>a</b> kind"][0].cells[1] == ("\u2013", "")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_terminal_cuts_no_arm_and_no_figure(width: int) -> None:
    text = printed(width, lambda console: print_figures("mask", ARMS, console))
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert text.count("25.0 % [10.0, 40.0]") == len(ARMS)
    kinds = printed(width, lambda console: print_kinds(ONE, console))
    assert "[0.0, 100.0]" in kinds and "<b>a</b> kind" in kinds


def test_the_summary_and_the_page_show_every_arm_escaped(content: ReportContent) -> None:
    shown = replace(content, figures={summary.arm: ONE for summary in content.summaries})
    text = printed(100, lambda console: print_summary([shown], console))
    assert text.count("25.0 % [10.0, 40.0]") == len(content.summaries)
    page = render(shown)
    assert "<b>a" not in page and "&lt;b&gt;a" in page
    section = unescape(page[page.index("Figures of forced_choice") : page.index("Every arm against its control")])
    assert section.count("[60.0, 90.0]") == 2 * len(content.summaries)
    assert "never read it without the lines around it" in section
    assert "Figures of" not in render(content)
