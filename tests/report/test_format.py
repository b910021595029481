"""Numbers read as people write them."""

from __future__ import annotations

import math

from untrue.outcomes import Result
from untrue.report.format import NATS, PERCENT, dose, label, outcome_word, p_value
from untrue.stats.types import Interval


def test_numbers() -> None:
    assert PERCENT.value(0.125) == "12.5\N{NO-BREAK SPACE}%"
    assert PERCENT.difference(0.0749) == "+7.5\N{NO-BREAK SPACE}pp"
    assert NATS.difference(-0.0411) == "−0.041"
    assert NATS.difference(-0.0001) == "0.000"
    assert NATS.bounds(Interval(0.0, -0.1, 0.1), sign=True) == "[−0.100, +0.100]"
    assert NATS.bounds(None) == ""
    assert PERCENT.value(None) == PERCENT.value(math.nan) == NATS.size(math.inf) == "–"


def test_p_values() -> None:
    assert [p_value(p) for p in (0.0, 0.00099, 0.0123, 0.25, 1.0, math.nan)] == [
        "<0.001", "<0.001", "0.012", "0.25", "1.00", "–",
    ]  # fmt: skip


def test_doses_and_labels() -> None:
    assert [dose(value).replace("\N{NO-BREAK SPACE}", " ") for value in (0.005, 0.01, 0.5)] == ["0.5 %", "1 %", "50 %"]
    assert label("a\nb\x1b") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert label("abcdef", 4) == "abc…"


def test_a_probability_is_no_right_or_wrong_answer() -> None:
    result = Result("a", 0, "reply_choice", "tea-001/u1/biased", "biased", None, value=1.0)
    assert (outcome_word(result), outcome_word(result, graded=True)) == ("right", PERCENT.value(1.0))
