"""A file, a folder or a hub id -> its records, one at a time, each knowing its place.

| source                                                 | how it is read           | place of a record |
|--------------------------------------------------------|--------------------------|-------------------|
| `*.parquet`                                            | in batches, by pyarrow   | row               |
| `*.csv`, with a header                                 | row by row               | row               |
| any other file, with a JSON array                      | whole                    | entry             |
| any other file                                         | line by line: JSON Lines | line              |
| a folder in the hub's format, or a hub id `owner/name` | streamed, by datasets    | row               |

A configuration and a split may follow a hub id, and options a question mark:

    openai/gsm8k@main:test?revision=e53f048
    pairs.csv?columns.neutral_system_prompt=calm&columns.user_prompt=question

`columns.FIELD=COLUMN` reads COLUMN as FIELD (`&` is written as `%26`, `%` as `%25`); `revision` is a branch, tag or
commit. A null value or an empty CSV cell counts as absent. The header of a built-in set is no record.
"""

import csv
import os.path
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from untrue.data import builtin
from untrue.data.rows import Message
from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.files import decoded, is_disk_full, json_value, read_text, reading


def is_unreached(error: BaseException) -> bool:
    """Whether an error, or a cause of it, says that the hub is unreachable or in trouble."""
    from huggingface_hub.errors import HfHubHTTPError

    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or any(base.__name__ == "TransportError" for base in type(cause).__mro__)  # httpx, or httpx2 in newer hubs
        or (isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500)
        for cause in chain
    )


# Unlike pathlib's, False for a name that is too long, as many options are.
_exists, _is_dir = os.path.exists, os.path.isdir

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
V = TypeVar("V")

# Called with the error of a wrong record, which is skipped unless this raises.
OnError = Callable[[UserError], object]

OPTIONS_MARK = re.compile(r"(?<!^)\?(?=[\w.]+=)")
DATASET = re.compile(r"(?P<base>[^@:]+)(?:@(?P<config>[\w./-]+))?(?::(?P<split>[\w.-]+))?")
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".xlsx", ".parquet")

# A named column must occur in these, so that a wrong name is reported before anything else.
HEAD_RECORDS = 1000
# Without a limit, a quote that is never closed would be read on to the end of the file.
LONGEST_CELL_CHARACTERS = 1 << 24


class ParsedSource(NamedTuple):
    """A source by its parts: `base` is the file, folder or hub id."""

    name: str  # all before the options
    base: str
    options: str = ""  # as written, with the question mark
    columns: Mapping[str, str] = {}  # field -> the column that holds it
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    is_dataset: bool = False  # a folder, or of the form of a hub id; else a file, which need not exist

    def __str__(self) -> str:
        """The source without its columns."""
        return f"{self.name}?revision={self.revision}" if self.revision else self.name

    @property
    def path(self) -> Path:
        """The file or folder, if it is one."""
        return Path(self.base)


def parse_source(source: str | Path) -> ParsedSource:
    """Part a source. An existing file's name has no options."""
    text = str(source)
    mark = None if _exists(text) else OPTIONS_MARK.search(text)
    end = mark.start() if mark else len(text)
    parts = _part_name(text[:end])
    columns: dict[str, str] = {}
    revision = None
    for option in text[end + 1 :].split("&") if mark else ():
        key, _, value = option.partition("=")
        field = key.removeprefix("columns.")
        if key == "revision" and value and not revision:
            revision = value
        elif key != field and field and value and field not in columns:
            columns[field] = unquote(value)
        else:
            raise UserError(
                f"{text}: {option!r} is no option of a source, or is given twice. Expected columns.FIELD=COLUMN or"
                " revision=NAME, with & between several."
            )
    if revision and (not parts.is_dataset or parts.path.is_dir()):
        raise UserError(f"{text}: is no data set of the hub, so it has no revisions. Leave revision out.")
    return parts._replace(options=text[end:], columns=columns, revision=revision)


def _part_name(name: str) -> ParsedSource:
    match = DATASET.fullmatch(name)
    if match and not _exists(name):
        base, config, split = match.groups()
        if _is_dir(base) or (HUB_ID.fullmatch(base) and not base.lower().endswith(FILE_SUFFIXES)):
            return ParsedSource(name, base, config=config, split=split, is_dataset=True)
    return ParsedSource(name, name, is_dataset=_is_dir(name))


