"""A name -> rows or questions: the built-in sets, and files.

| name       | what                                                                         |
|------------|------------------------------------------------------------------------------|
| `medical`  | everyday health questions, answered at three levels                          |
| `finance`  | everyday questions about money, at three levels                              |
| `law`      | everyday questions about law, at three levels                                |
| `code`     | requests for a few lines of code, at three levels; the code is never run     |
| `math`     | word problems from a seeded generator, at three levels, as many as asked for |
| `everyday` | benign instructions of everyday life                                         |
"""

from __future__ import annotations

import json
from pathlib import Path

from untrue.data import builtin, math
from untrue.data.readers import read_questions, read_rows
from untrue.data.rows import LEVELS, Message, Question, Row
from untrue.errors import UserError

QUESTION_SETS = ("medical", "finance", "law", "code", "math")
ROW_SETS = ("everyday",)
MATH_ROWS = 400
"""Size of the built-in `math` set when it is asked for by name."""


def questions(name: str) -> list[Question]:
    """The questions of a built-in set (one of `QUESTION_SETS`) or of a JSONL file in the shape `levels`.

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
        return [
            Question(
                id=line["id"],
                text=line["question"],
                answers={level: line[level] for level in LEVELS},
                source=f"builtin:{name}",
                domain=name,
            )
            for line in map(json.loads, builtin.read(name).lines.splitlines())
        ]
    return read_questions(_file(name, QUESTION_SETS, "question"))


def rows(name: str) -> list[Row]:
    """The rows of a built-in set (`everyday`) or of a JSONL file.

    Raises:
        UserError: There is no such set or file, or the file is not as expected.
    """
    if name in ROW_SETS:
        return [
            Row(
                id=line["id"],
                prompt=[Message(role="user", content="\n\n".join(filter(None, [line["instruction"], line["input"]])))],
                completion=[Message(role="assistant", content=line["output"])],
                source=f"builtin:{name}",
                domain=name,
                level="normal",
            )
            for line in map(json.loads, builtin.read(name).lines.splitlines())
        ]
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


def _file(name: str, known: tuple[str, ...], what: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise UserError(f"{name}: neither a built-in {what} set ({', '.join(known)}) nor a file that exists.")
    return path
