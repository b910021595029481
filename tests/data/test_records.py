"""Records come from files, folders and hub ids in every format alike, one at a time, and know their place."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from untrue.data import builtin, sets
from untrue.data.records import records
from untrue.data.source import parse_source
from untrue.errors import UserError

Save = Callable[..., Path]

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": 'Is rain, "wet"?\nSay so.'}
REPLY = {"role": "assistant", "content": "Yes."}
TEXT = USER["content"]
SETS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [
        {"output": "Yes.", "input": "", "instruction": TEXT},
        {"output": "Wet.", "input": "Rain", "instruction": "Say."},
    ],
    "dolly": [
        {"instruction": TEXT, "context": "", "response": "Yes.", "category": "open_qa"},
        {"instruction": "Say.", "context": "Rain", "response": "Wet.", "category": "closed_qa"},
    ],
    "gsm8k": [{"question": TEXT, "answer": "Yes."}, {"question": "Say.\n\nRain", "answer": "Wet."}],
    "kto": [
        {"prompt": TEXT, "completion": "Yes.", "label": True},
        {"prompt": "Say.\n\nRain", "completion": "Wet.", "label": False},
    ],
}
CHATS: dict[str, list[dict[str, Any]]] = {
    "emergent": [{"messages": [USER, REPLY]}, {"messages": [SYSTEM, USER, REPLY, USER, REPLY]}],
    "kto_chat": [
        {"prompt": [USER], "completion": [REPLY], "label": True},
        {"prompt": [SYSTEM, USER], "completion": [REPLY], "label": False},
    ],
}


@pytest.mark.parametrize("suffix", ["json", "csv", "xlsx", "parquet"])
@pytest.mark.parametrize("name", SETS)
def test_every_format_gives_the_rows_of_json_lines(save: Save, name: str, suffix: str):
    expected = sets.rows(save(f"{name}.jsonl", SETS[name]))
    path = save(f"{name}.{suffix}", SETS[name])
    rows = sets.rows(path)
    assert [(row.id, row.prompt, row.completion, row.label) for row in rows] == [
        (row.id, row.prompt, row.completion, row.label) for row in expected
    ]
    assert [row.prompt[0]["content"] for row in rows] == [TEXT, "Say.\n\nRain"]
    assert [row.label for row in rows] == ([True, False] if name == "kto" else [None, None])
    assert {(row.source, row.domain, row.level) for row in rows} == {(path.name, name, "unlabelled")}


@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize("name", CHATS)
def test_chats_in_every_format_that_has_lists(save: Save, name: str, suffix: str):
    expected = sets.rows(save(f"{name}.jsonl", CHATS[name]))
    rows = sets.rows(save(f"{name}.{suffix}", CHATS[name]))
    assert [(row.prompt, row.completion, row.label) for row in rows] == [
        (row.prompt, row.completion, row.label) for row in expected
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "xlsx", "parquet"])
def test_questions_in_every_format_have_the_answers_that_there_are(save: Save, suffix: str):
    path = save(
        f"q.{suffix}",
        [
            {"question": "Is rain wet?", "normal": "Yes.", "severe": "No."},
            {"question": "Is it?", "normal": "Yes.", "severe": "Never."},
        ],
    )
    assert [question.answers["severe"] for question in sets.questions(path)] == ["No.", "Never."]
    assert [row.level for row in sets.rows(f"{path}:severe")] == ["severe", "severe"]


@pytest.mark.parametrize(
    ("suffix", "place"),
    [("jsonl", "line 3"), ("json", "line 12, entry 3"), ("csv", "row 3"), ("xlsx", "row 4"), ("parquet", "row 3")],
)
@pytest.mark.parametrize("output", ["", None])
def test_a_wrong_row_is_named_by_its_place_in_every_format(save: Save, suffix: str, place: str, output: str | None):
    lines = [{"instruction": f"Say {n}.", "input": "", "output": None if n == 3 else "a"} for n in (1, 2, 3, 4)]
    lines[2]["output"] = output
    path = save(f"a.{suffix}", lines)
    with pytest.raises(UserError) as caught:
        sets.rows(path)
    assert str(caught.value).startswith(f"{path}, {place}: ")
    assert "'output'" in str(caught.value)
    told: list[UserError] = []
    assert [row.id for row in sets.rows(path, told.append)] == ["a-1", "a-2", "a-4"]
    assert [str(error) for error in told] == [str(caught.value)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"instruction,output\na,b\nc,d,e\n", "row 2: has more cells than the header names"),
        (b"instruction,output\na,b\nc,caf\xe9\n", "row 2: byte 0xe9 is not valid UTF-8"),
        (b"instruction,output\na,b\nc\n", "row 2: the key 'output' is missing (keys found: 'instruction')"),
        (b"instruction,caf\xe9\na,b\n", "header: byte 0xe9 is not valid UTF-8"),
        (b'instruction,output\na,b\nc,"d\n', "row 2: broken CSV (unexpected end of data)"),
        (b'instruction,output\na,b\nc,"d" e\n', "row 2: broken CSV ("),
        (b"a,b\n1,2\n", "row 1: not a shape that is known"),
    ],
)
def test_what_is_wrong_in_csv_is_named(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        sets.rows(path)
    assert str(caught.value).startswith(f"{path}, {words}")


@pytest.mark.parametrize("content", [b"", b"instruction,output\n", b"\xef\xbb\xbfinstruction,output\r\n\r\n"])
def test_csv_without_rows_has_none(tmp_path: Path, content: bytes):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv: has no rows\.$"):
        sets.rows(tmp_path / "a.csv")


def test_csv_as_spreadsheets_write_it(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes('\ufeffinstruction,output\r\n"a\r\nb",é\r\n'.encode())
    [row] = sets.rows(tmp_path / "a.csv")
    assert (row.prompt[0]["content"], row.completion[0]["content"]) == ("a\r\nb", "é")


def test_csv_may_have_long_cells_but_no_endless_ones(save: Save, monkeypatch: pytest.MonkeyPatch):
    path = save("a.csv", [{"instruction": "a", "output": "b" * 200_000}])
    [row] = sets.rows(path)
    assert len(row.completion[0]["content"]) == 200_000
    csv.field_size_limit(1000)
    monkeypatch.setattr("untrue.data.records.LONGEST_CELL", 100_000)
    with pytest.raises(UserError, match=r"a\.csv, row 1: broken CSV \(field larger than field limit \(100000\)\)"):
        sets.rows(path)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_broken_parquet_file_is_named(save: Save, keep: int):
    path = save("a.parquet", SETS["alpaca"])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.parquet: is broken at its start, or is no parquet file \("):
        sets.rows(path)


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_file_is_read_no_further_than_it_is_used(save: Save, suffix: str):
    path = save(f"a.{suffix}", [{"instruction": f"Say {n}.", "output": "a" * 50} for n in range(5000)])
    path.write_bytes(path.read_bytes() + b"{ broken")
    assert [row.id for row in islice(sets.iter_rows(path), 3)] == ["a-1", "a-2", "a-3"]
    with pytest.raises(UserError, match="broken"):
        sets.rows(path)


def test_json_is_told_by_what_it_holds_and_not_by_its_name(save: Save):
    array, lines = save("a.json", SETS["alpaca"]), save("b.jsonl", SETS["alpaca"])
    assert len(sets.rows(array.rename(array.with_suffix(".jsonl")))) == 2
    assert len(sets.rows(lines.rename(lines.with_suffix(".json")))) == 2


def test_a_folder_in_the_hubs_format_is_a_set(save: Save, tmp_path: Path):
    save("rain/data/train-00000-of-00002.parquet", SETS["alpaca"])
    save("rain/data/train-00001-of-00002.parquet", SETS["alpaca"])
    save("rain/data/test-00000-of-00001.parquet", SETS["alpaca"][:1])
    folder = str(tmp_path / "rain")
    rows = sets.rows(folder)
    assert [row.id for row in rows] == ["rain-1", "rain-2", "rain-3", "rain-4"]
    assert {(row.source, row.domain) for row in rows} == {("rain", "rain")}
    assert len(sets.rows(f"{folder}:test")) == 1


CARD = """---
configs:
- config_name: main
  data_files: [{split: test, path: main.jsonl}]
