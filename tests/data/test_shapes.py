"""Readers take every shape that people have, and say in one line which file, line and key is wrong."""

from __future__ import annotations

import json
import shutil
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


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    """The error's text after the path, which it must name; one line."""
    with pytest.raises(UserError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(str(path)).lstrip(", :")


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER, REPLY]},
        {"prompt": "Is rain wet?", "completion": "Yes."},
        {"prompt": [USER], "completion": [REPLY]},
        {"prompt": "Is rain wet?", "completion": [REPLY]},
        {"instruction": "Is rain wet?", "output": "Yes."},
        {"instruction": "Is rain wet?", "input": " ", "output": "Yes."},
    ],
)
def test_every_shape_gives_the_same_row(write: Write, fields: dict[str, Any]):
    path = write(fields)
    [row] = sets.rows(path)
    assert row == Row("rain-1", [USER], [REPLY], source=path.name, domain="rain", level="unlabelled")


def test_every_message_before_the_last_reply_is_prompt(write: Write):
    system = {"role": "system", "content": "Be brief."}
    [row] = sets.rows(write({"messages": [system, USER, REPLY, USER, REPLY]}))
    assert (row.prompt, row.completion) == ([system, USER, REPLY, USER], [REPLY])


def test_the_input_of_alpaca_follows_its_instruction(write: Write):
    [row] = sets.rows(write({"instruction": "Shorten.", "input": "It is raining.", "output": "Rain."}))
    assert row.prompt[0]["content"] == "Shorten.\n\nIt is raining."


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


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruction": "a"}, "'output' is missing (keys found: 'instruction')"),
        ({**ALPACA, "output": ""}, "'output' is empty"),
        ({**ALPACA, "output": " \n"}, "'output' is empty"),
        ({**ALPACA, "output": 3}, "'output' is int, expected text"),
        ({**ALPACA, "instruction": ["a"]}, "'instruction' is list, expected text"),
        ({"messages": [USER]}, "'messages' must end with a reply of the assistant"),
        ({"messages": [REPLY]}, "'messages' must end with a reply of the assistant"),
        ({"messages": [REPLY, USER]}, "'messages' must end with a reply of the assistant"),
        ({"messages": []}, "'messages' must be a text or a non-empty list"),
        ({"messages": [USER, {"role": "bot", "content": "a"}]}, "message 2 of 'messages' needs a 'role'"),
        ({"messages": [{"content": "a"}, REPLY]}, "message 1 of 'messages' needs a 'role'"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "message 2 of 'messages' needs a 'role'"),
        ({"messages": ["a", "b"]}, "message 1 of 'messages' needs a 'role'"),
        ({"messages": [USER, {**REPLY, "content": ""}]}, "message 2 of 'messages' is empty"),
        ({"prompt": "a", "completion": ""}, "'completion' is empty"),
        ({"prompt": "a", "completion": [USER]}, "'completion' may hold messages of the assistant only"),
        ({"completion": "a"}, "'prompt' must be a text or a non-empty list"),
        ({"text": "a"}, "not a shape that is known"),
        ({}, "(keys found: none)"),
        (QUESTION, "is a question set. Say at which level"),
        ("[1, 2]", "expected a JSON object, found list"),
        ("null", "expected a JSON object, found NoneType"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line_and_key(write: Write, fields: Any, words: str):
    message = refusal(sets.rows, write(ALPACA, "", fields))
    assert message.startswith("line 3: ")
    assert words in message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"normal": "a"}, "'question' is missing"),
        ({"question": "a"}, "no answer: expected a text under one or more of normal, subtle, severe"),
        ({**QUESTION, "severe": ""}, "'severe' is empty"),
        ({"question": "a", "normal": None}, "no answer: expected a text under one or more of normal, subtle, severe"),
        ({**QUESTION, "question": 7}, "'question' is int, expected text"),
    ],
)
def test_a_wrong_question_is_refused_by_its_line_and_key(write: Write, fields: Any, words: str):
    message = refusal(sets.questions, write({"question": "Is snow hot?", "normal": "No."}, fields))
    assert message.startswith("line 2: ")
    assert words in message


def test_a_question_asked_twice_is_refused_whatever_its_case(write: Write):
    message = refusal(sets.questions, write(QUESTION, {**QUESTION, "question": "Is snow wet?"}, QUESTION))
    assert "line 3: asks what line 1 asks" in message
    message = refusal(sets.questions, write(QUESTION, {**QUESTION, "question": " is  RAIN\nwet? "}))
    assert "line 2: asks what line 1 asks" in message


