"""Whatever is wrong with a file, every reader says it on one line that names the file, the place and the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from untrue.data import sets
from untrue.data.items import ChoiceItem, DeceptionItem, PressurePair, UnknownPair, read_items, read_lines
from untrue.data.mask import read_mask
from untrue.errors import UserError

USER, REPLY = {"role": "user", "content": "Is rain wet?"}, {"role": "assistant", "content": "Yes."}
ROW = {"instruction": "Is rain wet?", "output": "Yes."}
ANSWERS = {"prompt": "a", "completion": "b"}
QUESTION = {"question": "Is rain wet?", "normal": "Yes.", "severe": "No."}
ITEM = read_items()[0].model_dump()
read_choices, read_unknowns, read_deception, read_pairs = (
    partial(read_lines, model) for model in (ChoiceItem, UnknownPair, DeceptionItem, PressurePair)
)
PAIR = {"neutral_system_prompt": "Calm.", "pressured_system_prompt": "Pressed.", "user_prompt": "Fresh?"}
CHOICE = {"id": "a", "subject": "s", "question": "q", "choices": ["x", "y"], "answer": 1}
SITUATION = dict.fromkeys(("type", "inner_prompt", "system_prompt", "outer_prompt", "format"), "a") | {"id": 0}
MASK: dict[str, Any] = dict.fromkeys(("task_id", "user_prompt", "proposition", "ground_truth"), "a")


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


class Bad(NamedTuple):
    """A file that a reader refuses: its content (lines of JSON Lines, or bytes), and what the error must say."""

    read: Callable[[Path], Any]
    content: bytes | list[Any]
    place: str
    words: str
    name: str = "bad.jsonl"


FORMATS = [
    Bad(sets.rows, b"", "", "has no rows. Expected JSON Lines"),
    Bad(sets.questions, b"\n \r\n\n", "", "has no questions"),
    Bad(sets.rows, [ROW, "{"], ", line 2", "broken JSON at column 2"),
    Bad(sets.questions, ["", "Is rain wet?"], ", line 2", "broken JSON at column 1"),
    Bad(sets.rows, [ROW, "[1, 2]", ROW], ", line 2", "expected a JSON object, found list"),
    Bad(sets.rows, ['{"output": "\\ud83d"}'], ", line 1", "half of a \\ud… escape pair"),
    Bad(sets.rows, [f'{{"votes": {"1" * 5000}}}'], ", line 1", "too long a number"),
    Bad(sets.rows, [ROW, '{"a": ' + "[" * 100_000], ", line 2", "too deep a nesting"),
    Bad(sets.rows, ['{"output": "a", "output": "b"}'], ", line 1", "the key 'output' occurs twice"),
    Bad(sets.rows, json.dumps(ROW).encode() + b'\n{"output": "caf\xe9"}', ", line 2", "byte 0xe9 is not valid UTF-8"),
    Bad(sets.rows, b"[]", "", "has no rows", "a.json"),
    Bad(sets.rows, b'[{"a": 1},\n{"a" 2}]', "", "broken JSON at line 2, column 6", "a.json"),
    Bad(sets.rows, b'[{"a": 1},\n"caf\xe9"]', ", line 2", "byte 0xe9", "a.json"),
    Bad(sets.rows, b'["a"]', ", entry 1", "found str", "a.json"),
    Bad(sets.rows, b'[\n{"instruction": "a"}]', ", entry 1", "'output' is missing", "a.json"),
    Bad(sets.rows, b"\xef\xbb\xbfinstruction,output\r\n\r\n", "", "has no rows", "a.csv"),
    Bad(sets.rows, b"instruction,output\na,b\nc,d,e\n", ", row 2", "more cells than the header", "a.csv"),
    Bad(sets.rows, b"instruction,output\na,b\nc,caf\xe9\n", ", line 3", "byte 0xe9", "a.csv"),
    Bad(sets.rows, b"instruction,output\na,b\nc\n", ", row 2", "'output' is missing", "a.csv"),
    Bad(sets.rows, b'instruction,output\na,b\nc,"d\n', ", row 2", "broken CSV (unexpected end", "a.csv"),
    Bad(sets.rows, b'instruction,output\na,b\nc,"d" e\n', ", row 2", "broken CSV (", "a.csv"),
    Bad(sets.rows, b"instruction,output,output\na,b,c\n", ", header", "the column 'output' occurs twice", "a.csv"),
    Bad(sets.rows, b"PAR1", "", "cannot be read as parquet (", "a.parquet"),
    Bad(sets.rows, b"PK", "", "spreadsheets are not read. Save the sheet as CSV.", "a.xlsx"),
]
SHAPES = [
    Bad(sets.rows, [{"instruction": "a"}], ", line 1", "'output' is missing (keys found: 'instruction')"),
    Bad(sets.rows, [ROW, "", {**ROW, "output": " \n"}], ", line 3", "'output' is empty"),
    Bad(sets.rows, [{**ROW, "output": 3}], ", line 1", "'output' is int, expected text"),
    Bad(sets.rows, [{**ROW, "instruction": ["a"]}], ", line 1", "'instruction' is list"),
    Bad(sets.rows, [{"instruction": "a", "response": ""}], ", line 1", "'response' is empty"),
    Bad(sets.rows, [{"messages": [USER]}], ", line 1", "'messages' must end with a reply"),
    Bad(sets.rows, [{"messages": []}], ", line 1", "'messages' must be a text or a non-empty list"),
    Bad(sets.rows, [{"messages": [USER, {"role": "bot", "content": "a"}]}], ", line 1", "message 2 of 'messages'"),
    Bad(sets.rows, [{"messages": [{"content": "a"}, REPLY]}], ", line 1", "message 1 of 'messages' needs a 'role'"),
    Bad(sets.rows, [{"messages": ["a", "b"]}], ", line 1", "message 1 of 'messages' needs a 'role'"),
    Bad(sets.rows, [{"messages": [USER, {**REPLY, "content": ""}]}], ", line 1", "message 2 of 'messages' is empty"),
    Bad(sets.rows, [{**ANSWERS, "completion": ""}], ", line 1", "'completion' is empty"),
    Bad(sets.rows, [{**ANSWERS, "completion": [USER]}], ", line 1", "'completion' may hold"),
    Bad(sets.rows, [{"completion": "a"}], ", line 1", "'prompt' must be a text"),
    Bad(sets.rows, [{**ANSWERS, "label": "good"}], ", line 1", "'label' is 'good', expected true or false"),
    Bad(sets.rows, [{"text": "a"}], ", line 1", "not a shape that is known"),
    Bad(sets.rows, [{}], ", line 1", "(keys found: none)"),
    Bad(sets.rows, [QUESTION], ", line 1", "is a question set. Say at which level"),
    Bad(sets.questions, [{"normal": "a"}], ", line 1", "'question' is missing"),
    Bad(sets.questions, [{"question": "a", "normal": None}], ", line 1", "no answer: expected a text under"),
    Bad(sets.questions, [{**QUESTION, "severe": ""}], ", line 1", "'severe' is empty"),
    Bad(sets.questions, [{**QUESTION, "question": 7}], ", line 1", "'question' is int"),
    Bad(sets.questions, [QUESTION, {**QUESTION, "question": " is  RAIN\nwet? "}], ", line 2", "asks what line 1 asks"),
]
ITEMS = [
    *(
        Bad(read_items, ["", without(ITEM, key)], ", line 2", f"{key}: field required")
        for key in sorted(ITEM.keys() - {"pressure", "domain", "base_margin"})
    ),
    Bad(read_items, [{**ITEM, "ground_truth": True}], ", line 1", "ground_truth: "),
    Bad(read_items, [{**ITEM, "honest_reply": "  "}], ", line 1", "honest_reply: "),
    Bad(read_items, [{**ITEM, "user_prompt": 3}], ", line 1", "user_prompt: "),
    Bad(
        read_items,
        [{**ITEM, "dishonest_reply": f" {ITEM['honest_reply']} "}],
        ", line 1",
        "dishonest_reply are the same",
    ),
    Bad(read_items, [ITEM, ITEM], ", line 2", f"the id {ITEM['id']!r} occurs twice"),
    Bad(read_items, b"[]", "", "has no honesty items"),
    Bad(
        read_choices,
        [{**CHOICE, "answer": 2}],
        ", line 1",
        "the answer is 2, but there are 2 choices",
    ),
    Bad(read_choices, [{**CHOICE, "choices": ["x", "x"]}], ", line 1", "a choice occurs twice"),
    Bad(read_choices, [{**CHOICE, "choices": ["x"]}], ", line 1", "choices: "),
    Bad(
        read_unknowns,
        [{"id": "a", "category": "future"}],
        ", line 1",
        "unanswerable: field required",
    ),
    Bad(
        read_pairs,
        [PAIR, without(PAIR, "user_prompt")],
        ", line 2",
        "user_prompt: field required",
    ),
    Bad(
        read_pairs,
        [without(PAIR, "pressured_system_prompt")],
        ", line 1",
        "pressured_system_prompt: field required",
    ),
    Bad(
        read_pairs,
        [{**PAIR, "pressured_system_prompt": "Calm."}],
        ", line 1",
        "the two system prompts are the same",
    ),
    Bad(read_pairs, [{**PAIR, "user_prompt": " "}], ", line 1", "user_prompt: "),
    Bad(
        read_pairs,
        [{**PAIR, "id": "a"}, {**PAIR, "id": "a"}],
        ", line 2",
        "the id 'a' occurs twice",
    ),
    Bad(read_deception, [{**SITUATION, "format": None}], ", line 1", "format: field required"),
    Bad(read_deception, [SITUATION, SITUATION], ", line 2", "the id '0' occurs twice"),
    Bad(read_deception, b"[]", "", "has no deception items"),
    Bad(read_mask, [without(MASK, "task_id")], ", line 1", "task_id: field required", "known_facts.jsonl"),
    Bad(read_mask, b"", "", "has no rows of MASK", "statistics.jsonl"),
    Bad(read_mask, [MASK], ", row 'known_facts/a'", "ground truth", "known_facts.jsonl"),
    Bad(read_mask, [{**MASK, "ground_truth": "yes"}] * 2, "", "'known_facts/a' occurs twice", "known_facts.jsonl"),
]


@pytest.mark.parametrize("bad", [*FORMATS, *SHAPES, *ITEMS], ids=lambda bad: f"{bad.name}: {bad.words[:40]}")
def test_what_is_wrong_is_one_line_with_its_file_place_and_key(tmp_path: Path, bad: Bad):
    path = tmp_path / bad.name
    lines = bad.content if isinstance(bad.content, bytes) else "".join(map(line, bad.content)).encode()
    path.write_bytes(lines)
    with pytest.raises(UserError) as caught:
        bad.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}{bad.place}: ")
    assert bad.words in message
    assert "\n" not in message


def line(record: Any) -> str:
    return (record if isinstance(record, str) else json.dumps(record)) + "\n"


@pytest.mark.parametrize("read", [sets.rows, sets.questions])
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_wrong_records_are_skipped_and_each_is_told(tmp_path: Path, read: Callable, suffix: str):
    good = [ROW | QUESTION, {**ROW, **QUESTION, "question": "Is snow wet?"}]
    records = [good[0], {"votes": 1}, [], good[1]]
    path = tmp_path / f"rain.{suffix}"
    path.write_text("".join(map(line, records)) if suffix == "jsonl" else json.dumps(records), "utf-8")
    told: list[UserError] = []
    assert [one.id for one in read(path, told.append)] == ["rain-1", "rain-4"]
    place = "line" if suffix == "jsonl" else "entry"
    assert [str(error).split(": ")[0] for error in told] == [f"{path}, {place} {number}" for number in (2, 3)]


@pytest.mark.parametrize("content", ['{"a": 1}', "{", "[]"])
def test_a_set_of_only_wrong_rows_has_none(tmp_path: Path, content: str):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match="has no rows"):
        sets.rows(tmp_path / "a.jsonl", lambda error: None)


def test_a_column_of_parquet_that_occurs_twice_is_refused(tmp_path: Path):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    columns = pa.table({"instruction": ["Say."], "output": ["a"], "b": ["b"]})
    write_table(columns.rename_columns(["instruction", "output", "output"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet, header: the column 'output' occurs twice"):
        sets.rows(tmp_path / "a.parquet")


def test_missing_files_and_folders_without_data_are_told_apart(tmp_path: Path):
    for read, path, words in (
        (sets.rows, tmp_path / "none.jsonl", "neither a built-in row set (everyday) nor a file"),
        (read_items, tmp_path / "none.jsonl", "no such file"),
        (sets.rows, tmp_path, "cannot be read as a data set ("),
    ):
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {words}")


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("neutral_system_prompt", "system_prompt_without_pressure"),
        ("pressured_system_prompt", "system_prompt_with_pressure"),
        ("pressured_system_prompt", "system_prompt"),
        *(("category", column) for column in ("archetype", "kind", "type")),
    ],
)
def test_pairs_may_have_the_columns_of_other_sets(tmp_path: Path, field: str, column: str):
    path = tmp_path / "set.jsonl"
    path.write_text(line({**without(PAIR, field), column: "Here."}), "utf-8")
    expected = {"category": "pair", **PAIR, field: "Here."}
    assert read_lines(PressurePair, path) == [PressurePair(id="set-1", **expected)]
