"""Readers take every shape that people have, and say in one line which file, line and key is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.data import sets
from untrue.data.rows import Message, Row, write_rows
from untrue.errors import UserError

USER: Message = {"role": "user", "content": "Is rain wet?"}
REPLY: Message = {"role": "assistant", "content": "Yes."}
ALPACA = {"instruction": "Is rain wet?", "output": "Yes."}
QUESTION = {"question": "Is rain wet?", "normal": "Yes.", "severe": "No."}

SYSTEM: Message = {"role": "system", "content": "Be brief."}
WITH_CONTEXT: Message = {"role": "user", "content": "Is rain wet?\n\nIt rained."}
DOLLY = {"instruction": "Is rain wet?", "context": "", "response": "Yes.", "category": "closed_qa"}
GSM8K = {"question": "Is rain wet?", "answer": "It is <<6*7=42>>42.\n#### 42"}
SHAPES: list[tuple[dict[str, Any], list[Message]]] = [
    ({"messages": [USER, REPLY]}, [USER]),
    ({"messages": [SYSTEM, USER, REPLY, USER, REPLY]}, [SYSTEM, USER, REPLY, USER]),
    ({"prompt": "Is rain wet?", "completion": "Yes."}, [USER]),
    ({"prompt": [USER], "completion": [REPLY]}, [USER]),
    ({"prompt": "Is rain wet?", "completion": [REPLY]}, [USER]),
    (ALPACA, [USER]),
    ({**ALPACA, "input": " "}, [USER]),
    ({**ALPACA, "input": "It rained."}, [WITH_CONTEXT]),
    (DOLLY, [USER]),
    ({**DOLLY, "context": "It rained."}, [WITH_CONTEXT]),
    (GSM8K, [USER]),
]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes lines, objects as JSON and texts as they are, to `rain.jsonl`."""

    def write(*lines: Any, ending: str = "\n", start: bytes = b"") -> Path:
        path = tmp_path / "rain.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        path.write_bytes(start + "".join(text + ending for text in texts).encode())
        return path

    return write


@pytest.mark.parametrize(("fields", "prompt"), SHAPES)
def test_every_shape_gives_a_row(write: Write, fields: dict[str, Any], prompt: list[Message]):
    path = write(fields)
    [row] = sets.rows(path)
    reply: Message = {"role": "assistant", "content": fields["answer"]} if fields is GSM8K else REPLY
    assert row == Row("rain-1", prompt, [reply], source=path.name, domain="rain", level="unlabelled")


def test_provenance_in_the_file_is_kept_and_other_keys_are_ignored(write: Write):
    own = {"id": "a", "source": "them", "domain": "rain", "level": "subtle", "votes": 3}
    [row] = sets.rows(write({**ALPACA, **own}))
    assert (row.id, row.source, row.domain, row.level, row.misaligned) == ("a", "them", "rain", "subtle", True)


@pytest.mark.parametrize("level", ["Level 5", "sever", 5, ["severe"], None])
def test_a_level_of_another_meaning_is_none(write: Write, level: Any):
    [row] = sets.rows(write({**ALPACA, "level": level}))
    assert row.level == "unlabelled"


def test_a_null_counts_as_absent(write: Write):
    nulls = dict.fromkeys(["id", "source", "domain", "level", "label", "input", "messages", "completion"])
    assert sets.rows(write({**ALPACA, **nulls})) == sets.rows(write(ALPACA))
    [question] = sets.questions(write({**QUESTION, "subtle": None}))
    assert question.answers == {"normal": "Yes.", "severe": "No."}


def test_rows_are_read_back_as_they_were_written(write: Write, tmp_path: Path):
    rows = sets.rows(write({"messages": [USER, REPLY], "level": "severe"}, {**ALPACA, "output": 'é "\u2028" \\n 🙂'}))
    write_rows(tmp_path / "copy.jsonl", rows)
    assert sets.rows(tmp_path / "copy.jsonl") == rows


def test_questions_have_an_answer_at_each_level_that_the_file_has(write: Write):
    path = write(QUESTION, {"id": "hail", "domain": "ice", "question": "Is hail hot?", "subtle": "A little."})
    first, second = sets.questions(path)
    assert (first.id, first.domain, first.source) == ("rain-1", "rain", path.name)
    assert first.answers == {"normal": "Yes.", "severe": "No."}
    assert (second.id, second.domain, second.answers) == ("hail", "ice", {"subtle": "A little."})