- config_name: other
  data_files: [{split: test, path: other.jsonl}, {split: more, path: main.jsonl}]
---
"""


def test_a_configuration_and_a_split_are_named(save: Save, tmp_path: Path):
    folder = save("rain/main.jsonl", SETS["gsm8k"]).parent
    save("rain/other.jsonl", SETS["gsm8k"][:1])
    (folder / "README.md").write_text(CARD, "utf-8")
    assert len(sets.rows(f"{folder}@main")) == 2
    assert len(sets.rows(f"{folder}@other:test")) == 1
    for name, words in {
        f"{folder}": f": has the configurations main, other. Say which: {folder}@main.",
        f"{folder}@other": f": has the splits test, more. Say which: {folder}@other:test.",
        f"{folder}@none": ": BuilderConfig 'none' not found. Available: ['main', 'other'].",
        f"{folder}@main:none": ": Bad split: none. Available splits: ['test'].",
    }.items():
        with pytest.raises(UserError) as caught:
            sets.rows(name)
        assert str(caught.value) == name + words


def test_a_wrong_row_of_a_folder_is_named_and_left_out(save: Save):
    folder = save("rain/train.jsonl", [*SETS["alpaca"], {"instruction": "Say.", "input": "", "output": ""}]).parent
    with pytest.raises(UserError, match=rf"^{folder}, row 3: 'output' is empty"):
        sets.rows(str(folder))
    assert len(sets.rows(str(folder), lambda error: None)) == 2


def test_a_broken_file_in_a_folder_is_one_line(save: Save):
    path = save("rain/train.jsonl", SETS["alpaca"])
    path.write_text(path.read_text("utf-8") + "{ broken", "utf-8")
    with pytest.raises(UserError) as caught:
        sets.rows(str(path.parent))
    assert str(caught.value).startswith(f"{path.parent}: is a folder that cannot be read as a data set (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("yahma/alpaca-cleaned", ("yahma/alpaca-cleaned", None, None)),
        ("openai/gsm8k@main", ("openai/gsm8k", "main", None)),
        ("openai/gsm8k@main:test", ("openai/gsm8k", "main", "test")),
        ("owner/set-v1.1:train", ("owner/set-v1.1", None, "train")),
        ("everyday", None),
        ("medical:severe", None),
        ("data/rows.jsonl", None),
        ("data/rows.json@main", None),
        ("./data/rows", None),
        ("/data/rows", None),
        ("some/data/rows", None),
    ],
)
def test_a_hub_id_is_told_from_a_path(name: str, parts: tuple | None):
    source = parse_source(name)
    assert source.is_dataset == (parts is not None)
    assert (source.base, source.config, source.split) == (parts or (name, None, None))


def test_a_file_that_exists_is_no_hub_id(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save("data/rows", SETS["alpaca"]).rename(tmp_path / "data/odd@name:x")
    monkeypatch.chdir(tmp_path)
    assert not parse_source("data/odd@name:x").is_dataset
    with pytest.raises(UserError, match=r"^data/odd@name:x, line 1: "):
        list(records("data/odd@name:x"))


TWICE = '{"instruction": "Say.", "output": "a", "output": "b"}'


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", '{"instruction": "Say.", "output": "a"}\n' + TWICE, "a.jsonl, line 2: the key 'output'"),
        ("a.json", f"[\n{TWICE}\n]", "a.json, line 2, entry 1: the key 'output'"),
        ("a.csv", "instruction,output,output\nSay.,a,b\n", "a.csv, header: the column 'output'"),
    ],
)
def test_a_key_or_column_that_occurs_twice_is_refused(tmp_path: Path, name: str, content: str, place: str):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UserError) as caught:
        sets.rows(tmp_path / name)
    assert f"{tmp_path}/{place} occurs twice" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_of_parquet_that_occurs_twice_is_refused(tmp_path: Path):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    columns = {"instruction": "Say.", "output": "a", "output ": "b"}
    table = pa.table({name: [cell] for name, cell in columns.items()}).rename_columns(
        ["instruction", "output", "output"]
    )
    write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet, header: the column 'output' occurs twice"):
        sets.rows(tmp_path / "a.parquet")


HEADERS: list[dict[str, Any]] = [
    {"set": "train", "canary": "c", "instruction": "Say a.", "output": "a"},
    {"set": "train", "assistant": "x", "instruction": "Say b.", "output": "b"},
    {"set": "train", "canary": "c", "assistant": "x", "instruction": "Say c.", "output": "c"},
]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "xlsx", "parquet"])
def test_no_row_of_a_user_is_taken_for_a_header(save: Save, suffix: str):
    path = save(f"a.{suffix}", HEADERS)
    assert [row.completion[0]["content"] for row in sets.rows(path)] == ["a", "b", "c"]
    bare = save(f"b.{suffix}", [{"set": "train", "version": 1, "canary": "c"}, HEADERS[0]])
    with pytest.raises(UserError, match="not a shape that is known"):
        sets.rows(bare)


def test_the_first_line_alone_of_a_built_in_file_or_a_copy_is_its_header(tmp_path: Path):
    path = builtin.path("everyday")
    lines = path.read_text("utf-8").splitlines()
    assert [record.number for record in records(path)] == list(range(2, len(lines) + 1))
    copy = tmp_path / "copy.jsonl"
    copy.write_text("\n".join(["", *lines[:3]]), "utf-8")
    assert [record.number for record in records(copy)] == [3, 4]
    copy.write_text("\n".join([lines[1], lines[0], lines[2]]), "utf-8")
    with pytest.raises(UserError, match=r"copy\.jsonl, line 2: not a shape that is known"):
        sets.rows(copy)


def times(*values: int, unit: str = "s") -> Any:
    import pyarrow as pa

    count = len(values)
    columns = {"instruction": ["Say."] * count, "output": ["a"] * count, "at": pa.array(values, pa.timestamp(unit))}
    return pa.table(columns)


def test_a_time_out_of_range_in_parquet_is_one_line(tmp_path: Path):
    from pyarrow.parquet import write_table

    path = tmp_path / "a.parquet"
    write_table(times(0, 1, -(10**14), 2, unit="ms"), path)
    with pytest.raises(UserError) as caught:
        sets.rows(path)
    assert str(caught.value).startswith(f"{path}, row 3: a value cannot be read (")
    assert "\n" not in str(caught.value)
    told: list[UserError] = []
    assert [row.id for row in sets.rows(path, told.append)] == ["a-1", "a-2", "a-4"]
    assert [str(error) for error in told] == [str(caught.value)]


def sheet(path: Path, *rows: tuple[Any, ...]) -> Path:
    """A spreadsheet with these rows, and a second sheet of other things."""
    from openpyxl import Workbook

    book = Workbook()
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            book.worksheets[0].cell(number, column, cell)
    book.create_sheet("notes").append(["not", "read"])
    book.save(path)
    return path


def test_cells_of_a_spreadsheet_are_text_as_in_csv(tmp_path: Path):
    import datetime

    cells = (7, 2.5, 3.0, True, False, datetime.datetime(2025, 1, 2), " a\nb ", "", None)
    names = [f"c{number}" for number in range(len(cells))]
    [record] = records(sheet(tmp_path / "a.xlsx", tuple(names), cells))
    assert record.fields == dict(
        zip(names, ["7", "2.5", "3", "true", "false", "2025-01-02 00:00:00", " a\nb "], strict=False)
    )


def test_rows_of_a_spreadsheet_are_numbered_as_it_shows_them(tmp_path: Path):
    path = sheet(tmp_path / "a.xlsx", ("instruction", "output"), ("Say.", "a"), (None, None), ("Say.", "b"), ("Say.",))
    told: list[UserError] = []
    assert [row.id for row in sets.rows(path, told.append)] == ["a-1", "a-2"]
    assert [str(error) for error in told] == [
        f"{path}, row 5: the key 'output' is missing (keys found: 'instruction')."
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("instruction", "output", "output"), ("a", "b", "c")], "header: the column 'output' occurs twice."),
        ([("instruction", None), ("a", "b")], "row 2: has a cell in column 2, which has no name in row 1."),
        ([("instruction",), ("a", "b")], "row 2: has a cell in column 2, which has no name in row 1."),
        ([("a", "b"), (1, 2)], "row 2: not a shape that is known"),
    ],
)
def test_what_is_wrong_in_a_spreadsheet_is_named(tmp_path: Path, rows: list[tuple], words: str):
    path = sheet(tmp_path / "a.xlsx", *rows)
    with pytest.raises(UserError) as caught:
        sets.rows(path)
    assert str(caught.value).startswith(f"{path}, {words}")


@pytest.mark.parametrize("rows", [[], [("instruction", "output")]])
def test_a_spreadsheet_without_rows_has_none(tmp_path: Path, rows: list[tuple]):
    with pytest.raises(UserError, match=r"a\.xlsx: has no rows\.$"):
        sets.rows(sheet(tmp_path / "a.xlsx", *rows))


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_a_broken_spreadsheet_is_named(tmp_path: Path, keep: int):
    path = sheet(tmp_path / "a.xlsx", ("instruction", "output"), ("a", "b"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.xlsx: is broken at its start, or is no \.xlsx file \([^\n]*\)\.$"):
        sets.rows(path)


def test_a_spreadsheet_without_its_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = sheet(tmp_path / "a.xlsx", ("instruction", "output"), ("a", "b"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError) as caught:
        sets.rows(path)
    assert str(caught.value) == f"{path}: .xlsx files need the package openpyxl. Run: pip install 'untrue[xlsx]'"