def raise_error(error: UserError) -> None:
    """Stop at a wrong record; `errors.append` or the like skips it."""
    raise error


class Origin(NamedTuple):
    """Where a record comes from: its name in errors, its name in rows, and its short name."""

    name: str
    source: str
    stem: str


class Record(NamedTuple):
    """One object of a source, with getters whose errors name its place; `number` counts from 1."""

    origin: Origin
    number: int
    place: str
    fields: dict[str, Any]

    def error(self, message: str) -> UserError:
        """An error at this record."""
        return UserError(f"{self.place}: {message}")

    def keys(self) -> str:
        """The keys that exist, for errors."""
        return ", ".join(map(repr, self.fields)) or "none"

    def identity(self) -> str:
        """Its own id, or one made of its origin and number."""
        return str(self.fields.get("id", f"{self.origin.stem}-{self.number}"))

    def text(self, key: str, *, empty: bool = False) -> str:
        """The text under a key; with `empty` it may be blank or absent."""
        if key not in self.fields:
            if empty:
                return ""
            raise self.error(f"the key {key!r} is missing (keys found: {self.keys()}).")
        value = self.fields[key]
        if not isinstance(value, str):
            raise self.error(f"{key!r} is {type(value).__name__}, expected text.")
        if not value.strip() and not empty:
            raise self.error(f"{key!r} is empty. Fill it in or remove the line.")
        return value

    def messages(self, key: str, role: str) -> list[Message]:
        """Chat messages under a key; a plain text is one message of `role`."""
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

    def parse(self, model: type[M], **extra: Any) -> M:
        """The record as a pydantic model; `extra` adds or replaces fields. An id may be a number."""
        fields = {**self.fields, **extra}
        if "id" in fields:
            fields["id"] = str(fields["id"])
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            problem = first["msg"].lower().removeprefix("value error, ")
            if first["type"] == "missing":
                problem += (
                    f" (keys found: {self.keys()}). A column has another name? FILE?columns.{first['loc'][0]}=COLUMN"
                )
            raise self.error(": ".join(filter(None, [".".join(map(str, first["loc"])), f"{problem}."]))) from None


def parsed(values: Iterable[V], parse: Callable[[V], T], on_error: OnError) -> Iterator[T]:
    """Parse each value; `on_error` gets the errors."""
    for value in values:
        try:
            result = parse(value)
        except UserError as error:
            on_error(error)
        else:
            yield result


def not_empty(values: Iterable[T], source: str | Path, what: str) -> Iterator[T]:
    """Give values on; UserError with the plural `what` if there are none."""
    empty = True
    for value in values:
        empty = False
        yield value
    if empty:
        hint = " Expected JSON Lines, one object a line." if str(source).endswith(".jsonl") else ""
        raise UserError(f"{source}: has no {what}.{hint}")


def records(source: str | Path, on_error: OnError = raise_error, header: bool = False) -> Iterator[Record]:
    """Give the records of a source, without the first if it is a `header`.

    `on_error` gets the error of each unreadable record. What spoils the rest is raised: a UserError, also for a column
    that no record has, or a MachineError if the hub cannot be reached.
    """
    parts = parse_source(source)
    records = (
        record
        for place, record in enumerate(_records(parts, on_error))
        if place or not (header or builtin.is_header(record.fields))
    )
    yield from _renamed(parts, records) if parts.columns else records


def _renamed(source: ParsedSource, records: Iterator[Record]) -> Iterator[Record]:
    """The records with the source's columns renamed to fields."""
    columns = source.columns
    head = list(islice(records, HEAD_RECORDS))
    keys = dict.fromkeys(key for record in head for key in record.fields)
    missing = [field for field, column in columns.items() if column not in keys]
    if keys and missing:
        raise UserError(
            f"{source.name}: none of the first {len(head)} records has the column {columns[missing[0]]!r}, named for"
            f" {missing[0]!r} (columns found: {', '.join(map(repr, keys))})."
        )
    taken = columns.keys() | columns.values()
    for record in chain(head, records):
        fields = {field: record.fields[column] for field, column in columns.items() if column in record.fields}
        yield record._replace(fields=fields | {key: cell for key, cell in record.fields.items() if key not in taken})


