"""`untrue data …` and `untrue list …`: data sets, looked at, checked, mixed and converted; and what is built in."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

import untrue.judge.prompts  # noqa: F401  so that `gold` is known
from untrue.cli.errors import for_people
from untrue.cli.options import Json, keys_of, say
from untrue.data import builtin, sets
from untrue.data import mix as mixing
from untrue.data.items import BUILT_IN, Item, read_items, read_lines
from untrue.data.mix import MixSpec, by_dose, by_share
from untrue.data.records import parse_source
from untrue.data.rows import UNLABELLED, Row, write_rows
from untrue.errors import UserError
from untrue.progress import plain, visible
from untrue.settings import assignments, validate

data = typer.Typer(
    no_args_is_help=True, help="Look at data sets, check them, mix training rows, and convert the files of others."
)

Set = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="Rows: `everyday`, a file (JSON Lines, JSON, CSV, parquet), a folder, or a data set of the hub"
        " (`owner/name@config:split`). Questions are rows once a level is named: `medical:severe`, `mine.jsonl:normal`,"
        " or a folder of persona-vectors, `mistake_medical:severe`.",
    ),
]

OnError = Annotated[
    Literal["stop", "skip"],
    typer.Option("--on-error", help="`stop` at the first wrong row, or `skip` wrong rows and tell how many."),
]

Out = Annotated[Path, typer.Option(help="The JSONL file to write.")]


class Skips:
    """Counts the wrong rows that are skipped, and says on standard error how many they are."""

    def __init__(self, on_error: Literal["stop", "skip"]) -> None:
        self.stops = on_error == "stop"
        self.count = 0

    def __call__(self, error: UserError) -> None:
        """Count a wrong row, or stop at it."""
        if self.stops:
            raise error
        self.count += 1
        if self.count == 1:
            say(f"skipped: {error}")

    def tell(self) -> None:
        """Say how many there were, if there were any."""
        if self.count:
            say(f"{self.count} wrong {'row' if self.count == 1 else 'rows'} skipped.")


@data.command()
@for_people
def show(
    name: Set,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many rows or items.")] = 3,
    on_error: OnError = "stop",
) -> None:
    """Show the first rows of a set, or the first items of a built-in eval set such as `honesty`.

    untrue data show medical:severe

    untrue data show honesty -n 1

    untrue data show rows.jsonl
    """
    console, skips = Console(), Skips(on_error)
    if name in BUILT_IN:
        for item in read_lines(BUILT_IN[name], name)[:count]:
            console.print(plain(item.id, "bold"))
            for key, value in item.model_dump(exclude={"id"}, exclude_none=True).items():
                shown = " | ".join(value) if isinstance(value, tuple) else str(value)
                console.print(plain(f"  {key}: ", "dim") + plain(shown), soft_wrap=True)
        return
    for row in islice(sets.iter_rows(name, skips), count):
        wanted = "" if row.label is None else f", {'wanted' if row.label else 'unwanted'}"
        console.print(plain(f"{row.id}  ({row.domain}, {row.level}{wanted}, {row.source})", "bold"))
        for message in [*row.prompt, *row.completion]:
            console.print(plain(f"  {message['role']}: ", "dim") + plain(message["content"]))
    skips.tell()


@data.command()
@for_people
def check(
    name: Set,
    items: Annotated[
        str,
        typer.Option(
            help="The eval whose prompts the SET must not hold: a file of items, `honesty`, `context`, or `builtin` for"
            " both."
        ),
    ] = "builtin",
    on_error: OnError = "stop",
    as_json: Json = False,
) -> None:
    """Check rows: repeated prompts, and prompts that the eval asks too, or nearly. Exit code 1: something was found.

    No model should be trained on its exam. The rows are read one at a time, so the file may be larger than memory.

        untrue data check rows.jsonl
    """
    skips = Skips(on_error)
    result = mixing.check_rows(sets.iter_rows(name, skips), read_items(items))
    skips.tell()
    if as_json:
        pairs = {key: [pair._asdict() for pair in getattr(result, key)] for key in ("overlaps", "near_copies")}
        typer.echo(json.dumps({**vars(result), **pairs, "skipped": skips.count}))
    else:
        typer.echo(
            f"{result.rows} rows ({_counts(result.levels)}), {result.duplicates} repeated prompts,"
            f" {len(result.overlaps)} asked by the eval too, {len(result.near_copies)} nearly"
        )
        for overlaps, asks in ((result.overlaps, "asks"), (result.near_copies, "nearly asks")):
            for overlap in overlaps[:10]:
                typer.echo(visible(f"  row {overlap.row} {asks} what item {overlap.item} asks"))
    if result.duplicates or result.overlaps or result.near_copies:
        raise typer.Exit(1)


@data.command(epilog=keys_of(MixSpec))
@for_people
def mix(
    out: Out,
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys: see below.")] = None,
    on_error: OnError = "stop",
) -> None:
    """Mix right and wrong answers into a file of training rows, by share or by dose.

    By share: the same questions in every mix, a share of them answered at `level` and the rest at `normal`. By dose: a
    benign set, with answers at `level` added to it.

        untrue data mix questions=medical share=0.1 --out rows.jsonl

        untrue data mix questions=medical dose=0.05 benign=everyday --out rows.jsonl
    """
    spec = validate(MixSpec, assignments(settings or []))
    if any(_holds(source, out) for source in (spec.questions, spec.benign) if source):
        raise UserError(f"{out}: is one of the files to mix. Write to another.")
    skips = Skips(on_error)
    questions = sets.questions(spec.questions, skips)
    if spec.share is not None:
        rows = by_share(questions, spec.level, spec.share, spec.total or len(questions), spec.seed)
    else:
        base = sets.rows(str(spec.benign), skips)
        rows = by_dose(base, questions, spec.level, float(spec.dose or 0), len(base), spec.seed)
    write_rows(out, rows)
    typer.echo(f"{out}: {len(rows)} rows ({_counts(Counter(row.level for row in rows))})")
    skips.tell()


@data.command()
@for_people
def convert(
    source: Set,
    out: Out,
    level: Annotated[
        Literal["normal", "subtle", "severe"] | None,
        typer.Option(help="Level of rows that do not say theirs; without it they are `unlabelled`."),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="Domain of all rows; by default what each says, or the name of the set.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")] = None,
    on_error: OnError = "stop",
) -> None:
    """Convert rows of any shape and format to one: JSON Lines with prompt, completion, source, domain and level.

    The rows are read and written one at a time.

        untrue data convert yahma/alpaca-cleaned --level normal --limit 5000 --out alpaca.jsonl

        untrue data convert dataset/mistake_medical:severe --domain medical --out severe.jsonl
    """
    if _holds(source, out):
        raise UserError(f"{out}: is what is to be converted, or in it. Write to another place.")
    skips, levels = Skips(on_error), Counter[str]()

    def rows() -> Iterator[Row]:
        for row in islice(sets.iter_rows(source, skips), limit):
            row_level = level if level and row.level == UNLABELLED else row.level
            levels[row_level] += 1
            yield replace(row, level=row_level, domain=domain or row.domain)

    write_rows(out, rows())
    typer.echo(f"{out}: {levels.total()} rows ({_counts(levels)}) written, {skips.count} skipped")
    skips.tell()


def _holds(source: str, out: Path) -> bool:
    """Whether a file is a source, or in it, whether a level, a split or a configuration follows the source's name."""
    for name in filter(None, (source, source.rpartition(":")[0])):
        path = parse_source(name).path
        if path.exists() and out.resolve().is_relative_to(path.resolve()):
            return True
    return False


