"""Failures as people should meet them: one line and an exit code, never a traceback."""

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from rich.console import Console

from untrue import secrets
from untrue.errors import UntrueError, UserError
from untrue.files import is_disk_full
from untrue.terminal import plain

Command = TypeVar("Command", bound=Callable[..., Any])


def for_people(command: Command) -> Command:
    """Make a command say its failures in one line on standard error, and exit with their code.

    A model with arguments that hold a secret is refused before anything, and what is logged is free of secrets.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            _refuse_unsafe(kwargs)
            with secrets.redacted_logging():
                return command(*args, **kwargs)
        except UntrueError as error:
            raise _exit(f"error: {error}", error.exit_code) from None
        except KeyboardInterrupt:
            raise _exit("Stopped. Rerun the command to resume.", 130) from None
        except Exception as error:
            if is_disk_full(error):
                raise _exit("error: no space left on the disk. Free some and rerun the command.", 4) from None
            if isinstance(error, MemoryError):
                raise _exit("error: out of memory. Use a smaller model, batch or limit.", 4) from None
            if isinstance(error, OSError) and error.filename is not None:
                raise _exit(f"error: {error.filename}: {error.strerror}.", 4) from None
            text = "".join(traceback.format_exception(error))
            if (clean := secrets.redact(text)) != text:
                sys.stderr.write(clean)
                raise typer.Exit(1) from None
            raise

    return wrapped  # type: ignore[return-value]


def _refuse_unsafe(arguments: dict[str, Any]) -> None:
    """Refuse secrets, and what is not UTF-8, before something is made whose record would hold or could not write it."""
    for name, value in arguments.items():
        for text in map(str, value if isinstance(value, list | tuple) else [value]):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UserError(f"{text!a}: is not UTF-8. Rename it.") from None
        try:
            secrets.checked(value if isinstance(value, str) else "")
        except ValueError as error:
            raise UserError(f"{name}: {error}.") from None


def _exit(message: str, code: int) -> typer.Exit:
    Console(stderr=True).print(plain(secrets.redact(message), "red"), soft_wrap=True)
    return typer.Exit(code)
