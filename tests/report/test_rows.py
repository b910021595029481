"""A difference is marked as found exactly where the verdict would take it for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.report.conftest import of_eval
from tests.report.test_html import Page
from untrue.report.format import HONESTY, is_found, with_control
from untrue.report.html import render
from untrue.stats.types import Interval
from untrue.study.results import Analysis, EvalAnalysis


@pytest.mark.parametrize(
    ("difference", "p_holm", "found"),
    [
        (Interval(0.1, 0.05, 0.15), 0.01, True),
        (Interval(-0.1, -0.15, -0.05), 0.01, True),
        (Interval(0.1, 0.05, 0.15), 0.06, False),
        (Interval(0.1, -0.01, 0.21), 0.01, False),
        (Interval(float("nan"), float("nan"), float("nan")), 1.0, False),
    ],
)
def test_found(forced_choice: EvalAnalysis, difference: Interval, p_holm: float, found: bool) -> None:
    comparison = replace(forced_choice.comparisons[0], difference=difference, p_holm=p_holm)
    shown = replace(forced_choice, comparisons=[comparison])
    assert is_found(with_control(shown, comparison.arm, HONESTY[0])) is found
    assert not is_found(with_control(shown, "control", HONESTY[0]))


def test_each_category_of_items_has_the_differences_of_each_arm(
    analysis: Analysis, forced_choice: EvalAnalysis
) -> None:
    nothing = [replace(comparison, n_items=0) for comparison in forced_choice.categories["known_facts"]]
    for known_facts, shown in ((None, "+17.9 pp"), ([], "–"), (nothing, "–")):
        categories = forced_choice.categories | ({} if known_facts is None else {"known_facts": known_facts})
        text = Page(render(of_eval(analysis, categories=categories))).text
        section = text[text.index("exploratory only") : text.index("Linear fit")]
        assert f"severe-50 {shown} " in section and "50 items" in section
    assert "exploratory only" not in render(of_eval(analysis, categories={}))
