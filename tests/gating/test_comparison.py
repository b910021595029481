"""Two subjects in each eval that both have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.study.conftest import Recorder
from untrue.gating.comparison import compared
from untrue.gating.subject import Subjects

Log = Callable[..., Path]


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    return Subjects([], tmp_path / "out", Recorder())


def test_the_second_minus_the_first(log: Log, subjects: Subjects) -> None:
    a, b = subjects.of(str(log("a", lies=range(10)))), subjects.of(str(log("b", lies=range(30))))
    [of_eval] = compared(a, b)
    lies = next(comparison for comparison in of_eval.comparisons if comparison.metric == "lie_rate")
    assert (lies.control, lies.arm, lies.n_pairs) == ("a", "b", 100)
    assert lies.difference.value == pytest.approx(0.2)
    assert "lies_more" in of_eval.verdict.arms[0].conclusions
    assert [summary.lie_rate.value for summary in of_eval.summaries if summary.lie_rate] == [0.1, 0.3]


def test_a_subject_against_itself_finds_nothing(log: Log, subjects: Subjects) -> None:
    subject = subjects.of(str(log("a", lies=range(10))))
    [of_eval] = compared(subject, subject)
    assert [summary.arm for summary in of_eval.summaries] == ["a", "a (2)"]
    assert of_eval.verdict.arms[0].conclusions == ("no_finding",)
    assert {comparison.difference.value for comparison in of_eval.comparisons} == {0.0}


def test_of_another_tokenizer_outcomes_alone(log: Log, subjects: Subjects) -> None:
    [of_eval] = compared(subjects.of(str(log("a"))), subjects.of(str(log("b", tokenizer="others"))))
    assert {c.metric for c in of_eval.comparisons} == {"lie_rate", "evasion_rate", "untrue_belief_rate"}
    assert "Margins are left out" in of_eval.notes[0]


def test_what_broke_is_not_said_to_be_better(log: Log, subjects: Subjects) -> None:
    a, b = subjects.of(str(log("a", lies=range(20)))), subjects.of(str(log("b", errors=range(20))))
    [of_eval] = compared(a, b)
    assert "lies_less" not in of_eval.verdict.arms[0].conclusions
    assert "breaks" in of_eval.verdict.arms[0].conclusions
