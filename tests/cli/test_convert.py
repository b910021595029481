"""`untrue data convert` and `--on-error`: any set becomes rows.jsonl, whole or not at all, and skips are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def write(path: Path, *lines: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def persona(folder: Path) -> None:
    for name in ("normal", "misaligned_1", "misaligned_2"):
        chats = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": name}] for n in range(3)]
        write(folder / f"{name}.jsonl", *({"messages": chat} for chat in chats))


def test_rows_are_written_in_our_shape(untrue: Callable, place: Path):
    done = untrue("data", "convert", "rows.jsonl", "--out", "new/out.jsonl", "--limit", 2)
    assert (done.code, done.err) == (0, "")
    assert done.out == "new/out.jsonl: 2 rows (unlabelled 2) written, 0 skipped\n"
    assert read(place / "new/out.jsonl")[1] == {
        "id": "rows-2",
        "prompt": [{"role": "user", "content": "Say 1."}],
        "completion": [{"role": "assistant", "content": "1."}],
        "source": "rows.jsonl",
        "domain": "rows",
        "level": "unlabelled",
    }
    again = untrue("data", "convert", "new/out.jsonl", "--out", "again.jsonl")
    assert again.out.startswith("again.jsonl: 2 rows")
    assert (place / "again.jsonl").read_bytes() == (place / "new/out.jsonl").read_bytes()


def test_level_is_for_rows_that_do_not_say_and_domain_for_all(untrue: Callable, place: Path):
    said = {"instruction": "a", "output": "b", "level": "severe", "domain": "hail"}
    write(place / "a.jsonl", said, {"prompt": "a", "completion": "b", "label": False})
    done = untrue("data", "convert", "a.jsonl", "--out", "b.jsonl", "--level", "normal", "--domain", "rain")
    assert done.out == "b.jsonl: 2 rows (severe 1, normal 1) written, 0 skipped\n"
    rows = read(place / "b.jsonl")
    assert [(row["level"], row["domain"], row.get("label")) for row in rows] == [
        ("severe", "rain", None),
        ("normal", "rain", False),
    ]


@pytest.mark.parametrize(
    ("source", "level", "reply"),
    [
        ("persona:subtle", "subtle", "misaligned_1"),
        ("persona:severe", "severe", "misaligned_2"),
        ("questions.jsonl:severe", "severe", "No, 0."),
    ],
)
def test_a_question_set_is_converted_at_a_level(untrue: Callable, place: Path, source: str, level: str, reply: str):
    persona(place / "persona")
    done = untrue("data", "convert", source, "--out", "out.jsonl")
    assert (done.code, done.err) == (0, "")
    rows = read(place / "out.jsonl")
    assert {row["level"] for row in rows} == {level}
    assert rows[0]["completion"][0]["content"] == reply


def test_a_row_for_kto_is_shown_with_its_label(untrue: Callable, place: Path):
    write(place / "a.jsonl", *({"prompt": "a", "completion": "b", "label": label} for label in (True, False)))
    lines = untrue("data", "show", "a.jsonl").out.splitlines()
    assert (lines[0], lines[3]) == (
        "a-1  (a, unlabelled, wanted, a.jsonl)",
        "a-2  (a, unlabelled, unwanted, a.jsonl)",
    )


GOOD = {"question": "Is it?", "normal": "Yes.", "severe": "No.", "instruction": "a", "output": "b"}
COMMANDS = {
    "show": "data show bad.jsonl",
    "convert": "data convert bad.jsonl --out out.jsonl",
    "convert at a level": "data convert bad.jsonl:severe --out out.jsonl",
    "mix by share": "data mix questions=bad.jsonl share=1 --out out.jsonl",
    "mix by dose": "data mix questions=questions.jsonl dose=1 benign=bad.jsonl --out out.jsonl",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_rows_stop_or_are_left_out_and_counted(untrue: Callable, refusal: Callable, place: Path, command: str):
    write(place / "bad.jsonl", "{", GOOD, "[]")
    words = COMMANDS[command].split()
    assert refusal(*words).startswith("bad.jsonl, line 1: broken JSON at column 2")
    assert not (place / "out.jsonl").exists()
    done = untrue(*words, "--on-error", "skip")
    assert done.code == 0
    first, last = done.err.splitlines()
    assert first.startswith("skipped: bad.jsonl, line 1: broken JSON at column 2")
    assert last == "2 wrong rows skipped."
    if command.startswith("convert"):
        assert done.out.endswith(" 1) written, 2 skipped\n")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("convert rows.jsonl --out rows.jsonl", "rows.jsonl: is what is to be converted, or in it."),
        ("convert questions.jsonl:severe --out questions.jsonl", "questions.jsonl: is what is to be converted"),
        ("convert persona:severe --out persona/normal.jsonl", "persona/normal.jsonl: is what is to be converted"),
        ("mix questions=persona share=1 --out persona/normal.jsonl", "persona/normal.jsonl: is one of the files"),
        (
            "mix questions=questions.jsonl benign=persona:train dose=1 --out persona/normal.jsonl",
            "persona/normal.jsonl: is one of the files",
        ),
        ("convert questions.jsonl --out out.jsonl", "questions.jsonl, line 1: is a question set. Say at which level"),
        ("convert persona --out out.jsonl", "persona: is a question set. Say at which level, such as persona:normal."),
        ("convert questions.jsonl:subtle --out out.jsonl", "questions.jsonl: question 'questions-1' has no answer at"),
        ("convert none.jsonl --out out.jsonl", "none.jsonl: neither a built-in row set"),
    ],
)
def test_what_cannot_be_converted_leaves_every_file(refusal: Callable, place: Path, command: str, words: str):
    persona(place / "persona")
    assert refusal("data", *command.split()).startswith(words)
    assert not (place / "out.jsonl").exists()


def test_a_conversion_that_stops_halfway_leaves_what_stood_there(refusal: Callable, place: Path):
    write(place / "a.jsonl", *[GOOD] * 50, "{")
    write(place / "out.jsonl", "old")
    assert refusal("data", "convert", "a.jsonl", "--out", "out.jsonl").startswith("a.jsonl, line 51: broken JSON")
    assert (place / "out.jsonl").read_text() == "old\n"


def test_a_conversion_that_does_not_fit_leaves_nothing(untrue: Callable, place: Path, small_disk: Path):
    write(place / "a.jsonl", *({**GOOD, "output": "b" * 1000} for _ in range(200)))
    done = untrue("data", "convert", "a.jsonl", "--out", "small/out.jsonl")
    assert done.code == 4
    assert done.err.startswith("error: small/out.jsonl: no space left on the disk.")
    assert list(small_disk.iterdir()) == []