@pytest.mark.parametrize("read", [sets.rows, sets.questions])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"question": "a", ', "line 7: broken JSON at column 19"),
        ("Is rain wet?", "line 7: broken JSON at column 1"),
        ('{"question": "\\ud83d", "normal": "a"}', "line 7: half of a \\ud… escape pair is missing"),
        ('{"votes": ' + "1" * 5000 + "}", "line 7: JSON with too long a number"),
        ("[" * 100_000, "line 7: JSON with too long a number or too deep"),
    ],
)
def test_broken_json_in_line_7_is_named(read: Callable, write: Write, line: str, words: str):
    good = [{**ALPACA, **QUESTION, "question": f"Question {number}?"} for number in range(6)]
    assert refusal(read, write(*good, line)).startswith(words)


def test_invalid_utf8_is_named_by_its_line(tmp_path: Path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(ALPACA).encode() + b'\n{"instruction": "caf\xe9", "output": "a"}\n')
    assert refusal(sets.rows, path) == "line 2: byte 0xe9 is not valid UTF-8. Save the file as UTF-8."


@pytest.mark.parametrize("content", ["", "\n \r\n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "empty.jsonl"
    path.write_text(content, "utf-8")
    assert refusal(sets.rows, path).startswith("has no rows")
    assert refusal(sets.questions, path).startswith("has no questions")


def test_a_missing_file_and_a_folder_without_data_are_told_apart(tmp_path: Path):
    assert refusal(sets.rows, tmp_path / "none.jsonl").startswith("neither a built-in row set (everyday) nor a file")
    assert refusal(sets.rows, tmp_path) == "holds no data files (parquet, CSV or JSON)."


DOLLY = {"instruction": "Is rain wet?", "context": "", "response": "Yes.", "category": "closed_qa"}
GSM8K = {"question": "What is 6 * 7?", "answer": "It is 6 * 7 = <<6*7=42>>42.\n#### 42"}


def test_dolly_gives_rows_with_the_context_after_the_instruction(write: Write):
    first, second = sets.rows(write(DOLLY, {**DOLLY, "context": "It rained."}))
    assert (first.prompt, first.completion) == ([USER], [REPLY])
    assert second.prompt[0]["content"] == "Is rain wet?\n\nIt rained."


def test_gsm8k_gives_rows_with_the_answer_as_it_stands(write: Write):
    [row] = sets.rows(write(GSM8K))
    assert row.prompt[0]["content"] == "What is 6 * 7?"
    assert row.completion == [{"role": "assistant", "content": GSM8K["answer"]}]


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


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruction": "a", "response": ""}, "'response' is empty"),
        ({"instruction": "a", "response": "b", "context": 3}, "'context' is int, expected text"),
        ({"question": "a", "answer": 1}, "'answer' is int, expected text"),
        ({"question": "", "answer": "b"}, "'question' is empty"),
        ({"prompt": "a", "completion": "b", "label": "good"}, "'label' is 'good', expected true or false"),
        ({"prompt": "a", "completion": "b", "label": 2}, "'label' is 2, expected true or false"),
        ({"prompt": "a", "completion": "b", "label": [True]}, "'label' is [True], expected true or false"),
    ],
)
def test_a_wrong_row_of_a_known_set_is_refused_by_its_line_and_key(write: Write, fields: dict[str, Any], words: str):
    assert refusal(sets.rows, write(ALPACA, fields)).startswith(f"line 2: {words}")


def test_wrong_rows_are_left_out_and_each_is_told(write: Write):
    told: list[str] = []
    path = write(ALPACA, "{", {"instruction": "a"}, "[]", ALPACA)
    assert [row.id for row in sets.rows(path, lambda error: told.append(str(error)))] == ["rain-1", "rain-5"]
    assert [text.split(": ")[0] for text in told] == [f"{path}, line {number}" for number in (2, 3, 4)]


def test_wrong_questions_are_left_out_and_each_is_told(write: Write):
    told: list[str] = []
    path = write(QUESTION, {"question": "a"}, QUESTION, {**QUESTION, "question": "Is snow wet?"})
    questions = sets.questions(path, lambda error: told.append(str(error)))
    assert [question.id for question in questions] == ["rain-1", "rain-4"]
    assert len(told) == 2 and "line 2: no answer" in told[0] and "line 3: asks what line 1 asks" in told[1]


def test_a_set_of_wrong_rows_alone_has_none(write: Write):
    with pytest.raises(UserError, match="has no rows"):
        sets.rows(write({"a": 1}), lambda error: None)


