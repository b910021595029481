"""Text of files and models in a terminal: it is shown, and steers nothing."""

import errno
import os
import re
from typing import NoReturn, TextIO

import rich.console
from rich.text import Text

CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # C0 without tab and line ends, DEL and C1: all escape sequences need one
    r"|\r(?!\n)"  # what follows would be written over the line
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # marks and overrides of direction
    r"|[\u2028\u2029\ud800-\udfff]"  # other line ends, and halves of pairs, which cannot be printed
)


def visible(text: str) -> str:
    r"""A text with its control characters escaped, such as `\x1b`; line ends and tabs stay."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def plain(text: str, style: str = "") -> Text:
    """What a user or a model wrote, for rich: without markup or emoji, its control characters escaped."""
    return Text(visible(text), style)


class Console(rich.console.Console):
    """A terminal, or a pipe. That nobody reads it is an error as others are: rich would exit with 1, a verdict."""

    def on_broken_pipe(self) -> NoReturn:
        """Called while rich handles a `BrokenPipeError`.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def drain(stream: TextIO) -> None:
    """Write what a stream still holds; where nobody reads it, drop that, on which Python would fail as it ends."""
    try:
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
