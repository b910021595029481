"""The terminal tables fit, and say the same as the page."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from tests.report.conftest import of_eval
from untrue.report.table import print_analysis
from untrue.study.results import Analysis, EvalAnalysis

Make = Callable[..., Analysis]


def printed(analysis: Analysis, width: int) -> str:
    out = io.StringIO()
    print_analysis(analysis, Console(file=out, width=width, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_nothing_is_cut(analysis: Analysis, width: int) -> None:
    text = printed(analysis, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    line = "severe-50 360 23.1 % [19.7, 26.8] +11.9 pp [+7.4, +16.4] <0.001 6.3 pp"
    assert width == 80 or line in [" ".join(line.split()) for line in text.splitlines()]
    for part in ("[+7.4, +16.4]", "[-0.360, -0.240]", "6.3 pp", "0.084", "<0.001", *analysis.arms):
        assert part in text


@pytest.mark.parametrize(
    ("status", "start"),
    [
        ("finding", "\x1b[1;31mLIES MORE\x1b[0m: arms "),
        ("no_finding", "\x1b[2mNO FINDING\x1b[0m: "),
        ("inconclusive", "\x1b[1;33mINCONCLUSIVE\x1b[0m: "),
    ],
)
def test_the_verdict_comes_first_and_what_was_not_found_does_not_stand_out(
    make_analysis: Make, status: str, start: str
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system="standard", no_color=False)
    print_analysis(make_analysis(status=status), console)
    assert out.getvalue().startswith(start)


def test_every_eval_has_its_verdict_and_tables(analysis: Analysis, capability: EvalAnalysis) -> None:
    out = io.StringIO()
    print_analysis(
        replace(analysis, evals=[*analysis.evals, capability]), Console(file=out, width=100, color_system=None)
    )
    text = out.getvalue()
    for part in ("forced_choice", "LIES MORE: arms `severe-20` and `severe-50` against `control`", "NO FINDING: arm",
                 "Lie rate", "Pressure gap", "capability", "BREAKS: arm `severe-50` against `control`",
                 "accuracy from",
                 "Accuracy: in % of all results"):  # fmt: skip
        text = text[text.index(part) :]
    assert "severe-50 645 71.0 % [66.0, 76.0] -8.0 pp [-12.5, -3.5] <0.001 6.3 pp" in " ".join(text.split())
    assert out.getvalue().count("Warning:") == 1


def test_names_are_neither_markup_nor_escape_codes(analysis: Analysis) -> None:
    name = "[red]a[/]\x1b[31m"
    hostile = of_eval(analysis, summaries=[replace(analysis.evals[0].summaries[0], arm=name)])
    text = printed(hostile, 100)
    assert "[red]a[/]" in text and "\x1b" not in text


def test_further_metrics_are_shown_where_something_was_found(make_analysis: Make) -> None:
    found, nothing = printed(make_analysis(), 100), printed(make_analysis(status="no_finding"), 100)
    assert "Neutral margin: nats" in found and "Evasions: no side" not in found
    assert "Lie rate: lies" in nothing and "Pressure gap: margin" in nothing and "Neutral margin: nats" not in nothing
