"""Who is not to be relied on, and for which questions."""

from __future__ import annotations

import pytest

from tests.judge.scripted import id_of
from tests.judge.test_check import judge, labels
from untrue.data.gold import GoldRow
from untrue.judge.check import check, last_check
from untrue.judge.trust import trustworthy


def number(row: GoldRow) -> int:
    return int(row.id.rpartition("-")[2])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda row: "C", "statement (it says C whatever it reads)"),
        (lambda row: "ABCD"[len(row.judged) % 4], "statement (kappa "),
        (lambda row: "C" if row.label == "B" else row.label, "statement (it finds 0% of what is B, below 60%)"),
        (lambda row: "B" if row.label == "A" else row.label, "statement (it finds 0% of what is A, below 60%)"),
        (lambda row: row.label if number(row) % 6 else "cut", "statement (no judgement on "),
    ],
)
def test_a_judge_that_says_one_thing_or_misses_a_label_or_gives_no_judgement_is_not_relied_on(answer, reason):
    found = check(judge(lambda row: answer(row) if row.prompt == "statement" else row.label))
    trust = trustworthy(found)
    assert not trust
    assert reason in trust.reason
    assert not trustworthy(found, ["statement"])
    assert trustworthy(found, ["range", "contradicts"])


def test_that_no_position_and_neither_are_not_told_apart_does_no_harm():
    assert trustworthy(check(judge(lambda row: "C" if row.label == "D" else row.label)))


@pytest.mark.parametrize("answer", [lambda row: [7, 8], lambda row: "cut", lambda row: None])
def test_numbers_have_a_floor_of_their_own_and_labels_do_not_make_up_for_them(answer):
    found = check(judge(lambda row: answer(row) if row.prompt == "range" else row.label))
    assert "fails on range (" in trustworthy(found).reason
    assert not trustworthy(found, ["statement", "range"])
    assert trustworthy(found, ["statement"])


def test_what_was_not_checked_is_not_relied_on():
    found = check(judge(labels))
    assert trustworthy(found)
    assert trustworthy(found, ["statement", "poetry"]).reason.endswith("poetry (it was not checked on that)")


def test_an_unchecked_judge_is_not_relied_on():
    assert not trustworthy(last_check(id_of("scripted/never")))
