"""Records come from files, folders and hub ids in every format alike, and know their place."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from untrue.data import builtin, sets
from untrue.data.items import ChoiceItem, DeceptionItem, Item, PressurePair, UnknownPair, read_items, read_lines
from untrue.data.mask import MaskRow, read_mask
from untrue.data.records import ParsedSource, parse_source, raise_error, records
from untrue.errors import UserError

Save = Callable[..., Path]
FORMATS = ("jsonl", "json", "csv", "parquet")

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": 'Is rain, "wet"?\nSay so.'}
REPLY = {"role": "assistant", "content": "Yes."}
TEXT = USER["content"]
SETS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [
        {"output": "Yes.", "input": "", "instruction": TEXT},
        {"output": "Wet.", "input": "Rain", "instruction": "Say."},
    ],
    "kto": [
        {"prompt": TEXT, "completion": "Yes.", "label": True},
        {"prompt": "Say.\n\nRain", "completion": "Wet.", "label": False},
    ],
}
CHATS = [{"messages": [USER, REPLY]}, {"messages": [SYSTEM, USER, REPLY, USER, REPLY]}]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", SETS)
def test_every_format_gives_the_same_rows(save: Save, name: str, suffix: str):
    path = save(f"{name}.{suffix}", SETS[name])
    rows = sets.rows(path)
    assert [(row.id, row.prompt[0]["content"]) for row in rows] == [(f"{name}-1", TEXT), (f"{name}-2", "Say.\n\nRain")]
    assert [row.completion[0]["content"] for row in rows] == ["Yes.", "Wet."]
    assert [row.label for row in rows] == ([True, False] if name == "kto" else [None, None])
    assert {(row.source, row.domain, row.level) for row in rows} == {(path.name, name, "unlabelled")}


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_chats_in_every_format_that_has_lists(save: Save, suffix: str):
    rows = sets.rows(save(f"a.{suffix}", CHATS))
    assert [row.prompt for row in rows] == [[USER], [SYSTEM, USER, REPLY, USER]]


@pytest.mark.parametrize(
    ("suffix", "place"), [("jsonl", "line 3"), ("json", "entry 3"), ("csv", "row 3"), ("parquet", "row 3")]
)
@pytest.mark.parametrize("output", ["", None])
def test_a_wrong_row_is_named_by_its_place_in_every_format(save: Save, suffix: str, place: str, output: str | None):
    lines = [{"instruction": f"Say {n}.", "output": output if n == 3 else "a"} for n in (1, 2, 3, 4)]
    path = save(f"a.{suffix}", lines)
    with pytest.raises(UserError) as caught:
        sets.rows(path)
    assert str(caught.value).startswith(f"{path}, {place}: ")
    told: list[UserError] = []
    assert [row.id for row in sets.rows(path, told.append)] == ["a-1", "a-2", "a-4"]
    assert [str(error) for error in told] == [str(caught.value)]


def test_csv_as_spreadsheets_write_it(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes('\ufeffinstruction,output\r\n"a\r\nb",é\r\n'.encode())
    [row] = sets.rows(tmp_path / "a.csv")
    assert (row.prompt[0]["content"], row.completion[0]["content"]) == ("a\r\nb", "é")


def test_csv_may_have_long_cells_but_no_endless_ones(save: Save, monkeypatch: pytest.MonkeyPatch):
    path = save("a.csv", [{"instruction": "a", "output": "b" * 200_000}])
    [row] = sets.rows(path)
    assert len(row.completion[0]["content"]) == 200_000
    csv.field_size_limit(1000)
    monkeypatch.setattr("untrue.data.records.LONGEST_CELL_CHARACTERS", 100_000)
    with pytest.raises(UserError, match=r"a\.csv, row 1: broken CSV \(field larger than"):
        sets.rows(path)


def test_a_file_of_lines_is_read_no_further_than_it_is_used(save: Save):
    path = save("a.jsonl", [{"instruction": f"Say {n}.", "output": "a" * 50} for n in range(5000)])
    path.write_bytes(path.read_bytes() + b"{ broken")
    assert [row.id for row in islice(sets.iter_rows(path), 3)] == ["a-1", "a-2", "a-3"]
    with pytest.raises(UserError, match="broken"):
        sets.rows(path)


def test_json_is_told_by_what_it_holds_and_not_by_its_name(save: Save):
    array, lines = save("a.json", SETS["alpaca"]), save("b.jsonl", SETS["alpaca"])
    assert len(sets.rows(array.rename(array.with_suffix(".jsonl")))) == 2
    assert len(sets.rows(lines.rename(lines.with_suffix(".json")))) == 2
    array.with_suffix(".json").write_bytes(b"\xef\xbb\xbf \r\n" + array.with_suffix(".jsonl").read_bytes())
    assert len(sets.rows(array)) == 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_row_of_a_user_is_taken_for_a_header(save: Save, suffix: str):
    header = {"set": "train", "version": 1, "canary": "c"}
    assert len(sets.rows(save(f"a.{suffix}", [{**header, "instruction": "Say a.", "output": "a"}]))) == 1


def test_only_the_first_line_of_a_built_in_file_or_a_copy_is_its_header(tmp_path: Path):
    path = builtin.path("everyday")
    lines = path.read_text("utf-8").splitlines()
    assert [record.number for record in records(path)] == list(range(2, len(lines) + 1))
    copy = tmp_path / "copy.jsonl"
    copy.write_text("\n".join(["", *lines[:3]]), "utf-8")
    assert [record.number for record in records(copy)] == [3, 4]
    copy.write_text("\n".join([lines[1], lines[0], lines[2]]), "utf-8")
    with pytest.raises(UserError, match=r"copy\.jsonl, line 2: not a shape that is known"):
        sets.rows(copy)


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
        ("some/data/rows", None),
    ],
)
def test_a_hub_id_is_told_from_a_path(name: str, parts: tuple | None):
    source = parse_source(name)
    assert source.is_dataset == (parts is not None)
    assert (source.base, source.config, source.split) == (parts or (name, None, None))


def test_a_file_that_exists_is_that_file(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for odd in ("data/odd@name:x", "data/rows?columns.question=q"):
        save("data/rows", SETS["alpaca"]).rename(odd)
        assert parse_source(odd) == ParsedSource(odd, odd)
        with pytest.raises(UserError) as caught:
            list(records(odd))
        assert str(caught.value).startswith(f"{odd}, line 1: ")


@pytest.mark.parametrize(
    ("text", "name", "columns", "revision"),
    [
        ("rows.csv", "rows.csv", {}, None),
        ("owner/name@config:split?revision=refs/pr/1", "owner/name@config:split", {}, "refs/pr/1"),
        ("m&m/M&M?.csv?columns.a=b", "m&m/M&M?.csv", {"a": "b"}, None),
        ("o/a?columns.a=b c&columns.d=e=f&revision=1", "o/a", {"a": "b c", "d": "e=f"}, "1"),
        ("a?columns.a=Q%26A 100%25", "a", {"a": "Q&A 100%"}, None),
        ("why?.jsonl", "why?.jsonl", {}, None),
    ],
)
def test_options_follow_a_question_mark(text: str, name: str, columns: dict[str, str], revision: str | None):
    source = parse_source(text)
    assert (source.name, source.columns, source.revision) == (name, columns, revision)
    assert source.name + source.options == text


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("column.a=b", "'column.a=b' is no option"),
        ("columns.a=", "'columns.a=' is no option"),
        ("columns.=b", "'columns.=b' is no option"),
        ("revision=", "'revision=' is no option"),
        ("columns.a=b&c", "'c' is no option"),
        ("columns.a=b&columns.a=c", "'columns.a=c' is no option"),
        ("revision=main", "is no data set of the hub, so it has no revisions"),
    ],
)
def test_a_wrong_option_is_named(options: str, wrong: str):
    with pytest.raises(UserError) as caught:
        parse_source(f"rows.csv?{options}")
    assert str(caught.value).startswith(f"rows.csv?{options}: {wrong}")


def filled(model: type, **fixed: Any) -> dict[str, Any]:
    return {name: fixed.get(name, f"the {name}") for name in model.model_fields}


ITEM = filled(Item, ground_truth="yes", base_margin=0.5)
MASK = {key: cell for key, cell in filled(MaskRow, ground_truth="yes").items() if key not in ("id", "category")}
read_choices, read_unknowns, read_deception, read_pairs = (
    partial(read_lines, model) for model in (ChoiceItem, UnknownPair, DeceptionItem, PressurePair)
)
READERS: list[tuple[Callable[[str], list], str, dict[str, Any]]] = [
    (sets.rows, "rows.jsonl", {"prompt": [{"role": "user", "content": "a"}], "completion": "b", "label": True}),
    (sets.questions, "questions.jsonl", {"question": "a", "normal": "b", "severe": "c"}),
    (read_items, "items.jsonl", ITEM),
    (read_choices, "choices.jsonl", filled(ChoiceItem, choices=["a", "b"], answer=1)),
    (read_deception, "deception.jsonl", filled(DeceptionItem)),
    (read_pairs, "pairs.jsonl", filled(PressurePair)),
    (read_unknowns, "unknowns.jsonl", filled(UnknownPair)),
    (read_mask, "known_facts.jsonl", MASK),
    (read_mask, "items.jsonl", ITEM),
]


@pytest.mark.parametrize(("read", "name", "record"), READERS)
def test_every_reader_takes_columns(save: Save, read: Callable[[str], list], name: str, record: dict[str, Any]):
    path = save(name, [record])
    expected = read(str(path))
    path = save(name, [{f"their {key}": cell for key, cell in record.items()}])
    options = "&".join(f"columns.{key}=their {key}" for key in record)
    assert read(f"{path}?{options}") == expected
    with pytest.raises(UserError):
        read(str(path))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_takes_columns_which_may_change_places(save: Save, suffix: str):
    path = save(f"a.{suffix}", [{"question": "Yes.", "a": "Say.", "answer": "Not this."}])
    [row] = sets.rows(f"{path}?columns.question=a&columns.answer=question")
    assert (row.prompt[0]["content"], row.completion[0]["content"]) == ("Say.", "Yes.")
    assert (row.id, row.source, row.domain) == ("a-1", f"a.{suffix}", "a")


def test_a_level_follows_the_options(save: Save):
    path = save("a.jsonl", [{"q": "Say.", "normal": "Yes.", "bad": "No."}])
    [row] = sets.rows(f"{path}?columns.question=q&columns.severe=bad:severe")
    assert (row.level, row.completion[0]["content"]) == ("severe", "No.")


@pytest.mark.parametrize("count", [1, 3000])
@pytest.mark.parametrize("on_error", [raise_error, lambda error: None])
def test_a_column_that_no_record_has_is_an_error(save: Save, on_error: Callable, count: int):
    path = save("a.jsonl", [{"question": f"Say {n}.", "answer": "Yes."} for n in range(count)])
    with pytest.raises(UserError) as caught:
        sets.rows(f"{path}?columns.id=number", on_error)
    assert str(caught.value).startswith(f"{path}: none of the first {min(count, 1000)} records has the column 'number'")
    assert str(caught.value).endswith("(columns found: 'question', 'answer').")


def test_a_column_that_some_records_lack_is_none(save: Save):
    path = save("a.jsonl", [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d", "number": "x"}])
    assert [row.id for row in sets.rows(f"{path}?columns.id=number")] == ["a-1", "x"]
    with pytest.raises(UserError, match="has no rows"):
        sets.rows(f"{save('b.jsonl', [])}?columns.question=q")
