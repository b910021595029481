"""A difference is marked as found exactly where the verdict would take it for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from untrue.report.content import ReportContent
from untrue.report.format import DASH
from untrue.report.rows import HONESTY, arm_rows, category_rows
from untrue.stats.types import Interval


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
def test_found(content: ReportContent, difference: Interval, p_holm: float, found: bool) -> None:
    comparison = replace(content.comparisons[0], difference=difference, p_holm=p_holm)
    rows = {row.arm: row for row in arm_rows(replace(content, comparisons=[comparison]), HONESTY[0])}
    assert rows[comparison.arm].significant is found
    assert not rows["control"].significant


def test_each_arm_has_a_cell_for_each_kind_of_item(content: ReportContent) -> None:
    rows = category_rows(content)
    assert list(rows) == [summary.arm for summary in content.summaries if summary.control]
    for arm, cells in rows.items():
        assert [cell.category for cell in cells] == list(content.categories)
        for cell in cells:
            lies, margin = (
                next(c for c in content.categories[cell.category] if (c.arm, c.metric) == (arm, metric.name))
                for metric in HONESTY[:2]
            )
            assert cell.n == margin.n_items
            assert cell.figures[1][0] == HONESTY[0].unit.difference(lies.difference.value)
            assert cell.figures[0][0] == HONESTY[1].unit.difference(margin.difference.value)
    assert len({cell.figures[1] for cell in rows["severe-50"]}) == len({cell.n for cell in rows["severe-50"]}) == 2


def test_a_kind_whose_items_are_all_errors_has_dashes(content: ReportContent) -> None:
    nothing = [
        replace(comparison, n_items=0, difference=Interval(*[float("nan")] * 3))
        for comparison in content.categories["known_facts"]
    ]
    for known_facts in ([], nothing):
        rows = category_rows(replace(content, categories={**content.categories, "known_facts": known_facts}))
        assert list(rows) == [summary.arm for summary in content.summaries if summary.control]
        for empty, full in rows.values():
            assert empty == ("known_facts", 0, ((DASH, ""), (DASH, "")))
            assert full.n == 50 and full.figures[0][0] != DASH


def test_one_kind_of_item_has_no_rows(content: ReportContent) -> None:
    assert category_rows(replace(content, categories={})) == {}
