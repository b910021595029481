"""What a source of data is called: a file, a folder or a hub id, perhaps with options after a question mark.

    pairs.csv?columns.neutral_system_prompt=calm&columns.user_prompt=question
    openai/gsm8k@main:test?revision=e53f048

| option                 | what                                                                               |
|------------------------|------------------------------------------------------------------------------------|
| `columns.FIELD=COLUMN` | the column (or key) of that name is renamed to FIELD, in place of any other FIELD   |
| `revision=NAME`        | a branch, a tag or a commit of a data set of the hub                               |

`&` stands between several; in the name of a column it is written `%26`, and `%` is `%25`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from untrue.errors import UserError

MARK = re.compile(r"(?<!^)\?(?=[\w.]+=)")
"""What options follow."""

COLUMNS = "columns."


class Source(NamedTuple):
    """A source by its parts.

    Attributes:
        name: The file, folder or hub id.
        options: What follows it, as it was written.
        columns: Field -> the column that holds it.
        revision: Of a data set of the hub.
    """

    name: str
    options: str = ""
    columns: Mapping[str, str] = {}
    revision: str | None = None


def parse_source(source: str | Path) -> Source:
    """Part a source into its name and its options. What looks like an option in the name of a file that exists is none.

    Raises:
        UserError: There is an unknown option, or one occurs twice.
    """
    text = str(source)
    marks = [mark.start() for mark in MARK.finditer(text)]
    if not marks or _exists(text):
        return Source(text)
    end = next((mark for mark in reversed(marks) if _exists(text[:mark])), marks[0])
    name, options = text[:end], text[end:]
    columns: dict[str, str] = {}
    revision = None
    for option in options[1:].split("&"):
        key, _, value = option.partition("=")
        field = key.removeprefix(COLUMNS)
        if key == "revision" and value and not revision:
            revision = value
        elif key != field and field and value and field not in columns:
            columns[field] = unquote(value)
        else:
            raise UserError(
                f"{text}: {option!r} is no option of a source, or is given twice. Expected columns.FIELD=COLUMN or"
                " revision=NAME, with & between several."
            )
    return Source(name, options, columns, revision)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # it is too long, as many options are
        return False
