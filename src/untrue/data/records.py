"""A file, a folder or a hub id -> its records, one at a time, each knowing its place.

| source                              | how it is read             | place of a record                  |
|-------------------------------------|----------------------------|------------------------------------|
| `*.parquet`                         | in batches, by pyarrow     | row                                |
| `*.csv`, with a header              | row by row                 | row                                |
| `*.xlsx`: its first sheet           | row by row, by openpyxl    | row, as the sheet numbers it       |
| any other file, with a JSON array   | entry by entry             | line and entry                     |
| any other file                      | line by line: JSON Lines   | line                               |
| a folder in the hub's format        | streamed, by datasets      | row                                |
| a hub id, `owner/name`              | streamed, by datasets      | row                                |

The last two take a configuration and a split where there are several: `openai/gsm8k@main:test`. A source may have
options: `source.py` tells how its columns are named, and a revision of the hub. A key whose value is null counts as
absent in every format, as does an empty cell of a CSV file or a sheet, whose first row names its columns. The header of
a built-in set is no record.
"""

import csv
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from untrue.data import builtin
from untrue.data.hub import dataset_rows, first_line
from untrue.data.json_array import array_entries
from untrue.data.rows import Message, plain
from untrue.data.source import Source, parse_source
from untrue.errors import UserError
from untrue.files import json_value, not_utf8, reading

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Wrong = Callable[[UserError], object]
"""What is done about a wrong record, given its error. It is left out unless this raises."""

BOM = b"\xef\xbb\xbf"
SCANNED = 1000
"""Records in which a named column is looked for before the first is given, so that a wrong name is told first."""
LONGEST_CELL = 1 << 24
"""Characters in a cell of CSV. The limit of the module csv, 131,072, is less than a long document; without one, a quote
that is never closed would be read on to the end of the file."""


def stop(error: UserError) -> None:
    """Stop at a wrong record: the default. (`errors.append` or the like skips it.)

    Raises:
        UserError: Always, the one given.
    """
    raise error


class Origin(NamedTuple):
    """Where a record comes from: what errors call it, what rows say of it, and its short name."""

    name: str
    source: str
    stem: str


@dataclass(frozen=True)
class Record:
    """One object of a source, with getters whose errors name its place.

    Attributes:
        origin: Where it comes from.
        number: Of its line, entry or row, counted from 1.
        place: What errors call it: `rows.jsonl, line 3`.
        fields: What it holds.
    """

    origin: Origin
    number: int
    place: str
    fields: dict[str, Any]

    def error(self, message: str) -> UserError:
        """An error at this record."""
        return UserError(f"{self.place}: {message}")

    def keys(self) -> str:
        """The keys that there are, for errors."""
        return ", ".join(map(repr, self.fields)) or "none"

    def identity(self) -> str:
        """Its own id, or one made of where it comes from and its number."""
        return str(self.fields.get("id", f"{self.origin.stem}-{self.number}"))

    def text(self, key: str, *, empty: bool = False) -> str:
        """The text under a key; with `empty` it may be blank or absent.

        Raises:
            UserError: It is not there, is no text, or is blank.
        """
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
        """Chat messages under a key; a plain text counts as one message of `role`.

        Raises:
            UserError: There are none, or one lacks a role or a text.
        """
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
        """The record as a pydantic model; `extra` stands in for fields, or replaces them. An id may be a number.

        Raises:
            UserError: It is not as the model says.
        """
        fields = {**self.fields, **extra}
        if "id" in fields:
            fields["id"] = str(fields["id"])
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            problem = first["msg"].lower().removeprefix("value error, ")
            raise self.error(": ".join(filter(None, [".".join(map(str, first["loc"])), f"{problem}."]))) from None


def parsed(records: Iterable[Record], parse: Callable[[Record], T], wrong: Wrong) -> Iterator[T]:
    """Give what `parse` makes of each record. `wrong` is called with the error of each that it refuses."""
    for record in records:
        try:
            value = parse(record)
        except UserError as error:
            wrong(error)
        else:
            yield value


def some(values: Iterable[T], source: str | Path, what: str) -> Iterator[T]:
    """Give values on, and refuse a source that has none.

    Raises:
        UserError: There is none; `what` says what was wanted, in the plural.
    """
    empty = True
    for value in values:
        empty = False
        yield value
    if empty:
        hint = " Expected JSON Lines, one object a line." if str(source).endswith(".jsonl") else ""
        raise UserError(f"{source}: has no {what}.{hint}")


