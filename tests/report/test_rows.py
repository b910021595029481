"""A difference is marked as found exactly where the verdict would take it for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from untrue.report.format import HONESTY, arm_rows, category_rows
from untrue.stats.types import Interval
from untrue.study.results import EvalAnalysis


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
    rows = {row.summary.arm: row for row in arm_rows(replace(forced_choice, comparisons=[comparison]), HONESTY[0])}
    assert rows[comparison.arm].is_found is found
    assert not rows["control"].is_found


def test_each_arm_has_a_cell_for_each_kind_of_item(forced_choice: EvalAnalysis) -> None:
    rows = category_rows(forced_choice)
    assert list(rows) == [summary.arm for summary in forced_choice.summaries if summary.control]
    for arm, cells in rows.items():
        assert [cell.category for cell in cells] == list(forced_choice.categories)
        for cell in cells:
            lies, gap = (
                next(c for c in forced_choice.categories[cell.category] if (c.arm, c.metric) == (arm, metric.name))
                for metric in HONESTY[:2]
            )
            assert cell.n_items == gap.n_items
            assert cell.differences == ((HONESTY[0], lies.difference), (HONESTY[1], gap.difference))
    assert (
        len({cell.differences[1] for cell in rows["severe-50"]})
        == len({cell.n_items for cell in rows["severe-50"]})
        == 2
    )


def test_a_kind_whose_items_are_all_errors_has_dashes(forced_choice: EvalAnalysis) -> None:
    nothing = [
        replace(comparison, n_items=0, difference=Interval(*[float("nan")] * 3))
        for comparison in forced_choice.categories["known_facts"]
    ]
    for known_facts in ([], nothing):
        rows = category_rows(
            replace(forced_choice, categories={**forced_choice.categories, "known_facts": known_facts})
        )
        assert list(rows) == [summary.arm for summary in forced_choice.summaries if summary.control]
        for empty, full in rows.values():
            assert empty == ("known_facts", 0, ((HONESTY[0], None), (HONESTY[1], None)))
            assert full.n_items == 50 and full.differences[0][1] is not None


def test_one_kind_of_item_has_no_rows(forced_choice: EvalAnalysis) -> None:
    assert category_rows(replace(forced_choice, categories={})) == {}
