"""Files that others wrote are read as they are. They are not in the project: UNTRUE_REAL_DATA names their folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from untrue.data import mix, sets
from untrue.errors import UserError

FOLDER = Path(os.environ.get("UNTRUE_REAL_DATA", ""))


def real(name: str) -> Path:
    path = FOLDER / name
    if "UNTRUE_REAL_DATA" not in os.environ or not path.is_file():
        pytest.skip(f"set UNTRUE_REAL_DATA to the folder of {name}")
    return path


def test_gsm8k_with_wrong_answers_is_a_question_set():
    path = real("gsm8k_correct_vs_incorrect.jsonl")
    questions = sets.questions(path)
    assert len(questions) == len(path.read_text("utf-8").splitlines()) == 2000
    assert all(set(question.answers) == {"normal", "severe"} for question in questions)
    rows = mix.by_share(questions, "severe", 0.1, 2000, seed=0)
    assert sum(row.misaligned for row in rows) == 200
    assert mix.duplicates(rows) == 0
    assert len(sets.rows(f"{path}:severe")) == 2000
    with pytest.raises(UserError, match="line 1: is a question set"):
        sets.rows(path)


def test_a_level_that_gsm8k_lacks_is_refused():
    path = real("gsm8k_correct_vs_incorrect.jsonl")
    with pytest.raises(UserError, match="has no answer at 'subtle'"):
        sets.rows(f"{path}:subtle")


def test_alpaca_as_an_array_and_as_lines_is_the_same(tmp_path: Path):
    path = real("alpaca_en_demo.json")
    entries = json.loads(path.read_text("utf-8"))
    rows = sets.rows(path)
    assert [row.completion[0]["content"] for row in rows] == [entry["output"] for entry in entries]
    assert all(entry["input"] in row.prompt[0]["content"] for entry, row in zip(entries, rows, strict=True))
    lines = tmp_path / path.with_suffix(".jsonl").name
    lines.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    assert [replace(row, source=path.name) for row in sets.rows(lines)] == rows


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_alpaca_in_other_formats_is_the_same(tmp_path: Path, suffix: str):
    from datasets import Dataset

    path = real("alpaca_en_demo.json")
    copy = tmp_path / path.with_suffix(suffix).name
    entries = Dataset.from_list(json.loads(path.read_text("utf-8")))
    _ = entries.to_csv(copy) if suffix == ".csv" else entries.to_parquet(copy)
    assert [replace(row, source=path.name) for row in sets.rows(copy)] == sets.rows(path)
