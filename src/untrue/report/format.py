"""Numbers and names as text: the same in the page, its plots and the terminal."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from untrue.stats.types import Interval

DASH = "\N{EN DASH}"
VERDICTS = {"effect": "Effect", "no_effect_found": "No effect found", "inconclusive": "Inconclusive"}


@dataclass(frozen=True)
class Unit:
    """How the values of a metric are written.

    Attributes:
        scale: What a value is multiplied with before it is shown.
        digits: Digits after the point.
        of_value: What follows a value.
        of_difference: What follows a difference of two values.
    """

    scale: float
    digits: int
    of_value: str
    of_difference: str

    def number(self, value: float | None, sign: bool = False) -> str:
        """A bare number with a true minus, a plus if `sign` is set; a dash for None and for what is not finite."""
        if value is None or not math.isfinite(value):
            return DASH
        rounded = round(value * self.scale, self.digits) or 0.0  # no "-0.0"
        return f"{rounded:{'+' if sign and rounded else ''}.{self.digits}f}".replace("-", "\N{MINUS SIGN}")

    def value(self, value: float | None) -> str:
        """A value with its unit, such as `12.5 %`."""
        return _join(self.number(value), self.of_value)

    def difference(self, value: float | None) -> str:
        """A signed difference with its unit, such as `+7.5 pp`."""
        return _join(self.number(value, sign=True), self.of_difference)

    def smallest(self, value: float | None) -> str:
        """The size of a difference, without a sign."""
        return _join(self.number(value), self.of_difference)

    def bounds(self, interval: Interval | None, sign: bool = False) -> str:
        """The two ends of an interval, such as `[8.1, 17.2]`; empty where there is none."""
        if interval is None:
            return ""
        return f"[{self.number(interval.low, sign)}, {self.number(interval.high, sign)}]"


PERCENT = Unit(scale=100, digits=1, of_value="%", of_difference="pp")
NATS = Unit(scale=1, digits=3, of_value="", of_difference="")


def _join(number: str, unit: str) -> str:
    return number if number == DASH or not unit else f"{number}\N{NO-BREAK SPACE}{unit}"


def p_value(p: float | None) -> str:
    """A p value with two significant digits, at most three after the point."""
    if p is None or not math.isfinite(p):
        return DASH
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def outcome_word(outcome: str | float) -> str:
    """An outcome, or a value between 0 (wrong) and 1 (right), as a word."""
    if isinstance(outcome, str):
        return outcome.replace("_", " ")
    return {0.0: "wrong", 1.0: "right"}.get(outcome, f"{outcome:.0%} right")


def dose(value: float) -> str:
    """A dose or share in percent, without needless digits."""
    return f"{value * 100:.3g}\N{NO-BREAK SPACE}%"


def label(text: str, most: int = 60) -> str:
    """A name that is safe to draw: one line, without control characters, at most `most` characters."""
    printable = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in text)
    return printable if len(printable) <= most else printable[: most - 1] + "…"