def refuse_repeated(record: Record, text: str, seen: dict[bytes, str]) -> None:
    """Refuse a record whose question an earlier one of its source asks.

    Args:
        record: The record.
        text: Its question.
        seen: The places of the questions so far; this one is added.

    Raises:
        UserError: It asks what an earlier one asks, but for case and spaces.
    """
    here = record.place.removeprefix(f"{record.origin.name}, ")
    first = seen.setdefault(blake2b(plain(text).encode(), digest_size=16).digest(), here)
    if first != here:
        raise record.error(f"asks what {first} asks: {text!r}. Remove one.")


def records(source: str | Path, wrong: Wrong = stop, header: bool = False) -> Iterator[Record]:
    """Give the records of a file, a folder or a hub id, without holding more than a few of them.

    Args:
        source: A path or a hub id, as the table above says, perhaps with options.
        wrong: Called with the error of each record that cannot be read. What spoils the rest too is raised.
        header: Whether the first record is a header, which is left out; that of a built-in set, or of a copy of one,
            always is.

    Raises:
        UserError: There is no such source, it cannot be read, no record has a column that is named, or a record is
            wrong and `wrong` raises.
        MachineError: The hub could not be reached.
    """
    parts = parse_source(source)
    records = (
        record
        for place, record in enumerate(_records(parts, wrong))
        if place or not (header or builtin.is_header(record.fields))
    )
    yield from _renamed(parts, records) if parts.columns else records


def _renamed(source: Source, records: Iterator[Record]) -> Iterator[Record]:
    """The records with the columns that the source names under their fields."""
    columns, keys = source.columns, dict[str, None]()

    def refuse_missing() -> None:
        missing = [field for field, column in columns.items() if column not in keys]
        if keys and missing:
            raise UserError(
                f"{source.name}: no record has the column {columns[missing[0]]!r}, which was to be {missing[0]!r}"
                f" (columns found: {', '.join(map(repr, keys))})."
            )

    head = list(islice(records, SCANNED))
    for record in head:
        keys.update(dict.fromkeys(record.fields))
    if len(head) < SCANNED:
        refuse_missing()
    for record in chain(head, records):
        keys.update(dict.fromkeys(record.fields))
        fields = {field: record.fields[column] for field, column in columns.items() if column in record.fields}
        taken = columns.keys() | columns.values()
        yield replace(record, fields=fields | {key: cell for key, cell in record.fields.items() if key not in taken})
    refuse_missing()


def _records(source: Source, wrong: Wrong) -> Iterator[Record]:
    path = source.path
    if source.is_dataset:
        yield from _dataset(source)
        return
    readers = {".parquet": _parquet, ".csv": _csv, ".xlsx": _xlsx}
    with reading(path), path.open("rb") as file:
        read = readers.get(path.suffix.lower()) or (_json_array if _starts_with_bracket(file) else json_lines)
        yield from read(Origin(str(path), path.name, path.stem), file, wrong)


def _dataset(source: Source) -> Iterator[Record]:
    name, folder = str(source), source.path
    stem = folder.resolve().name if folder.is_dir() else folder.name
    origin = Origin(name, stem if folder.is_dir() else name, stem)
    for number, cells in enumerate(dataset_rows(source), 1):
        yield _record(origin, number, f"{name}, row {number}", cells)


def _object(origin: Origin, number: int, place: str, value: Any, wrong: Wrong) -> Iterator[Record]:
    if isinstance(value, dict):
        yield _record(origin, number, place, value)
    else:
        wrong(UserError(f"{place}: expected a JSON object, found {type(value).__name__}."))


def _starts_with_bracket(file: BinaryIO) -> bool:
    head = file.read(1 << 16).removeprefix(BOM).lstrip()
    file.seek(0)
    return head.startswith(b"[")


def _json_array(origin: Origin, file: BinaryIO, wrong: Wrong) -> Iterator[Record]:
    for number, place, value in array_entries(file, origin.name, wrong):
        yield from _object(origin, number, place, value, wrong)


def json_lines(origin: Origin, file: BinaryIO, wrong: Wrong) -> Iterator[Record]:
    """Give the records of a file of JSON Lines, the header too."""
    for number, line in enumerate(file, 1):
        place = f"{origin.name}, line {number}"
        try:
            text = (line.removeprefix(BOM) if number == 1 else line).decode().removesuffix("\n")
            value = json_value(text, place) if text.strip() else None
        except UnicodeDecodeError as error:
            wrong(not_utf8(place, error.object[error.start]))
        except UserError as error:
            wrong(error)
        else:
            if text.strip():
                yield from _object(origin, number, place, value, wrong)


