"""Text of files and models in a terminal: it is shown, and steers nothing."""

import io
import re
from typing import Any

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


class _Pipe(io.FileIO):
    """Drops what nobody reads, on which Python would fail, and what is left after a failure, such as of a full disk."""

    _has_failed = False

    def write(self, data: Any, /) -> int | None:
        if self._has_failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
        except OSError:
            self._has_failed = True
            raise


def unbroken(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """A standard stream that takes whatever is written, even if nobody reads it or its encoding lacks a character.

    So `untrue list evals | head -1` exits with 0, and `untrue gate … | true` with its verdict. Libraries that print
    would exit with 1, which is a verdict.
    """
    pipe = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    by_line = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(pipe, stream.encoding, "replace", line_buffering=by_line)
