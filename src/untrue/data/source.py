"""What a source of data is called: a file, a folder or a hub id, perhaps with options after a question mark.

    pairs.csv?columns.neutral_system_prompt=calm&columns.user_prompt=question
    openai/gsm8k@main:test?revision=e53f048

| option                 | what                                                                               |
|------------------------|------------------------------------------------------------------------------------|
| `columns.FIELD=COLUMN` | the column (or key) of that name is renamed to FIELD, in place of any other FIELD   |
| `revision=NAME`        | a branch, a tag or a commit of a data set of the hub                               |

`&` stands between several; in the name of a column it is written `%26`, and `%` is `%25`.

A data set in the hub's format is named `owner/name` or by its folder, with `@config` and `:split` where there are
several: `openai/gsm8k@main:test`. Without a split it is `train`, or the only one there is.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from untrue.errors import UserError

OPTIONS_MARK = re.compile(r"(?<!^)\?(?=[\w.]+=)")
COLUMNS = "columns."
DATASET = re.compile(r"(?P<base>[^@:]+)(?:@(?P<config>[\w./-]+))?(?::(?P<split>[\w.-]+))?")
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".xlsx", ".parquet")


class Source(NamedTuple):
    """A source by its parts.

    Attributes:
        name: What stands before the options.
        base: The file, folder or hub id.
        options: What follows the name, as it was written.
        columns: Field -> the column that holds it.
        config: Of a data set.
        split: Of a data set.
        revision: Of a data set of the hub.
        is_dataset: Whether it is a folder, or has the form of a hub id; else it is a file, which need not exist.
    """

    name: str
    base: str
    options: str = ""
    columns: Mapping[str, str] = {}
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    is_dataset: bool = False

    def __str__(self) -> str:
        """The source without its columns."""
        parts = {"@": self.config, ":": self.split, "?revision=": self.revision}
        return self.base + "".join(f"{mark}{part}" for mark, part in parts.items() if part)

    @property
    def path(self) -> Path:
        """The file or folder, if it is one."""
        return Path(self.base)


def parse_source(source: str | Path) -> Source:
    """Part a source. What looks like an option in the name of a file that exists is none.

    Raises:
        UserError: There is an unknown option, one occurs twice, or there is a revision of what is not on the hub.
    """
    text = str(source)
    marks = [] if _exists(text) else [mark.start() for mark in OPTIONS_MARK.finditer(text)]
    end = next((mark for mark in reversed(marks) if _exists(text[:mark])), marks[0]) if marks else len(text)
    parts = _parts(text[:end], text[end:])
    columns: dict[str, str] = {}
    revision = None
    for option in text[end + 1 :].split("&") if marks else ():
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
    if revision and (not parts.is_dataset or parts.path.is_dir()):
        raise UserError(f"{text}: is no data set of the hub, so it has no revisions. Leave revision out.")
    return parts._replace(columns=columns, revision=revision)


def _parts(name: str, options: str) -> Source:
    match = DATASET.fullmatch(name)
    if _exists(name) or not match:
        return Source(name, name, options, is_dataset=_exists(name) and Path(name).is_dir())
    base, config, split = match.groups()
    is_hub_id = HUB_ID.fullmatch(base) and not base.lower().endswith(FILE_SUFFIXES)
    if is_hub_id or (_exists(base) and Path(base).is_dir()):
        return Source(name, base, options, config=config, split=split, is_dataset=True)
    return Source(name, name, options)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # it is too long, as many options are
        return False