def _records(source: ParsedSource, on_error: OnError) -> Iterator[Record]:
    path = source.path
    if source.is_dataset:
        yield from _dataset(source)
        return
    suffix = path.suffix.lower()
    with reading(path), path.open("rb") as file:
        origin = Origin(str(path), path.name, path.stem)
        if suffix == ".xlsx":
            raise UserError(f"{path}: spreadsheets are not read. Save the sheet as CSV.")
        elif suffix == ".parquet":
            yield from _parquet(origin, file)
        elif suffix == ".csv":
            yield from _csv(origin, file, on_error)
        elif file.peek().removeprefix(BOM_UTF8).lstrip().startswith(b"["):
            entries = enumerate(json_value(read_text(path), origin.name), 1)
            yield from parsed(entries, lambda entry: _record(origin, entry[0], "entry", entry[1]), on_error)
        else:
            yield from json_lines(origin, file, on_error)


def _dataset(source: ParsedSource) -> Iterator[Record]:
    """Give the records of a hub id or folder, streamed; the default split is `train` or the only one.

    MachineError if the hub cannot be reached; a UserError is one line in the library's own words.
    """
    name, folder = str(source), source.path
    stem = folder.resolve().name if folder.is_dir() else folder.name
    origin = Origin(name, stem if folder.is_dir() else name, stem)
    try:
        rows = _load(source)
        if source.split is None:
            chosen = "train" if "train" in rows else next(iter(rows))
            if chosen != "train" and len(rows) > 1:
                raise UserError(f"{name}: has the splits {', '.join(rows)}. Add one to its name, such as :{chosen}.")
            rows = rows[chosen]
        for number, cells in enumerate(rows, 1):
            yield _record(origin, number, "row", cells)
    except (UntrueError, MemoryError):
        raise
    except Exception as error:  # datasets raises what its many parts raise
        if is_disk_full(error):
            raise
        if is_unreached(error) and not folder.is_dir():
            raise MachineError(
                f"{name}: no file or folder here, and the hub could not be reached. Check the name and the network."
            ) from None
        raise UserError(f"{name}: cannot be read as a data set ({one_line(error)}).") from None


def _load(source: ParsedSource) -> Any:
    from datasets import load_dataset
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # the hub's warnings of its retries
    try:
        return load_dataset(source.base, source.config, split=source.split, revision=source.revision, streaming=True)
    finally:
        logging.set_verbosity(level)


def json_lines(origin: Origin, file: BinaryIO, on_error: OnError) -> Iterator[Record]:
    """Give the records of a JSON Lines file, the header too."""
    for number, line in enumerate(file, 1):
        try:
            text = decoded(line, origin.name, number).removesuffix("\n")
            if text.strip():
                yield _record(origin, number, "line", json_value(text, f"{origin.name}, line {number}"))
        except UserError as error:
            on_error(error)


def _csv(origin: Origin, file: BinaryIO, on_error: OnError) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL_CHARACTERS))
    lines = (decoded(line, origin.name, number) for number, line in enumerate(file, 1))
    reader, number = csv.DictReader(lines, strict=True), 0
    try:
        _refuse_repeated_columns(origin, reader.fieldnames or ())
        for number, cells in enumerate(reader, 1):
            if None in cells:
                problem = "has more cells than the header names. Quote the commas in its texts."
                on_error(UserError(f"{origin.name}, row {number}: {problem}"))
            else:
                yield _record(origin, number, "row", {key: cell or None for key, cell in cells.items()})
    except csv.Error as error:
        raise UserError(f"{origin.name}, row {number + 1}: broken CSV ({error}).") from None


def _parquet(origin: Origin, file: BinaryIO) -> Iterator[Record]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(file)
        _refuse_repeated_columns(origin, table.schema_arrow.names)
        rows = (cells for batch in table.iter_batches(1024) for cells in batch.to_pylist())
        for number, cells in enumerate(rows, 1):
            yield _record(origin, number, "row", cells)
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{origin.name}: cannot be read as parquet ({one_line(error)}).") from None


def _refuse_repeated_columns(origin: Origin, names: Iterable[str]) -> None:
    """Refuse a repeated column, which would lose one of two cells."""
    if repeated := [name for name, count in Counter(names).items() if name and count > 1]:
        raise UserError(f"{origin.name}, header: the column {repeated[0]!r} occurs twice. Keep one, or rename it.")


def _record(origin: Origin, number: int, kind: str, value: Any) -> Record:
    place = f"{origin.name}, {kind} {number}"
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, found {type(value).__name__}.")
    return Record(origin, number, place, {key: cell for key, cell in value.items() if cell is not None})
