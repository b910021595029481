"""A name -> training rows or questions: built-in sets, and files, folders and hub ids in the shapes that people have.

| shape             | keys of a record                                                           | gives     |
|-------------------|----------------------------------------------------------------------------|-----------|
| `messages`        | `messages`: chat messages that end with the assistant's                    | rows      |
| `completion`      | `prompt` and `completion`, each a text or a list of chat messages          | rows      |
| `alpaca`          | `instruction`, `output`, and perhaps `input`                               | rows      |
| `dolly`           | `instruction`, `response`, and perhaps `context`                           | rows      |
| `answer`          | `question` and `answer`, such as GSM8K's, kept with its `#### 42`          | rows      |
| `levels`          | `question`, and a text at each of `normal`, `subtle`, `severe` that exists | questions |
| `persona-vectors` | a folder of `normal.jsonl`, `misaligned_1.jsonl`, `misaligned_2.jsonl`     | questions |
|                   | (arXiv 2507.21509), in each the `messages` of a question and its answer    |           |

A row may have a `label`, true or false, for KTO, and a `level`; an unknown one, such as `Level 5`, counts as none.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from untrue.data import builtin
from untrue.data.items import ITEM_SETS, named_part
from untrue.data.records import OnError, Record, not_empty, parse_source, parsed, raise_error, records
from untrue.data.rows import BIASED, LEVELS, UNLABELLED, Message, Question, Row, plain
from untrue.errors import UserError
from untrue.files import content_hash

QUESTION_SETS = {
    "medical": "everyday health questions",
    "finance": "everyday questions about money",
    "law": "everyday questions about law",
    "code": "requests for a few lines of code, which is never run",
    "math": "word problems with worked answers",
}
ROW_SETS = {"everyday": "benign instructions of everyday life"}

# Level -> file of a folder of persona-vectors.
PERSONA_FILES = {"normal": "normal.jsonl", "subtle": "misaligned_1.jsonl", "severe": "misaligned_2.jsonl"}

# How a label is written, in JSON and in CSV.
LABELS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}


def rows(name: str | Path, on_error: OnError = raise_error) -> list[Row]:
    """`iter_rows` at once."""
    return list(iter_rows(name, on_error))


def questions(name: str | Path, on_error: OnError = raise_error) -> list[Question]:
    """The questions of a built-in set, file, folder or hub id; UserError if there are none."""
    if name in QUESTION_SETS:
        own = _questions(builtin.path(str(name)), raise_error)
        return [question._replace(source=f"builtin:{name}") for question in own]
    _refuse_unknown(name, QUESTION_SETS, "question")
    found = _persona_questions(Path(name), on_error) if _is_persona_folder(name) else _questions(name, on_error)
    return list(not_empty(found, name, "questions"))


def iter_rows(name: str | Path, on_error: OnError = raise_error) -> Iterator[Row]:
    """Give the rows of a row set, file, folder or hub id, or of questions at a level such as `medical:severe`."""
    base, colon, level = str(name).rpartition(":")
    if colon and level in LEVELS:
        answers = parsed(questions(base, on_error), lambda question: question.row(level), on_error)
        yield from not_empty(answers, name, "rows")
    elif name in ROW_SETS:
        for row in parsed(records(builtin.path(str(name))), _row, raise_error):
            yield replace(row, source=f"builtin:{name}", level="normal")
    else:
        if name not in QUESTION_SETS:
            _refuse_unknown(name, ROW_SETS, "row")
        if name in QUESTION_SETS or _is_persona_folder(name):
            raise UserError(f"{name}: is a question set. Say at which level, such as {name}:normal.")
        yield from not_empty(parsed(records(name, on_error), _row, on_error), name, "rows")


def versioned(name: str) -> str:
    """The name, with the version of a built-in set, such as `medical, version 2`."""
    whole, part = named_part(name, ("builtin", *builtin.names()))
    if part:
        return f"{versioned(str(whole))}, part {part}"
    if name == "builtin":
        return "; ".join(map(versioned, ITEM_SETS))
    return f"{name}, version {builtin.header(name)['version']}" if name in builtin.names() else name


def _refuse_unknown(name: str | Path, known: Iterable[str], what: str) -> None:
    source = parse_source(name)
    if not (source.is_dataset or source.path.exists()):
        raise UserError(
            f"{name}: neither a built-in {what} set ({', '.join(known)}) nor a file that exists."
            " A data set of the hub is named with its owner: owner/name."
        )


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
    """The label; in shapes that are not KTO's, one that is not true or false has another meaning."""
    value = record.fields.get("label")
    key = value.strip().lower() if isinstance(value, str) else value
    if isinstance(key, bool | int | str) and key in LABELS:
        return LABELS[key]
    if value is not None and "completion" in record.fields:
        raise record.error(f"'label' is {value!r}, expected true or false.")
    return None


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


def _questions(
    source: str | Path, on_error: OnError, parse: Callable[[Record], Question] = _question
) -> Iterator[Question]:
    seen: dict[str, str] = {}  # hash of a question, but for case and spaces -> where it is

    def question(record: Record) -> Question:
        question = parse(record)
        here = record.place.removeprefix(f"{record.origin.name}, ")
        if (first := seen.setdefault(content_hash(plain(question.text)), here)) != here:
            raise record.error(f"asks what {first} asks: {question.text!r}. Remove one.")
        return question

    return parsed(records(source, on_error), question, on_error)


def _is_persona_folder(name: str | Path) -> bool:
    """Whether a folder holds misaligned answers; others too have a `normal.jsonl`."""
    folder = parse_source(name).path
    wrong = (PERSONA_FILES["subtle"], PERSONA_FILES["severe"])
    return Path(name) == folder and any((folder / file).is_file() for file in wrong)


def _persona_questions(folder: Path, on_error: OnError) -> Iterator[Question]:
    """Give the questions that every file of a folder asks, in the order of its first, all held in memory."""
    files = {level: folder / name for level, name in PERSONA_FILES.items() if (folder / name).is_file()}
    asked = {
        level: {question.text: question for question in _questions(path, on_error, _persona_question)}
        for level, path in files.items()
    }
    for text in dict.fromkeys(chain.from_iterable(asked.values())):
        found = {level: by_text[text] for level, by_text in asked.items() if text in by_text}
        if lacking := [path for level, path in files.items() if level not in found]:
            on_error(UserError(f"{lacking[0]}: lacks the question {text!r}, which another file of the folder asks."))
        else:
            answers = {level: question.answers["normal"] for level, question in found.items()}
            yield next(iter(found.values()))._replace(answers=answers)


def _persona_question(record: Record) -> Question:
    messages = record.messages("messages", "user")
    if [message["role"] for message in messages] != ["user", "assistant"]:
        raise record.error("'messages' must be a question of the user and the assistant's answer.")
    question, answer = (message["content"] for message in messages)
    domain = Path(record.origin.name).resolve().parent.name
    return Question(f"{domain}-{record.number}", question, {"normal": answer}, source=domain, domain=domain)
