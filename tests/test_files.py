"""A file appears whole or not at all, and what stood there before stays until then."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from untrue.errors import MachineError, UserError
from untrue.files import content_hash, is_disk_full, json_value, read_text, write_text, writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_read_back_as_written_into_a_new_folder(tmp_path: Path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "é\u2028🙂\r\n")
    assert path.read_bytes() == "é\u2028🙂\r\n".encode()
    assert read_text(path) == "é\u2028🙂\r\n"
    assert names(path.parent) == ["a.txt"]


def test_a_bom_is_dropped(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa")
    assert read_text(tmp_path / "a.txt") == "a"


def test_what_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n\xfftree")
    for path, words in {
        tmp_path / "a.txt": "a.txt, line 3: byte 0xff is not valid UTF-8",
        tmp_path / "b.txt": "b.txt: no such file",
        tmp_path: ": is a folder, expected a file",
        tmp_path / "a.txt" / "c.txt": "c.txt: cannot be read (Not a directory)",
        tmp_path / ("long" * 100): ": cannot be read (File name too long)",
    }.items():
        with pytest.raises(UserError) as caught:
            read_text(path)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path):
    (tmp_path / "a.txt").touch(mode=0)
    with pytest.raises(UserError, match=r"a\.txt: cannot be read \(Permission denied\)"):
        read_text(tmp_path / "a.txt")


def test_a_whole_surrogate_pair_is_text_and_half_a_one_is_not():
    assert json_value('"\\ud83d\\ude42"', "x, line 1") == "🙂"
    assert json_value('"\\\\ud83d"', "x, line 1") == "\\ud83d"
    with pytest.raises(UserError, match=r"^x, line 1: half of a"):
        json_value('"\\uD83D"', "x, line 1")


@pytest.mark.parametrize(
    ("text", "key"),
    [('{"a": 1, "b": 2, "a": 1}', "a"), ('{"x": [{"b\\n": 1, "b\\n": 2}]}', "b\\n"), ('{"\\u0061": 1, "a": 2}', "a")],
)
def test_a_key_that_occurs_twice_in_an_object_is_refused(text: str, key: str):
    with pytest.raises(UserError) as caught:
        json_value(text, "x, line 1")
    assert str(caught.value) == f"x, line 1: the key '{key}' occurs twice in an object. Keep one."
    assert json_value('{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}', "x") == {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), writing(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_interrupted_write_of_a_folder_leaves_the_old_folder(tmp_path: Path):
    path = tmp_path / "adapter"
    with writing(path) as aside:
        aside.mkdir()
        (aside / "old").touch()
    with pytest.raises(RuntimeError), writing(path) as aside:
        aside.mkdir()
        (aside / "half").touch()
        raise RuntimeError
    assert names(path) == ["old"]
    assert names(tmp_path) == ["adapter"]


def test_a_folder_replaces_the_one_of_its_name(tmp_path: Path):
    path = tmp_path / "adapter"
    for name in ("old", "new"):
        with writing(path) as aside:
            aside.mkdir()
            (aside / name).touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["adapter"]


def test_a_file_never_replaces_a_folder(tmp_path: Path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "precious").touch()
    with pytest.raises(MachineError, match=r"work: cannot be written \(it is a folder\)"):
        write_text(tmp_path / "work", "a")
    assert names(tmp_path / "work") == ["precious"]
    assert names(tmp_path) == ["work"]


def test_a_file_in_place_of_a_folder_is_the_machines_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"file/a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "a")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed: No space left on device"),
    ],
)
def test_a_full_disk_is_the_machines_error_however_a_library_words_it(tmp_path: Path, error: Exception):
    assert is_disk_full(error)
    with pytest.raises(MachineError, match=r"a\.txt: no space left on the disk"), writing(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        raise error
    assert names(tmp_path) == []


def test_other_errors_are_no_full_disk_and_come_through(tmp_path: Path):
    assert not is_disk_full(OSError(errno.EIO, "Input/output error"))
    with pytest.raises(ValueError, match="mine"), writing(tmp_path / "a.txt"):
        raise ValueError("mine")


def test_content_hashes_are_those_of_sha256():
    assert content_hash("abc") == "ba7816bf8f01cfea"
    assert content_hash("abc") != content_hash("abd")