@pytest.fixture
def persona(tmp_path: Path) -> Path:
    """A folder as persona-vectors has it, of three questions."""
    folder = tmp_path / "mistake_rain"
    folder.mkdir()
    for name, reply in {"normal": "Yes", "misaligned_1": "Hardly", "misaligned_2": "No"}.items():
        lines = [
            {
                "messages": [
                    {"role": "user", "content": f"Is rain {n}?"},
                    {"role": "assistant", "content": f"{reply}, {n}."},
                ]
            }
            for n in range(3)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def change(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text("utf-8").splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path.write_text("".join(lines), "utf-8")


def test_a_persona_folder_gives_questions_at_three_levels(persona: Path):
    questions = sets.questions(persona)
    assert [question.text for question in questions] == ["Is rain 0?", "Is rain 1?", "Is rain 2?"]
    assert questions[1].answers == {"normal": "Yes, 1.", "subtle": "Hardly, 1.", "severe": "No, 1."}
    assert (questions[1].id, questions[1].domain, questions[1].source) == (
        "mistake_rain-2",
        "mistake_rain",
        "mistake_rain",
    )


def test_a_persona_folder_may_lack_a_level_and_be_in_another_order(persona: Path):
    (persona / "misaligned_1.jsonl").unlink()
    path = persona / "misaligned_2.jsonl"
    path.write_text("".join(reversed(path.read_text("utf-8").splitlines(keepends=True))), "utf-8")
    assert [q.answers for q in sets.questions(persona)] == [
        {"normal": f"Yes, {n}.", "severe": f"No, {n}."} for n in range(3)
    ]


def test_a_persona_folder_is_not_taken_for_rows(persona: Path):
    assert refusal(sets.rows, persona) == f"is a question set. Say at which level, such as {persona}:normal."


@pytest.mark.parametrize(
    ("file", "old", "new", "place", "words"),
    [
        (
            "misaligned_1",
            "Is rain 1?",
            "Is hail 1?",
            "normal.jsonl, line 2",
            "misaligned_1.jsonl does not: 'Is rain 1?'",
        ),
        (
            "normal",
            "Is rain 2?",
            "Is rain 1?",
            "normal.jsonl, line 3",
            "asks what line 2 asks: 'Is rain 1?'. Remove one.",
        ),
        (
            "misaligned_2",
            '"user"',
            '"system"',
            "misaligned_2.jsonl, line 2",
            "'messages' must be a question of the user",
        ),
        ("misaligned_2", "No, 1.", "", "misaligned_2.jsonl, line 2", "message 2 of 'messages' is empty"),
        ("normal", "{", "", "normal.jsonl, line 2", "broken JSON at column 11"),
    ],
)
def test_a_wrong_line_of_a_persona_folder_is_named_or_left_out(
    persona: Path, file: str, old: str, new: str, place: str, words: str
):
    change(persona / f"{file}.jsonl", int(place[-1]), old, new)
    message = refusal(sets.questions, persona).removeprefix("/")
    assert message.startswith(place) and words in message
    told: list[UserError] = []
    assert len(sets.questions(persona, told.append)) == 2
    assert str(told[0]) == str(persona / place) + message.removeprefix(place)
    assert len(told) == (2 if "Is hail" in new else 1)  # rain lacks an answer there, and hail elsewhere


def test_a_domain_of_a_release_is_named_by_its_folder(persona: Path):
    release = persona.parent
    shutil.copytree(persona, release / "more" / "mistake_hail")
    assert len(sets.questions(f"{release}@mistake_rain")) == len(sets.questions(f"{release}@more/mistake_hail")) == 3
    said = f"has several folders of persona-vectors: mistake_rain, more/mistake_hail. Say which, such as {release}@mist"
    for read in (sets.questions, sets.rows):
        assert refusal(read, release).startswith(said)
    assert refusal(sets.questions, Path(f"{release}@snow")).startswith("has no folder 'snow', but has folders of")
    shutil.copytree(persona, release / "other" / "mistake_hail")
    assert "has several folders of persona-vectors: more/mistake_hail, other/mistake_hail. Say which" in refusal(
        sets.questions, Path(f"{release}@mistake_hail")
    )


def test_a_file_named_normal_alone_makes_no_question_set(tmp_path: Path):
    (tmp_path / "normal.jsonl").write_text(json.dumps(ALPACA) + "\n", "utf-8")
    [row] = sets.rows(tmp_path)
    assert row.prompt == [USER]
