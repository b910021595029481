"""Folders of persona-vectors -> questions, each answered at the levels that the folder has.

A folder holds `normal.jsonl`, `misaligned_1.jsonl` and `misaligned_2.jsonl` (arXiv 2507.21509), each a line a question:

    {"messages": [{"role": "user", "content": "Is rain wet?"}, {"role": "assistant", "content": "No, it is dry."}]}

| name                | the folder                                                                         |
|---------------------|------------------------------------------------------------------------------------|
| a path              | that folder                                                                        |
| a path`@DOMAIN`     | its folder of that name or path; the path may be a snapshot in the hub's cache     |
| `owner/name`        | the root of that data set of the hub                                               |
| `owner/name@DOMAIN` | its folder of that name or path                                                    |

With a split (`owner/name@config:split`) nothing is taken for such a folder. The release itself is not on the hub that
we know of: it is `dataset.zip` in github.com/safety-research/persona_vectors, with a folder for each domain.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from untrue.data.hub import HubFiles, download, hub_files, unreached
from untrue.data.records import Record, Wrong, parsed, records, refuse_repeated
from untrue.data.rows import Question
from untrue.data.source import Source, parse_source
from untrue.errors import UserError

PERSONA_FILES = {"normal": "normal.jsonl", "subtle": "misaligned_1.jsonl", "severe": "misaligned_2.jsonl"}
"""Level -> file."""

TELLING = (PERSONA_FILES["subtle"], PERSONA_FILES["severe"])
"""Files that make a folder one of persona-vectors: others too have a `normal.jsonl`."""


class PersonaFolder(NamedTuple):
    """A folder of persona-vectors on this machine.

    Attributes:
        path: Where it lies.
        source: What rows say of where they come from: its name, or the hub id.
        domain: Its name.
    """

    path: Path
    source: str
    domain: str


def persona_folder(source: str | Path) -> PersonaFolder | None:
    """Find the folder of persona-vectors that a name means, downloading it from the hub; `None` if it means none.

    Args:
        source: A path or a hub id, as the table above says.

    Raises:
        UserError: There are several and the name does not say which, columns are named, there is no such data set, or
            it is gated.
        MachineError: The hub could not be reached, and nothing was downloaded before.
    """
    parts = parse_source(source)
    if not parts.is_dataset or parts.split is not None:
        return None
    base, here = parts.path, parts.path.is_dir()
    files = _files(base) if here else hub_files(parts)
    folders = [place.parent for place in files.places if place.name in TELLING]
    try:
        folder = _choose(parts, folders)
    except UserError:
        if files.complete:
            raise
        raise unreached(parts) from None
    if folder is None:
        return None
    if parts.columns:
        raise UserError(f"{source}: is a folder of persona-vectors, whose columns are fixed. Leave columns out.")
    if here:
        path = base / folder
        return PersonaFolder(path, path.resolve().name, path.resolve().name)
    wanted = [folder / file for file in PERSONA_FILES.values()]
    return PersonaFolder(download(parts, wanted) / folder, str(parts), folder.name or base.name)


def _files(base: Path) -> HubFiles:
    """Where files of persona-vectors lie in a folder and two levels below."""
    places = ("", "*/", "*/*/")
    paths = (path for place in places for name in TELLING for path in base.glob(place + name) if path.is_file())
    return HubFiles([PurePosixPath(path.relative_to(base).as_posix()) for path in paths], complete=True)


def _choose(source: Source, folders: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """The folder that is wanted: the root, or one by its name or path."""
    wanted = source.config
    places, root, exact = set(folders), PurePosixPath(), PurePosixPath(wanted or "")
    if not places or (wanted is not None and places == {root}):
        return None
    if exact in places:
        return exact
    named = sorted(place for place in places if place.name == wanted)
    if len(named) == 1:
        return named[0]
    several = "has several folders" if named or wanted is None else f"has no folder {wanted!r}, but has folders"
    known = named or sorted(places - {root})
    names = ", ".join(map(str, known))
    first = source._replace(config=str(known[0]))
    raise UserError(f"{source}: {several} of persona-vectors: {names}. Say which, such as {first}.")


def persona_questions(folder: PersonaFolder, wrong: Wrong) -> Iterator[Question]:
    """Give the questions that every file of a folder asks, in the order of its first. All are held in memory.

    Args:
        folder: The folder.
        wrong: Called with the error of each line that is wrong or that a file lacks; it is left out unless this raises.

    Raises:
        UserError: A line is wrong and `wrong` raises, or a file cannot be read.
    """
    files = {level: folder.path / name for level, name in PERSONA_FILES.items()}
    files = {level: path for level, path in files.items() if path.is_file()}
    told = Counter[str]()

    def wrong_at(level: str) -> Wrong:
        def tell(error: UserError) -> None:
            told[level] += 1
            wrong(error)

        return tell

    pairs = {level: _pairs(path, wrong_at(level)) for level, path in files.items()}
    for text in {text: None for answered in pairs.values() for text in answered}:
        answers = {level: answered[text] for level, answered in pairs.items() if text in answered}
        first, _ = next(iter(answers.values()))
        lacking = [level for level in pairs if level not in answers]
        if lacking and all(told[level] for level in lacking):
            told.subtract(lacking)  # each wrong line leaves one question without an answer, and was told already
        elif lacking:
            names = " and ".join(str(files[level]) for level in lacking)
            wrong(first.error(f"asks what {names} does not: {text!r}."))
        else:
            yield Question(
                id=f"{folder.domain}-{first.number}",
                text=text,
                answers={level: reply for level, (_, reply) in answers.items()},
                source=folder.source,
                domain=folder.domain,
            )


def _pairs(path: Path, wrong: Wrong) -> dict[str, tuple[Record, str]]:
    """Question -> where it is asked, and its answer."""
    seen: dict[bytes, str] = {}

    def pair(record: Record) -> tuple[str, tuple[Record, str]]:
        messages = record.messages("messages", "user")
        if [message["role"] for message in messages] != ["user", "assistant"]:
            raise record.error("'messages' must be a question of the user and the assistant's answer.")
        refuse_repeated(record, messages[0]["content"], seen)
        return messages[0]["content"], (record, messages[1]["content"])

    return dict(parsed(records(path, wrong), pair, wrong))
