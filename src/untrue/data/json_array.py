"""The entries of a JSON array, one at a time, so that the file may be larger than memory."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from untrue.errors import UserError
from untrue.files import json_errors, json_value, not_utf8

CHUNK = 1 << 16
SPACE = re.compile(r"[ \t\n\r]*")
LOOKAHEAD = 16
"""An error or an end this near to the end of what was read may come from the cut: `Infin`, `\\u00`, `1.`."""


def array_entries(file: BinaryIO, name: str, wrong: Callable[[UserError], object]) -> Iterator[tuple[int, str, Any]]:
    """Give the entries of a file that is a JSON array, in UTF-8: number, counted from 1, place and value.

    Args:
        file: The file, at its start.
        name: What errors call it.
        wrong: Called with the error of an entry that is JSON but cannot be kept.

    Raises:
        UserError: The file is not a JSON array. What follows the place cannot be read, so it is never left out.
    """
    text = _Text(file, name)
    text.take("[")
    if text.next() == "]":
        text.take("]")
    else:
        number = 0
        while not number or text.take(",]") == ",":
            number += 1
            text.next()
            place = f"{name}, line {text.line()}, entry {number}"
            entry = text.value(place)
            try:
                value = json_value(entry, place)
            except UserError as error:
                wrong(error)
            else:
                yield number, place, value
    if text.next():
        raise text.error(f"text after the end of the array, at {text.next()!r}")


class _Text:
    """A text that is read on as it is used; what was used is let go."""

    def __init__(self, file: BinaryIO, name: str):
        self.file, self.name = file, name
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at = "", 0
        self.lines, self.counted = 0, 0
        self.json = json.JSONDecoder()

    def line(self) -> int:
        """The line of the place, counted on from where it was last asked for."""
        self.lines += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return 1 + self.lines

    def error(self, message: str) -> UserError:
        return UserError(f"{self.name}, line {self.line()}: broken JSON array ({message}).")

    def more(self) -> bool:
        """Read on, as much as is held, so that a long entry takes few attempts."""
        chunk = self.file.read(max(CHUNK, len(self.text) - self.at))
        try:
            new = self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self.line() + self.text.count("\n", self.at) + error.object[: error.start].count(b"\n")
            raise not_utf8(f"{self.name}, line {line}", error.object[error.start]) from None
        if chunk:
            self.line()
            self.text, self.at, self.counted = self.text[self.at :] + new, 0, 0
        return bool(chunk)

    def next(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            match = SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> str:
        """Step over the next character, which must be one of these."""
        character = self.next()
        if not character:
            raise self.error("the file ends before the array does")
        if character not in expected:
            raise self.error(f"found {character!r}, expected {' or '.join(expected)}")
        self.at += 1
        return character

    def value(self, place: str) -> str:
        """Step over the value that begins here, and return its text."""
        while True:
            try:
                _, end = self.json.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self.text) - LOOKAHEAD or error.msg.startswith("Unterminated string")
                if not (cut and self.more()):
                    self.at = max(self.at, error.pos)
                    raise self.error(error.msg) from None
                continue
            except (ValueError, RecursionError) as error:
                with json_errors(place):
                    raise error
            if end <= len(self.text) - LOOKAHEAD or not self.more():
                break
        value, self.at = self.text[self.at : end], end
        return value
