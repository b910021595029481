"""Paired statistics: what a study found, how sure that is, and what it could not have seen."""

from untrue.stats.compare import compare, summarise
from untrue.stats.dose import trend
from untrue.stats.soundness import is_found
from untrue.stats.types import ArmSummary, Comparison, Interval, Trend, Verdict
from untrue.stats.value_verdict import moved_apart
from untrue.stats.verdict import doubted, verdict

__all__ = [
    "ArmSummary",
    "Comparison",
    "Interval",
    "Trend",
    "Verdict",
    "compare",
    "doubted",
    "is_found",
    "moved_apart",
    "summarise",
    "trend",
    "verdict",
]
