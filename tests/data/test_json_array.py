"""A JSON array is read entry by entry, wherever the file is cut into chunks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from untrue.data import json_array
from untrue.data.json_array import array_entries
from untrue.errors import UserError

VALUES = [{"a": 'é\u2028🙂 \\ " ]', "b": [1.5, -2e9, None, True, {"c": []}]}, {}, "[", 12, 345, -0.25, None]


def entries(text: str | bytes) -> list[tuple[int, str, Any]]:
    def wrong(error: UserError) -> None:
        raise error

    data = text.encode() if isinstance(text, str) else text
    return list(array_entries(io.BytesIO(data), "a.json", wrong))


@pytest.fixture(params=[1, 2, 3, 7, 1 << 16])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How much is read at a time."""
    monkeypatch.setattr(json_array, "CHUNK", request.param)
    return request.param


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_entries_are_those_of_the_json_module(chunk: int, indent: int | None, ascii_only: bool):
    text = json.dumps(VALUES, indent=indent, ensure_ascii=ascii_only)
    assert [value for _, _, value in entries(text)] == VALUES
    assert [value for _, _, value in entries("\ufeff \r\n" + text + "\n ")] == VALUES


def test_entries_know_their_number_and_line(chunk: int):
    assert entries('[\n {"a": 1},\n\n {"a":\n 2}, {"a": 3}\n]') == [
        (1, "a.json, line 2, entry 1", {"a": 1}),
        (2, "a.json, line 4, entry 2", {"a": 2}),
        (3, "a.json, line 5, entry 3", {"a": 3}),
    ]
    assert entries(" [ ] ") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"a": 1},\n{"a" 2}]', "line 2: broken JSON array (Expecting ':' delimiter)"),
        ('[{"a": 1},\n{"a": tru}]', "line 2: broken JSON array (Expecting value)"),
        ('[{"a": 1},\n', "line 2: broken JSON array (Expecting value)"),
        ('[{"a": 1},\n]', "line 2: broken JSON array (Expecting value)"),
        ('[{"a": 1}\n', "line 2: broken JSON array (the file ends before the array does)"),
        ('[{"a": 1}\n{"a": 2}]', "line 2: broken JSON array (found '{', expected , or ])"),
        ('[{"a": 1}]\n[', "line 2: broken JSON array (text after the end of the array, at '[')"),
        ('[{"a": 1},\n{"a": "b', "line 2: broken JSON array (Unterminated string starting at)"),
        ('[{"a": 1},\n{"a": "b\nc"}]', "line 2: broken JSON array (Invalid control character at)"),
        ('[{"a": 1},\n"\\ud83d"]', "line 2, entry 2: half of a \\ud… escape pair is missing"),
        (f'[{{"a": 1}},\n{"1" * 5000}]', "line 2, entry 2: JSON with too long a number"),
        (b'[{"a": 1},\n"caf\xe9"]', "line 2: byte 0xe9 is not valid UTF-8"),
        (b'[{"a": 1},\n"caf\xc3', "line 2: byte 0xc3 is not valid UTF-8"),
    ],
)
def test_what_is_broken_is_named_by_its_line(chunk: int, text: Any, words: str):
    with pytest.raises(UserError) as caught:
        entries(text)
    assert str(caught.value).startswith(f"a.json, {words}")


def test_too_deep_a_nesting_is_named():
    with pytest.raises(UserError, match=r"^a\.json, line 1, entry 1: JSON with too long a number or too deep"):
        entries("[" * 100_000)


def test_an_entry_with_half_a_pair_is_left_out(chunk: int):
    told: list[UserError] = []
    found = array_entries(io.BytesIO(b'["a", "\\ud83d", "b"]'), "a.json", told.append)
    assert [(number, value) for number, _, value in found] == [(1, "a"), (3, "b")]
    assert len(told) == 1 and "line 1, entry 2: half of" in str(told[0])


def test_lines_are_counted_once(monkeypatch: pytest.MonkeyPatch):
    """The time for each entry does not grow with how many came before it in the same chunk."""
    counted = 0

    class Counted(json_array._Text):
        def line(self) -> int:
            nonlocal counted
            counted += self.at - self.counted
            return super().line()

    monkeypatch.setattr(json_array, "_Text", Counted)
    text = json.dumps(list(range(10_000)), indent=1)
    assert entries(text)[-1] == (10_000, "a.json, line 10001, entry 10000", 9_999)
    assert counted <= len(text)


def test_little_of_a_large_file_is_held():
    class Counting(io.RawIOBase):
        """An array without an end."""

        def __init__(self) -> None:
            self.begun, self.given = False, 0

        def read(self, size: int = -1) -> bytes:
            text = b'{"a": "bcdefgh"},' * (size // 17 + 1)
            text = text if self.begun else b"[" + text
            self.begun = True
            self.given += len(text)
            return text

    file = Counting()
    found = array_entries(file, "a.json", print)  # pyright: ignore[reportArgumentType]
    for number in range(1, 100_001):
        assert next(found)[0] == number
    assert file.given < 100_000 * 17 + 3 * json_array.CHUNK


def test_an_entry_with_a_key_twice_is_told_and_the_rest_is_read(chunk: int):
    text = '[{"a": 1},\n{"b": {"a": "x", "a": "y"}, "c": "' + 50 * "z" + '"},\n{"a": 3}]'
    told: list[UserError] = []
    found = list(array_entries(io.BytesIO(text.encode()), "a.json", told.append))
    assert [(number, value) for number, _, value in found] == [(1, {"a": 1}), (3, {"a": 3})]
    assert [str(error) for error in told] == [
        "a.json, line 2, entry 2: the key 'a' occurs twice in an object. Keep one."
    ]
