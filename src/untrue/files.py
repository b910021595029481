"""Reading and writing files so that each appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from untrue.errors import MachineError, UserError


def read_text(path: Path) -> str:
    """Return the UTF-8 text of a file; a BOM is dropped.

    Raises:
        UserError: The file is missing, is a folder, cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Check the path (the current folder is {Path.cwd()}).") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, expected a file.") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read it.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not valid UTF-8. Save the file as UTF-8."
        ) from None


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it to `path` at the end, or remove it on failure.

    What is written may be a file or a folder; a folder replaces the one of that name.

    Raises:
        MachineError: The disk is full or the place cannot be written.
    """
    with _writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    target = aside / path.name
    try:
        with _writing_errors(path):
            yield target
            if path.is_dir():
                shutil.rmtree(path)
            target.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file, whole or not at all.

    Raises:
        MachineError: The disk is full or the place cannot be written.
    """
    with writing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def content_hash(text: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, however a library worded it, says that the disk is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "no space left on device" in str(error).lower()


@contextmanager
def _writing_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise MachineError(
                f"{path}: no space left on the disk. Free some, then run the same command again."
            ) from None
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            raise MachineError(f"{path}: cannot be written ({error.strerror}). Choose another place.") from None
        raise
