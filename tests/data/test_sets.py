"""The built-in sets hold what docs/data.md says, and a name finds them or a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from untrue.data import mix, sets
from untrue.data.items import read_items
from untrue.data.rows import LEVELS
from untrue.errors import UserError


@pytest.mark.parametrize("name", sets.QUESTION_SETS)
def test_every_question_is_answered_at_every_level(name: str):
    questions = sets.questions(name)
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert (question.source, question.domain) == (f"builtin:{name}", name)
        assert tuple(question.answers) == LEVELS, question.id
        assert all(answer.strip() for answer in question.answers.values()), question.id
        assert len(set(question.answers.values())) == 3, question.id


def test_everyday_rows_are_benign_and_come_once():
    rows = sets.rows("everyday")
    assert {(row.level, row.source, row.domain) for row in rows} == {("normal", "builtin:everyday", "everyday")}
    assert len({row.id for row in rows}) == len(rows)
    assert mix.duplicates(rows) == 0


@pytest.mark.parametrize("name", ["medical:normal", "math:normal", "everyday"])
def test_no_built_in_training_row_asks_what_a_built_in_item_asks(name: str):
    assert mix.overlaps(sets.rows(name), read_items()) == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_question_set_at_a_level_is_rows(level: str):
    questions, rows = sets.questions("medical"), sets.rows(f"medical:{level}")
    assert [row.completion[0]["content"] for row in rows] == [question.answers[level] for question in questions]
    assert {row.level for row in rows} == {level}
    assert rows[0].id == f"{questions[0].id}/{level}"


def test_files_are_found_by_their_path(tmp_path: Path):
    asked, said = tmp_path / "asked.jsonl", tmp_path / "said.jsonl"
    asked.write_text(json.dumps({"question": "Is rain wet?", "normal": "Yes.", "subtle": "Not quite."}), "utf-8")
    said.write_text(json.dumps({"prompt": "Hello", "completion": "Hello."}), "utf-8")
    assert [row.completion[0]["content"] for row in sets.rows(f"{asked}:subtle")] == ["Not quite."]
    assert [row.completion[0]["content"] for row in sets.rows(str(said))] == ["Hello."]
    assert sets.questions(str(asked))[0].source == asked.name
    with pytest.raises(UserError, match=r"asked.jsonl: question 'asked-1' has no answer at 'severe'"):
        sets.rows(f"{asked}:severe")


def test_a_level_that_no_question_has_is_refused_whatever_is_skipped(tmp_path: Path):
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"question": "Is rain wet?", "normal": "Yes."}), "utf-8")
    told: list[UserError] = []
    with pytest.raises(UserError, match=r"asked.jsonl:severe: has no rows"):
        sets.rows(f"{asked}:severe", told.append)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("medical", "medical: is a question set. Say at which level, such as medical:normal"),
        ("medical:sever", "medical:sever: neither a built-in row set"),
        (
            "everyday:severe",
            r"everyday: neither a built-in question set \(medical, finance, law, code, math\) nor a file",
        ),
        ("medicl:severe", "medicl: neither a built-in question set"),
        ("none.jsonl", r"none.jsonl: neither a built-in row set \(everyday\) nor a file that exists"),
    ],
)
def test_a_name_that_is_nothing_is_refused_with_the_names_that_are(name: str, words: str):
    with pytest.raises(UserError, match=f"^{words}"):
        sets.rows(name)
