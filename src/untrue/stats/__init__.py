"""Paired statistics: what a study found, how sure that is, and what it could not have seen. Values, no prose."""

from untrue.stats.compare import compare, summarise, trend
from untrue.stats.types import ArmSummary, ArmVerdict, Comparison, Finding, Interval, Reason, Trend, Verdict
from untrue.stats.verdict import broken, moved_apart, verdict

__all__ = [
    "ArmSummary",
    "ArmVerdict",
    "Comparison",
    "Finding",
    "Interval",
    "Reason",
    "Trend",
    "Verdict",
    "broken",
    "compare",
    "moved_apart",
    "summarise",
    "trend",
    "verdict",
]