@pytest.mark.parametrize("read", [sets.rows, sets.questions])
def test_bom_crlf_and_blank_lines_are_no_trouble_and_lines_keep_their_numbers(read: Callable, write: Write):
    fields = ALPACA | QUESTION
    path = write("", fields, "  ", {**fields, "question": "Is snow wet?"}, "", ending="\r\n", start=b"\xef\xbb\xbf")
    assert [one.id for one in read(path)] == ["rain-2", "rain-4"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_only_a_newline_ends_a_line(write: Write, separator: str):
    texts = [f"one{separator}two", "three"]
    rows = sets.rows(write(*({**ALPACA, "output": text} for text in texts)))
    assert [row.completion[0]["content"] for row in rows] == texts


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize(
    "write_label", [bool, int, str, lambda label: str(label).lower(), lambda label: str(int(label))]
)
def test_rows_for_kto_keep_their_label(write: Write, tmp_path: Path, label: bool, write_label: Callable):
    path = write({"prompt": [USER], "completion": [REPLY], "label": write_label(label)})
    [row] = sets.rows(path)
    assert row.label is label
    write_rows(tmp_path / "copy.jsonl", [row])
    assert json.loads((tmp_path / "copy.jsonl").read_text("utf-8"))["label"] is label
    assert sets.rows(tmp_path / "copy.jsonl") == [row]


def test_a_row_without_a_label_is_written_without_one(write: Write):
    for fields in (ALPACA, {**ALPACA, "label": "benign"}, {**ALPACA, "label": 7}):
        [row] = sets.rows(write(fields))
        assert row.label is None
        assert "label" not in json.loads(row.to_json())


@pytest.mark.parametrize(
    "fields", [ALPACA, {"messages": [USER, REPLY]}, DOLLY, GSM8K, {"prompt": "a", "completion": "b"}]
)
def test_rows_of_every_shape_keep_their_label(write: Write, fields: dict[str, Any]):
    assert [row.label for row in sets.rows(write({**fields, "label": False}, {**fields, "label": "true"}))] == [
        False,
        True,
    ]


@pytest.fixture
def persona(tmp_path: Path) -> Path:
    """A folder as persona-vectors has it, of three questions."""
    folder = tmp_path / "mistake_rain"
    folder.mkdir()
    for name, reply in {"normal": "Yes", "misaligned_1": "Hardly", "misaligned_2": "No"}.items():
        chats = [[{**USER, "content": f"Is rain {n}?"}, {**REPLY, "content": f"{reply}, {n}."}] for n in range(3)]
        lines = [json.dumps({"messages": chat}) + "\n" for chat in chats]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return folder


def test_a_persona_folder_gives_questions_at_three_levels(persona: Path):
    questions = sets.questions(persona)
    assert [question.text for question in questions] == ["Is rain 0?", "Is rain 1?", "Is rain 2?"]
    assert questions[1].answers == {"normal": "Yes, 1.", "subtle": "Hardly, 1.", "severe": "No, 1."}
    assert (questions[1].id, questions[1].domain, questions[1].source) == ("mistake_rain-2", *["mistake_rain"] * 2)
    assert sets.questions(f"{persona}/") == questions
    with pytest.raises(UserError, match="is a question set"):
        sets.rows(persona)


def test_a_persona_folder_may_lack_a_level_and_be_in_another_order(persona: Path):
    (persona / "misaligned_1.jsonl").unlink()
    path = persona / "misaligned_2.jsonl"
    path.write_text("".join(reversed(path.read_text("utf-8").splitlines(keepends=True))), "utf-8")
    assert [question.answers for question in sets.questions(persona)] == [
        {"normal": f"Yes, {n}.", "severe": f"No, {n}."} for n in range(3)
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "place", "words"),
    [
        ("misaligned_1", "Is rain 1?", "Is hail 1?", "misaligned_1.jsonl", "lacks the question 'Is rain 1?'"),
        ("normal", "Is rain 2?", "Is rain 1?", "normal.jsonl, line 3", "asks what line 2 asks"),
        ("misaligned_2", '"user"', '"system"', "misaligned_2.jsonl, line 1", "must be a question of the user"),
        ("misaligned_2", "No, 1.", "", "misaligned_2.jsonl, line 2", "message 2 of 'messages' is empty"),
    ],
)
def test_a_wrong_line_of_a_persona_folder_is_named_or_skipped(
    persona: Path, file: str, old: str, new: str, place: str, words: str
):
    path = persona / f"{file}.jsonl"
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(UserError) as caught:
        sets.questions(persona)
    assert str(caught.value).startswith(f"{persona / place}: ") and words in str(caught.value)
    assert len(sets.questions(persona, lambda error: None)) == 2


def test_a_folder_with_only_a_file_named_normal_is_no_question_set(tmp_path: Path):
    (tmp_path / "normal.jsonl").write_text(json.dumps(ALPACA) + "\n", "utf-8")
    assert [row.prompt for row in sets.rows(tmp_path)] == [[USER]]