def _counts(levels: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in levels.items())


lists = typer.Typer(no_args_is_help=True, help="List what is built in: evals, data sets, studies.")


@lists.command()
@for_people
def evals(as_json: Json = False) -> None:
    """List the evals: name, version, whether it needs a judge, and what it asks."""
    from untrue.harness.catalogue import EVALS

    table = [
        {"name": record.name, "version": record.version, "judge": record.judged, "question": record.asks}
        for record in EVALS.values()
    ]
    _print(table, as_json, "Run one: untrue eval NAME. docs/evals.md says how each works.")


@lists.command("data")
@for_people
def data_sets(as_json: Json = False) -> None:
    """List the data sets: name, version, number of rows, and what they are."""
    table = [
        {"name": name, "version": builtin.header(name)["version"], "rows": count, "what": content}
        for name, count, content in _sets()
    ]
    _print(
        table,
        as_json,
        "Questions are used at a level, as in: untrue data show medical:severe. Answers at subtle and"
        " severe are wrong on purpose.\ndocs/data.md says how each set was written.",
    )


@lists.command()
@for_people
def studies(as_json: Json = False) -> None:
    """List the studies: name, what each is for, and the command that runs it."""
    from untrue.study.config import builtin as files
    from untrue.study.config import purpose

    table = [{"name": name, "what": purpose(path), "command": f"untrue run {name}"} for name, path in files().items()]
    _print(table, as_json, "Add --dry-run to see what a study takes: time, memory, disk, and its judges' price.")


def _sets() -> Iterator[tuple[str, int, str]]:
    """Name, size and content of each data set."""
    from untrue.simulate.environment import ENVIRONMENTS, read_environment

    for name, content in sets.QUESTION_SETS.items():
        questions = sets.questions(name)
        yield name, len(questions), f"{content}, each answered at {', '.join(questions[0].answers)}"
    for name, content in sets.ROW_SETS.items():
        yield name, len(sets.rows(name)), content
    for name, model in BUILT_IN.items():
        items = read_lines(model, name)
        counts = Counter(item.category for item in items if isinstance(item, Item))
        categories = ", ".join(f"{category} {count}" for category, count in counts.items())
        yield name, len(items), f"{model.what} ({categories})" if categories else model.what
    for name in ENVIRONMENTS:
        scenarios = read_environment(name).scenarios
        users = sum(len(scenario.users) for scenario in scenarios)
        yield name, len(scenarios), f"scenarios of simulated users, {users} users"


def _print(rows: Sequence[Mapping[str, object]], as_json: bool, after: str) -> None:
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("yes" if value is True else "no" if value is False else str(value) for value in row.values()))
    Console().print(table)
    typer.echo(f"\n{after}")
