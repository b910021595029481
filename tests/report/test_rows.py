"""A difference is marked as found exactly where the verdict would take it for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from untrue.report.content import ReportContent
from untrue.report.rows import METRICS, arm_rows
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
    rows = {row.arm: row for row in arm_rows(replace(content, comparisons=[comparison]), METRICS[0])}
    assert rows[comparison.arm].significant is found
    assert not rows["control"].significant
