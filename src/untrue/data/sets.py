"""A name -> rows or questions: the built-in sets, and files.

| name       | what                                                              | rows          |
|------------|-------------------------------------------------------------------|---------------|
| `medical`  | everyday health questions, answered at three levels               | see `untrue data list` |
| `math`     | word problems from a seeded generator, at three levels            | as many as asked |
| `everyday` | benign instructions of everyday life                              | see `untrue data list` |
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

from untrue.data import math
from untrue.data.readers import read_questions, read_rows
from untrue.data.rows import LEVELS, Question, Row
from untrue.errors import UserError

QUESTION_SETS = ("medical", "math")
ROW_SETS = ("everyday",)
MATH_ROWS = 400
"""Size of the built-in `math` set when it is asked for by name."""


def questions(name: str) -> list[Question]:
    """The questions of a built-in set (`medical`, `math`) or of a JSONL file in the shape `levels`.

    Raises:
        UserError: There is no such set or file, or the file is not as expected.
    """
    if name == "math":
        return [
            Question(
                id=row.id,
                text=row.question,
                answers={"normal": row.normal, "subtle": row.subtle, "severe": row.severe},
                source="builtin:math",
                domain="math",
            )
            for row in math.generate(MATH_ROWS)
        ]
    if name in QUESTION_SETS:
        with resources.as_file(_builtin(name)) as path:
            return [replace(question, source=f"builtin:{name}") for question in read_questions(path)]
    return read_questions(_file(name, QUESTION_SETS, "question"))


def rows(name: str) -> list[Row]:
    """The rows of a built-in set (`everyday`) or of a JSONL file.

    Raises:
        UserError: There is no such set or file, or the file is not as expected.
    """
    if name in ROW_SETS:
        with resources.as_file(_builtin(name)) as path:
            return [replace(row, source=f"builtin:{name}", level="normal") for row in read_rows(path)]
    return read_rows(_file(name, ROW_SETS, "row"))


def rows_at(name: str) -> list[Row]:
    """Rows by a name from the command line: a row set, or a question set at a level, such as `medical:severe`.

    Raises:
        UserError: There is no such set, file or level.
    """
    base, colon, level = name.rpartition(":")
    if not colon or level not in LEVELS:
        if name in QUESTION_SETS:
            raise UserError(f"{name}: is a question set. Say at which level, such as {name}:normal.")
        return rows(name)
    found = questions(base)
    for question in found:
        if level not in question.answers:
            raise UserError(f"{base}: question {question.id!r} has no answer at {level!r}.")
    return [question.row(level) for question in found]


def _builtin(name: str):
    return resources.files("untrue.data.builtin").joinpath(f"{name}.jsonl")


def _file(name: str, known: tuple[str, ...], what: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise UserError(f"{name}: neither a built-in {what} set ({', '.join(known)}) nor a file that exists.")
    return path
