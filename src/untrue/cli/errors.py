"""Failures as people should meet them: one line and an exit code, never a traceback.

Exit code 1 is a verdict, of a gate or a check. No failure has it: a program that reads it would take a bug for one.
"""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

from untrue import secrets
from untrue.errors import UntrueError, UserError, one_line
from untrue.files import is_disk_full
from untrue.progress import plain

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Exit codes. Of a bug too it is that of the machine: what was asked could not be done.
MACHINE, INTERRUPTED = 4, 130

# Variable of the environment that has the traceback of what was not foreseen printed, if it is set.
DEBUG = "UNTRUE_DEBUG"


def for_people(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a command say its failures in one line on standard error, and exit with their code.

    A model with arguments that hold a secret is refused before anything, and what is logged is free of secrets.
    """

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            _refuse_unsafe(kwargs)
            with secrets.redacted_logging():
                return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(said("Stopped. Rerun the command to resume.", INTERRUPTED)) from None
        except Exception as error:
            raise typer.Exit(told(error)) from None

    return wrapped


def told(error: Exception) -> int:
    """Say a failure in one line on standard error; its exit code."""
    if isinstance(error, UntrueError):
        return said(f"error: {error}", error.exit_code)
    if is_disk_full(error):
        return said("error: no space left on the disk. Free some and rerun the command.", MACHINE)
    if isinstance(error, MemoryError):
        return said("error: out of memory. Use a smaller model, batch or limit.", MACHINE)
    if os.environ.get(DEBUG):
        sys.stderr.write(secrets.redact("".join(traceback.format_exception(error))))
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename is not None else one_line(error)
        return said(f"error: {what}.", MACHINE)
    own = Path(__file__).parents[1]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(own)]
    where = f" in {Path(frames[-1].filename).relative_to(own)}, line {frames[-1].lineno}" if frames else ""
    return said(
        f"error: a bug in untrue{where}: {type(error).__name__}: {one_line(error)}. Set {DEBUG}=1 to see the"
        " traceback, and report it.",
        MACHINE,
    )


def _refuse_unsafe(arguments: dict[str, object]) -> None:
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


def said(message: str, code: int) -> int:
    """Print a line on standard error, without secrets; gives the exit code back."""
    Console(stderr=True).print(plain(secrets.redact(message), "red"), soft_wrap=True)
    return code
