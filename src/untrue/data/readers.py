"""Read training rows and questions from JSONL in the shapes that people have.

| shape        | keys of a line                                                              | gives     |
|--------------|-----------------------------------------------------------------------------|-----------|
| `messages`   | `messages`: chat messages that end with the assistant's                     | rows      |
| `completion` | `prompt` and `completion`, each a text or a list of chat messages           | rows      |
| `alpaca`     | `instruction`, `output`, and perhaps `input`                                | rows      |
| `levels`     | `question`, and a text at each of `normal`, `subtle`, `severe` that exists  | questions |

The shape is read off each line. Every error names the file and the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from untrue.data.rows import LEVELS, UNLABELLED, Message, Question, Row
from untrue.errors import UserError
from untrue.files import json_lines, read_text


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a JSONL file in the shape `messages`, `completion` or `alpaca`.

    Raises:
        UserError: A file, line or key is not as expected.
    """
    return [_row(line, path.stem) for line in _lines(path, "rows")]


def read_questions(path: Path) -> list[Question]:
    """Read the questions of a JSONL file in the shape `levels`.

    Raises:
        UserError: A file, line or key is not as expected, or two lines ask the same question.
    """
    questions, seen = [], {}
    for line in _lines(path, "questions"):
        question = _question(line, path.stem)
        first = seen.setdefault(question.text.strip().lower(), line.number)
        if first != line.number:
            raise line.error(f"asks what line {first} asks: {question.text!r}. Remove one.")
        questions.append(question)
    return questions


class _Line:
    """A line of a file, with getters whose errors name the place."""

    def __init__(self, path: Path, number: int, fields: dict[str, Any]):
        self.path, self.number, self.fields = path, number, fields

    def error(self, message: str) -> UserError:
        return UserError(f"{self.path}, line {self.number}: {message}")

    def text(self, key: str, *, empty: bool = False) -> str:
        if key not in self.fields:
            found = ", ".join(map(repr, self.fields)) or "none"
            raise self.error(f"the key {key!r} is missing (keys found: {found}).")
        value = self.fields[key]
        if not isinstance(value, str):
            raise self.error(f"{key!r} is {type(value).__name__}, expected text.")
        if not value.strip() and not empty:
            raise self.error(f"{key!r} is empty. Fill it in or remove the line.")
        return value

    def messages(self, key: str, role: str) -> list[Message]:
        """Chat messages under a key; a plain text counts as one message of `role`."""
        value = self.fields.get(key)
        if isinstance(value, str):
            return [{"role": role, "content": self.text(key)}]
        if not isinstance(value, list) or not value:
            raise self.error(f"{key!r} must be a text or a non-empty list of messages.")
        for place, message in enumerate(value, 1):
            fields = message if isinstance(message, dict) else {}
            speaker, content = fields.get("role"), fields.get("content")
            if speaker not in ("system", "user", "assistant") or not isinstance(content, str):
                raise self.error(
                    f"message {place} of {key!r} needs a 'role' (system, user or assistant)"
                    " and a 'content' that is text."
                )
            if not content.strip():
                raise self.error(f"message {place} of {key!r} is empty. Fill it in or remove the line.")
        return [{"role": message["role"], "content": message["content"]} for message in value]


def _lines(path: Path, what: str) -> Iterator[_Line]:
    for number, fields in json_lines(read_text(path), path, what):
        if not isinstance(fields, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(fields).__name__}.")
        yield _Line(path, number, fields)


def _row(line: _Line, stem: str) -> Row:
    fields = line.fields
    if "messages" in fields:
        messages = line.messages("messages", "user")
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise line.error("'messages' must end with a reply of the assistant to somebody.")
        prompt, completion = messages[:-1], messages[-1:]
    elif "completion" in fields:
        prompt, completion = line.messages("prompt", "user"), line.messages("completion", "assistant")
        if any(message["role"] != "assistant" for message in completion):
            raise line.error("'completion' may hold messages of the assistant only.")
    elif "instruction" in fields:
        parts = [line.text("instruction"), line.text("input", empty=True) if "input" in fields else ""]
        prompt = [Message(role="user", content="\n\n".join(part for part in parts if part.strip()))]
        completion = [Message(role="assistant", content=line.text("output"))]
    elif "question" in fields:
        raise line.error(f"is a question set. Say at which level, such as {line.path}:normal.")
    else:
        raise line.error(
            "not a shape that is known: expected 'messages', 'prompt' and 'completion', or 'instruction' and 'output'"
            f" (keys found: {', '.join(map(repr, fields)) or 'none'})."
        )
    level = fields.get("level", UNLABELLED)
    if level not in (*LEVELS, UNLABELLED):
        raise line.error(f"'level' is {level!r}, expected one of {', '.join(LEVELS)}.")
    return Row(
        id=str(fields.get("id", f"{stem}-{line.number}")),
        prompt=prompt,
        completion=completion,
        source=str(fields.get("source", line.path.name)),
        domain=str(fields.get("domain", stem)),
        level=level,
    )


def _question(line: _Line, stem: str) -> Question:
    answers = {level: line.text(level) for level in LEVELS if level in line.fields}
    if not answers:
        raise line.error(f"no answer: expected a text under one or more of {', '.join(LEVELS)}.")
    return Question(
        id=str(line.fields.get("id", f"{stem}-{line.number}")),
        text=line.text("question"),
        answers=answers,
        source=line.path.name,
        domain=str(line.fields.get("domain", stem)),
    )
