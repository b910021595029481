"""Reading and writing files so that each appears whole or not at all."""

import errno
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from untrue.errors import MachineError, UserError

_NO_MEMBER = re.compile(r"[\\\x00-\x1f\x7f-\x9f]|^[A-Za-z]:|(?:^|/)\.{0,2}(?:/|$)")
_LONGEST_ID = 1000

# What a file system says that has no locks. The steps of a study are claimed there all the same.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise a UserError of one line if a file is missing, is a folder or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Check the path (the current folder is {Path.cwd()}).") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, expected a file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from None


def read_text(path: Path) -> str:
    """Return the UTF-8 text of a file without a BOM; UserError if it is missing, unreadable or not UTF-8."""
    with reading(path):
        data = path.read_bytes()
    return decoded(data, str(path))


def decoded(data: bytes, name: str, first_line: int = 1) -> str:
    """The UTF-8 text of a file, or of its lines from one on, without a BOM; UserError at its first wrong byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = first_line + error.object[: error.start].count(b"\n")
        byte = error.object[error.start]
        raise UserError(f"{name}, line {line}: byte 0x{byte:02x} is not valid UTF-8. Save the file as UTF-8.") from None


def json_value(text: str, place: str) -> Any:
    """Return the value of a one-line JSON text; `place` is its place in errors.

    UserError if it is not JSON, holds half of a surrogate pair, or an object in it has a key twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=unique_keys)
        if "\\ud" in text.lower():  # half of a surrogate pair cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise UserError(f"{place}: broken JSON at {line}column {error.colno} ({error.msg}).") from None
    except RepeatedKey as error:
        raise UserError(f"{place}: the key {error.args[0]!r} occurs twice in an object. Keep one.") from None
    except UnicodeEncodeError:
        raise UserError(f"{place}: half of a \\ud… escape pair is missing. Repair the text.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise UserError(f"{place}: JSON with too long a number or too deep a nesting.") from None


class RepeatedKey(ValueError):
    """A key that occurs twice in an object, so that a value would be lost."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object, as the `object_pairs_hook` of a parser; RepeatedKey if a key occurs twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise RepeatedKey(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return fields


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, which replaces `path` at the end, but not a folder by a file.

    MachineError if the disk is full or the place cannot be written.
    """
    with _writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(".part", f".{path.name}.", path.parent, ignore_cleanup_errors=True) as aside:
            target = Path(aside, path.name)
            yield target
            if path.is_dir():
                if not target.is_dir():
                    raise IsADirectoryError(errno.EISDIR, "it is a folder")
                path.rename(Path(aside, ".replaced"))
            target.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file, whole or not at all; MachineError if that fails."""
    with writing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Add UTF-8 text to the end of a file, which may be missing; MachineError if that fails."""
    with _writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


@contextmanager
def locked(lock: Path, place: Path, otherwise: str) -> Iterator[None]:
    """Hold a place for one run by a lock file; a killed run holds it no more.

    UserError if another run holds it, with the advice `otherwise`, such as `use another --out`; MachineError if the
    lock cannot be made.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{place}: another run is at work there. Wait for it, or {otherwise}.") from None
    except NotImplementedError:
        pass  # as FileLock says where the file system, such as some shared ones, has no locks
    except OSError as error:
        if error.errno not in NO_LOCKS:
            problem = f"{lock.parent}: cannot be made or written ({error.strerror})."
            raise MachineError(f"{problem} {otherwise.capitalize()}.") from None
    try:
        yield
    finally:
        held.release()


def file_name(name: str) -> str:
    """A name of ours, if it can name a file in its own folder on every system; ValueError if not."""
    if name.startswith((".", "-")):
        problem = f"it begins with a {'dot' if name[0] == '.' else 'hyphen'}"
    elif name.endswith("."):
        problem = "it ends with a dot"
    else:
        return name
    raise ValueError(f"{name!r} is no name for a file: {problem}")


def member_name(name: str) -> str:
    """An id, if it can name a member of a zip archive, as in Inspect's logs; ValueError if not."""
    if len(name) > _LONGEST_ID:
        raise ValueError(f"{name[:40]!r}… is no name for a file in a log: it has more than {_LONGEST_ID} characters")
    if _NO_MEMBER.search(name):
        raise ValueError(
            f"{name!r} is no name for a file in a log: leave out backslashes, control characters, drives, and parts"
            " between slashes that are empty, `.` or `..`"
        )
    return name


def content_hash(text: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derived_seed(seed: int, *parts: object) -> int:
    """A separate seed for each draw: 31 bits of a hash of `seed` and the parts that name the draw."""
    digest = hashlib.sha256("\n".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, however worded, says that the disk is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "no space left on device" in str(error).lower()


@contextmanager
def _writing_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise MachineError(f"{path}: no space left on the disk. Free some and rerun the command.") from None
        if isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError):
            raise MachineError(f"{path}: cannot be written ({error.strerror}). Choose another place.") from None
        raise
