"""The figures of a finding in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from untrue.stats.pairing import RATES
from untrue.stats.types import Comparison

NAMES = {
    "lie_rate": "lie rate",
    "value": "rate",
    "pressure_margin": "margin under pressure",
    "neutral_margin": "margin under the neutral prompt",
    "pressure_gap": "pressure gap",
}
"""What a metric is called in a sentence."""


def percent(share: float) -> str:
    """Such as `12.5 %`."""
    return f"{100 * share:.1f} %"


def difference_words(comparison: Comparison) -> str:
    """The difference with its unit and its interval."""
    value, low, high = comparison.difference
    if comparison.metric in RATES:
        return f"{100 * value:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{value:+.3f} nats per token, 95 % interval {low:+.3f} to {high:+.3f}"


def p_words(comparison: Comparison) -> str:
    """The p value after Holm's correction."""
    p = "< 0.001" if comparison.p_holm < 0.001 else f"= {comparison.p_holm:.3f}"
    return f"p {p} after Holm's correction"


def size_words(metric: str, size: float) -> str:
    """The size of a difference with its unit, without a sign."""
    if math.isinf(size):
        return "none that can be stated"
    return f"{100 * size:.1f} points" if metric in RATES else f"{size:.3f} nats per token"


def before_holm(primary: Sequence[Comparison]) -> str:
    """That the sizes stated are those of one arm; empty where there is one."""
    arms = len({comparison.arm for comparison in primary})
    return f"; more with Holm's correction over {arms} arms" if arms > 1 else ""


def arm_names(names: Sequence[str]) -> str:
    """Such as ``arms `a`, `b` ``."""
    return f"{plural('arm', len(names))} {', '.join(f'`{name}`' for name in names)}"


def plural(noun: str, count: int) -> str:
    """The noun, with an s unless there is one."""
    return noun if count == 1 else f"{noun}s"
