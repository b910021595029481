"""Paired statistics: what a study found, how sure that is, and what it could not have seen. Values, no prose."""

from untrue.stats.compare import compare, summarise, trend
from untrue.stats.types import ArmSummary, Comparison, Finding, Interval, Reason, Trend, Verdict
from untrue.stats.verdict import broken, is_found, moved_apart, verdict

__all__ = [
    "ArmSummary",
    "Comparison",
    "Finding",
    "Interval",
    "Reason",
    "Trend",
    "Verdict",
    "broken",
    "compare",
    "is_found",
    "moved_apart",
    "summarise",
    "trend",
    "verdict",
]
