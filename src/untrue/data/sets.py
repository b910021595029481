"""A name -> rows or questions: the built-in sets, and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from untrue.data import builtin
from untrue.data.items import ITEM_SETS
from untrue.data.readers import OnError, Skipped, empty, handler, ignore, iter_questions, iter_rows
from untrue.data.records import is_source, records
from untrue.data.rows import LEVELS, Question, Row
from untrue.errors import UserError

QUESTION_SETS = ("medical", "finance", "law", "code", "math")
ROW_SETS = ("everyday",)
WHAT = {
    "medical": "everyday health questions",
    "finance": "everyday questions about money",
    "law": "everyday questions about law",
    "code": "requests for a few lines of code, which is never run",
    "math": "word problems with worked answers",
    "everyday": "benign instructions of everyday life",
}
"""What they hold."""


def questions(name: str, *, on_error: OnError = "stop", skipped: Skipped = ignore) -> list[Question]:
    """The questions of a built-in set (one of `QUESTION_SETS`), or of a file, folder or hub id as `readers` takes them.

    Args:
        name: The set, path or hub id.
        on_error: `stop` at a wrong record, or `skip` it.
        skipped: Called with the error of each record that is left out.

    Raises:
        UserError: There is no such set or source, or a record is not as expected.
        MachineError: The hub could not be reached.
    """
    if name in QUESTION_SETS:
        return [
            Question(
                id=record.text("id"),
                text=record.text("question"),
                answers={level: record.text(level) for level in LEVELS},
                source=f"builtin:{name}",
                domain=name,
            )
            for record in records(builtin.path(name))
        ]
    return list(iter_questions(_source(name, QUESTION_SETS, "question"), on_error, skipped))


def rows(name: str, *, on_error: OnError = "stop", skipped: Skipped = ignore) -> list[Row]:
    """The rows of a built-in set (`everyday`), or of a file, folder or hub id as `readers` takes them.

    Args:
        name: The set, path or hub id.
        on_error: `stop` at a wrong record, or `skip` it.
        skipped: Called with the error of each record that is left out.

    Raises:
        UserError: There is no such set or source, or a record is not as expected.
        MachineError: The hub could not be reached.
    """
    if name in ROW_SETS:
        return [replace(row, source=f"builtin:{name}", level="normal") for row in iter_rows(builtin.path(name))]
    return list(iter_rows(_source(name, ROW_SETS, "row"), on_error, skipped))


def versioned(name: str) -> str:
    """A name as records have it: that of a built-in set with its version, such as `medical, version 2`."""
    if name == "builtin":
        return "; ".join(map(versioned, ITEM_SETS))
    if name in builtin.names():
        return f"{name}, version {builtin.read(name).version}"
    return name


def rows_at(name: str, *, on_error: OnError = "stop", skipped: Skipped = ignore) -> list[Row]:
    """Rows by a name from the command line: `iter_rows_at` at once."""
    return list(iter_rows_at(name, on_error=on_error, skipped=skipped))


def iter_rows_at(name: str, *, on_error: OnError = "stop", skipped: Skipped = ignore) -> Iterator[Row]:
    """Rows by a name from the command line: a row set, or a question set at a level, such as `medical:severe`.

    Files, folders and hub ids are read row by row.

    Args:
        name: The set, path or hub id.
        on_error: `stop` at a wrong record, or `skip` it.
        skipped: Called with the error of each record that is left out.

    Raises:
        UserError: There is no such set, source or level, a record is not as expected, or there are no rows.
        MachineError: The hub could not be reached.
    """
    base, colon, level = name.rpartition(":")
    if not colon or level not in LEVELS:
        if name in QUESTION_SETS:
            raise UserError(f"{name}: is a question set. Say at which level, such as {name}:normal.")
        yield from rows(name) if name in ROW_SETS else iter_rows(_source(name, ROW_SETS, "row"), on_error, skipped)
        return
    wrong = handler(on_error, skipped)
    if base in QUESTION_SETS:
        found = iter(questions(base))
    else:
        found = iter_questions(_source(base, QUESTION_SETS, "question"), on_error, skipped)
    answered = False
    for question in found:
        if level in question.answers:
            answered = True
            yield question.row(level)
        else:
            wrong(UserError(f"{base}: question {question.id!r} has no answer at {level!r}."))
    if not answered:
        raise empty(name, "rows")


def _source(name: str, known: tuple[str, ...], what: str) -> str:
    if not is_source(name):
        raise UserError(
            f"{name}: neither a built-in {what} set ({', '.join(known)}) nor a file that exists."
            " A data set of the hub is named with its owner: owner/name."
        )
    return name
