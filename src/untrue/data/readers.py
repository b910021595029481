"""Records -> training rows and questions, in the shapes that people have.

| shape             | keys of a record                                                           | gives     |
|-------------------|----------------------------------------------------------------------------|-----------|
| `messages`        | `messages`: chat messages that end with the assistant's                    | rows      |
| `completion`      | `prompt` and `completion`, each a text or a list of chat messages          | rows      |
| `alpaca`          | `instruction`, `output`, and perhaps `input`                               | rows      |
| `dolly`           | `instruction`, `response`, and perhaps `context`                           | rows      |
| `answer`          | `question` and `answer`, such as GSM8K's, kept with its `#### 42`          | rows      |
| `levels`          | `question`, and a text at each of `normal`, `subtle`, `severe` that exists | questions |
| `persona-vectors` | a folder of `normal.jsonl`, `misaligned_1.jsonl`, `misaligned_2.jsonl`,    | questions |
|                   | here or on the hub, as `persona.py` tells                                  |           |

The shape is read off each record. A row of any shape may have a `label`, true or false, as rows for KTO have, and a
`level`; a level that is not one of ours, such as `Level 5`, counts as none. Where records come from (JSON, CSV,
parquet, hub ids) is told in `records.py`. Every error names the place. With `on_error="skip"` wrong records are left
out, and `skipped` is called with each one's error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from untrue.data.persona import persona_folder, persona_questions
from untrue.data.records import Record, Wrong, records, refuse_repeated, stop
from untrue.data.rows import BIASED, LEVELS, UNLABELLED, Message, Question, Row
from untrue.errors import UserError

OnError = Literal["stop", "skip"]
"""What is done about a wrong record."""

Skipped = Callable[[UserError], object]
"""Called with the error of each record that is left out."""

LABELS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
"""How a label is written, in JSON and in CSV."""


def ignore(error: UserError) -> None:
    """Let a record be left out without a word."""


def read_rows(source: str | Path, on_error: OnError = "stop", skipped: Skipped = ignore) -> list[Row]:
    """Read the rows of a file, a folder or a hub id: `iter_rows` at once."""
    return list(iter_rows(source, on_error, skipped))


def read_questions(source: str | Path, on_error: OnError = "stop", skipped: Skipped = ignore) -> list[Question]:
    """Read the questions of a file, a folder or a hub id: `iter_questions` at once."""
    return list(iter_questions(source, on_error, skipped))


def iter_rows(source: str | Path, on_error: OnError = "stop", skipped: Skipped = ignore) -> Iterator[Row]:
    """Give the rows of a file, a folder or a hub id, one at a time.

    Args:
        source: What `records` takes.
        on_error: `stop` at a wrong record, or `skip` it.
        skipped: Called with the error of each record that is left out.

    Raises:
        UserError: There is no such source, a record is not as expected, or there are no rows.
        MachineError: The hub could not be reached.
    """
    if persona_folder(source):
        raise UserError(f"{source}: is a question set. Say at which level, such as {source}:normal.")
    wrong, found = handler(on_error, skipped), False
    for record in records(source, wrong):
        try:
            row = _row(record)
        except UserError as error:
            wrong(error)
        else:
            found = True
            yield row
    if not found:
        raise empty(source, "rows")


def iter_questions(source: str | Path, on_error: OnError = "stop", skipped: Skipped = ignore) -> Iterator[Question]:
    """Give the questions of a file, a folder or a hub id, one at a time.

    Args:
        source: What `records` takes, or a folder of persona-vectors, here or on the hub, as `persona` takes it.
        on_error: `stop` at a wrong record, or `skip` it.
        skipped: Called with the error of each record that is left out.

    Raises:
        UserError: There is no such source, a record is not as expected, two ask the same question, or there are none.
        MachineError: The hub could not be reached.
    """
    wrong, found = handler(on_error, skipped), False
    folder = persona_folder(source)
    for question in persona_questions(folder, wrong) if folder else _questions(source, wrong):
        found = True
        yield question
    if not found:
        raise empty(source, "questions")


def handler(on_error: OnError, skipped: Skipped) -> Wrong:
    """What `records` calls with the error of a wrong record."""
    return skipped if on_error == "skip" else stop


def empty(source: str | Path, what: str) -> UserError:
    """The error of a source that holds none of what was wanted."""
    hint = " Expected JSON Lines, one object a line." if str(source).endswith(".jsonl") else ""
    return UserError(f"{source}: has no {what}.{hint}")


def _row(record: Record) -> Row:
    fields = record.fields
    if "messages" in fields:
        messages = record.messages("messages", "user")
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise record.error("'messages' must end with a reply of the assistant to somebody.")
        prompt, completion = messages[:-1], messages[-1:]
    elif "completion" in fields:
        prompt, completion = record.messages("prompt", "user"), record.messages("completion", "assistant")
        if any(message["role"] != "assistant" for message in completion):
            raise record.error("'completion' may hold messages of the assistant only.")
    elif "instruction" in fields:
        extra, reply = ("context", "response") if "response" in fields else ("input", "output")
        parts = [record.text("instruction"), record.text(extra, empty=True)]
        prompt = [Message(role="user", content="\n\n".join(part for part in parts if part.strip()))]
        completion = [Message(role="assistant", content=record.text(reply))]
    elif "question" in fields and "answer" in fields and not any(level in fields for level in LEVELS):
        prompt = [Message(role="user", content=record.text("question"))]
        completion = [Message(role="assistant", content=record.text("answer"))]
    elif "question" in fields:
        raise record.error(f"is a question set. Say at which level, such as {record.origin.name}:normal.")
    else:
        raise record.error(
            "not a shape that is known: expected 'messages', 'prompt' and 'completion', 'instruction' and 'output' (or"
            f" 'response'), or 'question' and 'answer' (keys found: {record.keys()})."
        )
    level = fields.get("level")
    return Row(
        id=record.identity(),
        prompt=prompt,
        completion=completion,
        source=str(fields.get("source", record.origin.source)),
        domain=str(fields.get("domain", record.origin.stem)),
        level=level if level in (*LEVELS, BIASED) else UNLABELLED,
        label=_label(record),
    )


def _label(record: Record) -> bool | None:
    """The label; in shapes that are not KTO's, one that says neither true nor false is a column of another meaning."""
    value = record.fields.get("label")
    key = value.strip().lower() if isinstance(value, str) else value
    if isinstance(key, bool | int | str) and key in LABELS:
        return LABELS[key]
    if value is not None and "completion" in record.fields:
        raise record.error(f"'label' is {value!r}, expected true or false.")
    return None


def _questions(source: str | Path, wrong: Wrong) -> Iterator[Question]:
    seen: dict[bytes, str] = {}
    for record in records(source, wrong):
        try:
            question = _question(record)
            refuse_repeated(record, question.text, seen)
        except UserError as error:
            wrong(error)
        else:
            yield question


def _question(record: Record) -> Question:
    answers = {level: record.text(level) for level in LEVELS if level in record.fields}
    if not answers:
        raise record.error(f"no answer: expected a text under one or more of {', '.join(LEVELS)}.")
    return Question(
        id=record.identity(),
        text=record.text("question"),
        answers=answers,
        source=record.origin.source,
        domain=str(record.fields.get("domain", record.origin.stem)),
    )
