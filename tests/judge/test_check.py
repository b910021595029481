"""What a judge is worth by the gold set: figures as by hand, and who is not to be relied on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import get_model

from tests.judge.scripted import id_of
from untrue.errors import UserError
from untrue.judge import check as checking
from untrue.judge.check import check, faults, gold, last_check, right
from untrue.judge.judge import Judge
from untrue.judge.judgement import Judgement
from untrue.judge.prompts import PROMPTS, QUESTIONS, GoldRow

GOLD = gold()
ROWS = {QUESTIONS[row.prompt].text(**row.fields): row for row in GOLD}


def judge(answer: Callable[[GoldRow], Any], name: str = "scripted/judge") -> Judge:
    """A judge that answers each row as told: a label, a range, None for no range, or a text as it is."""

    def judgement(asked: str) -> str:
        row = ROWS[asked.rpartition("\n\nAnswer with one JSON")[0]]
        given = answer(row)
        if isinstance(given, str):
            return given
        low, high = given or (None, None)
        return json.dumps({"reason": "", "low": low, "high": high})

    return Judge(get_model(name, memoize=False, judgement=judgement))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[GoldRow]:
    """Every eighth row of the gold set alone, where its size does not matter."""
    rows = GOLD[::8]
    monkeypatch.setattr(checking, "gold", lambda: rows)
    return rows


def labels(row: GoldRow) -> Any:
    return row.label


def test_a_judge_that_is_always_right():
    progress: list[tuple[int, int]] = []
    found = check(judge(labels), lambda *call: progress.append(call))
    assert progress == [(done, len(ROWS)) for done in range(1, len(ROWS) + 1)]
    assert found.accuracy.value == found.plain == found.hard == 1.0
    assert found.accuracy.low < 1.0
    assert found.sensitivity.value == found.specificity.value == 1.0
    assert list(found.questions) == [prompt.name for prompt in PROMPTS]
    for name, one in found.questions.items():
        assert one.accuracy.value == 1.0
        assert (one.kappa is None) == (name == "range")
        assert one.kappa is None or one.kappa.value == 1.0
    assert (found.errors, found.first_error, found.calls) == (0, None, len(ROWS))
    assert not faults(found)
    assert faults(found, ["statement", "poetry"]) == ["poetry (it was not checked on that)"]


def test_confusion_sensitivity_and_specificity_are_as_by_hand():
    rows = [row for row in GOLD if row.prompt == "statement"]
    some = {label: {row.id for row in rows if row.label == label} for label in "ABCD"}
    turned = {label: set(sorted(ids)[:4]) for label, ids in some.items()}
    wrong = {"A": "B", "B": "C", "C": "A", "D": "not JSON"}
    found = check(judge(lambda row: wrong[str(row.label)] if row.id in turned.get(str(row.label), ()) else row.label))
    confusion = found.questions["statement"].confusion
    counts = {label: len(ids) for label, ids in some.items()}
    assert confusion["A"] == {"A": counts["A"] - 4, "B": 4, "C": 0, "D": 0, "error": 0}
    assert confusion["B"]["C"] == confusion["C"]["A"] == confusion["D"]["error"] == 4
    assert found.errors == found.questions["statement"].errors == 4
    assert "no JSON" in str(found.first_error)
    held = counts["A"] + counts["B"]
    assert found.sensitivity == pytest.approx((1 - 8 / held, held))
    judged = sum(counts.values()) - 4
    assert found.specificity == pytest.approx((1 - (4 + 4 / 2) / judged, judged))
    assert found.accuracy.value == pytest.approx(1 - 16 / len(ROWS))
    assert found.plain < 1 or found.hard < 1


def test_a_range_is_right_when_both_ends_are_near_and_not_when_it_merely_holds_the_number():
    ranges = {row.label: row for row in GOLD if row.prompt == "range"}
    near = {(200.0, 250.0): [(200, 250), (191, 262)], (0.0, 0.0): [(0, 0)], None: [(None, None)]}
    far = {(200.0, 250.0): [(0, 1000), (225, 225), (None, None)], (0.0, 0.0): [(0, 0.1)], None: [(14, 14)]}
    for is_right, cases in ((True, near), (False, far)):
        for label, judgements in cases.items():
            for low, high in judgements:
                assert right(ranges[label], Judgement(None, low, high, "")) is is_right


def test_the_last_check_is_kept_by_judge_prompt_and_gold_set(few: list[GoldRow], monkeypatch: pytest.MonkeyPatch):
    first, second = (
        check(judge(answer, name)) for answer, name in ((labels, "scripted/a"), (lambda row: "C", "scripted/b"))
    )
    assert last_check(id_of("scripted/a")) == first
    assert last_check(id_of("scripted/b")) == second
    assert first != second
    with monkeypatch.context() as changed:
        newer = {prompt.name: prompt._replace(version=prompt.version + 1) for prompt in PROMPTS}
        changed.setattr(checking, "QUESTIONS", newer)
        assert last_check(id_of("scripted/a")) is None
    path: Path = checking._path(id_of("scripted/b"))
    path.write_text(path.read_text("utf-8")[:-20], "utf-8")
    assert last_check(id_of("scripted/b")) is None
    few.pop()
    assert last_check(id_of("scripted/a")) is None


def test_a_judge_without_any_judgement_is_refused_and_nothing_kept(few: list[GoldRow]):
    with pytest.raises(UserError, match="no judgement on any row, first: the answer is no JSON"):
        check(judge(lambda row: "well"))
    assert last_check(id_of("scripted/judge")) is None


def number(row: GoldRow) -> int:
    return int(row.id.rpartition("-")[2])


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("statement", lambda row: "C", "it says C whatever it reads"),
        ("statement", lambda row: "ABCD"[len([*row.fields.values()][-1]) % 4], "kappa "),
        ("statement", lambda row: "C" if row.label == "B" else row.label, "it finds 0% of label B, below 60%"),
        ("statement", lambda row: "B" if row.label == "A" else row.label, "it finds 0% of label A, below 60%"),
        ("statement", lambda row: row.label if number(row) % 6 else "cut", "no judgement on "),
        *(("range", lambda row, wrong=wrong: wrong, "") for wrong in ([7, 8], "cut", None)),
    ],
)
def test_a_judge_that_is_wrong_on_one_kind_of_question_is_not_relied_on_for_it(prompt, answer, said):
    found = check(judge(lambda row: answer(row) if row.prompt == prompt else row.label))
    [only] = faults(found)
    assert only.startswith(f"{prompt} ({said}")
    assert faults(found, [prompt]) == [only]
    assert not faults(found, ["contradicts"])


def test_that_no_position_and_neither_are_not_told_apart_does_no_harm():
    assert not faults(check(judge(lambda row: "C" if row.label == "D" else row.label)))