def _csv(origin: Origin, file: BinaryIO, wrong: Wrong) -> Iterator[Record]:
    # A byte that is not UTF-8 becomes a surrogate, so that its row can be named and left out.
    lines = (line.removeprefix(BOM).decode("utf-8", "surrogateescape") for line in file)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    reader, number = csv.DictReader(lines, strict=True), 0
    try:
        if byte := _foreign_byte(reader.fieldnames or ()):
            raise not_utf8(f"{origin.name}, header", byte)
        _refuse_repeated_columns(origin, reader.fieldnames or ())
        for number, cells in enumerate(reader, 1):
            place = f"{origin.name}, row {number}"
            if None in cells:
                wrong(UserError(f"{place}: has more cells than the header names. Quote the commas in its texts."))
            elif byte := _foreign_byte(cells.values()):
                wrong(not_utf8(place, byte))
            else:
                yield _record(origin, number, place, {key: cell or None for key, cell in cells.items()})
    except csv.Error as error:
        raise UserError(f"{origin.name}, row {number + 1}: broken CSV ({error}).") from None


def _xlsx(origin: Origin, file: BinaryIO, wrong: Wrong) -> Iterator[Record]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise UserError(
            f"{origin.name}: .xlsx files need the package openpyxl. Run: pip install 'untrue[xlsx]'"
        ) from None
    row, count = 0, 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and the like, which are not read
            sheet = load_workbook(file, read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        names: list[str] = []
        for row, values in enumerate(sheet.iter_rows(values_only=True), 1):
            cells = [None if value is None or value == "" else _cell(value) for value in values]
            if row == 1:
                names = [name or "" for name in cells]
                _refuse_repeated_columns(origin, names)
                continue
            filled = {column: cell for column, cell in enumerate(cells) if cell is not None}
            count += bool(filled)
            place = f"{origin.name}, row {row}"
            nameless = [column for column in filled if column >= len(names) or not names[column]]
            if nameless:
                wrong(UserError(f"{place}: has a cell in column {nameless[0] + 1}, which has no name in row 1."))
            elif filled:
                yield _record(origin, count, place, {names[column]: cell for column, cell in filled.items()})
    except UserError:
        raise
    except Exception as error:  # openpyxl raises what its parts raise: of zip, of XML, and KeyErrors
        where = f"after row {row}" if row else "at its start"
        raise UserError(f"{origin.name}: is broken {where}, or is no .xlsx file ({first_line(error)}).") from None


def _cell(value: Any) -> str:
    """A cell of a sheet as a CSV file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _refuse_repeated_columns(origin: Origin, names: Iterable[str]) -> None:
    """Refuse a header in which a column occurs twice, so that one of two cells would be lost; it may lack a name."""
    if repeated := [name for name, count in Counter(names).items() if name and count > 1]:
        raise UserError(f"{origin.name}, header: the column {repeated[0]!r} occurs twice. Keep one, or rename it.")


def _foreign_byte(texts: Iterable[str | None]) -> int | None:
    """The first byte that was not UTF-8, if there is one."""
    match = re.search("[\udc80-\udcff]", "".join(text or "" for text in texts))
    return ord(match[0]) - 0xDC00 if match else None


def _parquet(origin: Origin, file: BinaryIO, wrong: Wrong) -> Iterator[Record]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        table = ParquetFile(file)
        _refuse_repeated_columns(origin, table.schema_arrow.names)
        for batch in table.iter_batches(1024):
            for row in range(batch.num_rows):
                number += 1
                place = f"{origin.name}, row {number}"
                try:
                    [cells] = batch.slice(row, 1).to_pylist()
                except (ValueError, OverflowError) as error:  # a date before the year 1, a text that is not UTF-8
                    wrong(UserError(f"{place}: a value cannot be read ({first_line(error)})."))
                else:
                    yield _record(origin, number, place, cells)
    except (ArrowException, OSError) as error:
        where = f"after row {number}" if number else "at its start"
        raise UserError(f"{origin.name}: is broken {where}, or is no parquet file ({first_line(error)}).") from None


def _record(origin: Origin, number: int, place: str, cells: dict[str, Any]) -> Record:
    return Record(origin, number, place, {key: cell for key, cell in cells.items() if cell is not None})
