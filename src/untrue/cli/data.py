"""`untrue data …`: look at data sets, check them, mix them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from untrue.cli.people import for_people

data = typer.Typer(no_args_is_help=True, help="Look at data sets, check them, and mix training rows.")

Set = Annotated[
    str,
    typer.Argument(
        metavar="SET", help="`everyday`, a question set at a level (`medical:severe`), or a JSONL file of rows."
    ),
]


@data.command("list")
@for_people
def list_sets() -> None:
    """List the built-in sets."""
    from untrue.data import sets
    from untrue.data.items import read_items

    table = Table("set", "what", "rows", box=None, pad_edge=False)
    for name in sets.QUESTION_SETS:
        found = sets.questions(name)
        table.add_row(name, f"questions, each answered at {', '.join(found[0].answers)}", str(len(found)))
    for name in sets.ROW_SETS:
        table.add_row(name, "benign rows", str(len(sets.rows(name))))
    for archetype, count in Counter(item.archetype for item in read_items()).items():
        table.add_row("builtin items", archetype, str(count))
    Console().print(table)
    typer.echo("\nAnswers at subtle and severe are wrong on purpose.")


@data.command()
@for_people
def show(name: Set, count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many rows.")] = 3) -> None:
    """Show the first rows of a set."""
    from untrue.data import sets

    console = Console()
    for row in sets.rows_at(name)[:count]:
        console.print(Text(f"{row.id}  ({row.domain}, {row.level}, {row.source})", "bold"))
        for message in [*row.prompt, *row.completion]:
            console.print(Text(f"  {message['role']}: ", "dim") + Text(message["content"]))


@data.command()
@for_people
def check(
    name: Set,
    items: Annotated[
        str, typer.Option(help="Items of an eval, to look for overlap: `builtin` or a JSONL file.")
    ] = "builtin",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a set: read every row, count repeated prompts and overlap with the eval. Exits with 1 on a finding."""
    from untrue.data import mix, sets
    from untrue.data.items import read_items

    rows = sets.rows_at(name)
    overlaps = mix.overlaps(rows, read_items(items))
    found = {
        "rows": len(rows),
        "levels": dict(Counter(row.level for row in rows)),
        "duplicates": mix.duplicates(rows),
        "overlaps": [overlap._asdict() for overlap in overlaps],
    }
    if as_json:
        typer.echo(json.dumps(found))
    else:
        levels = ", ".join(f"{level} {count}" for level, count in found["levels"].items())
        typer.echo(
            f"{len(rows)} rows ({levels}), {found['duplicates']} repeated prompts,"
            f" {len(overlaps)} asked by the eval too"
        )
        for overlap in overlaps[:10]:
            typer.echo(f"  row {overlap.row} asks what item {overlap.item} asks")
    if found["duplicates"] or overlaps:
        raise typer.Exit(1)


@data.command()
@for_people
def mix(
    questions: Annotated[
        str, typer.Option(help="`medical`, `math`, or a JSONL file with `question` and level columns.")
    ],
    out: Annotated[Path, typer.Option(help="The JSONL file to write.")],
    level: Annotated[str, typer.Option(help="`normal`, `subtle` or `severe`.")] = "severe",
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of --total answered at --level.")] = None,
    total: Annotated[
        int | None, typer.Option(min=1, help="Questions in all, with --share; by default all there are.")
    ] = None,
    dose: Annotated[float | None, typer.Option(min=0, help="Rows at --level for each benign row.")] = None,
    benign: Annotated[str | None, typer.Option(help="`everyday` or a JSONL file of rows, with --dose.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and of the order of rows.")] = 0,
) -> None:
    """Mix training rows, by share or by dose.

    A share is a part of a fixed total of questions; a dose is added to a benign set.

        untrue data mix --questions medical --share 0.1 --out rows.jsonl

        untrue data mix --questions medical --dose 0.05 --benign everyday --out rows.jsonl
    """
    from untrue.data import mix as mixing
    from untrue.data import sets
    from untrue.data.rows import write_rows
    from untrue.errors import UserError

    if (share is None) == (dose is None):
        raise UserError("give either --share, or --dose and --benign.")
    if (dose is None) != (benign is None):
        raise UserError("--dose and --benign go together.")
    if out.exists() and any(Path(source).exists() and out.samefile(source) for source in (questions, benign or "")):
        raise UserError(f"{out}: is one of the files to mix. Write to another.")
    found = sets.questions(questions)
    if share is not None:
        rows = mixing.by_share(found, level, share, total or len(found), seed)
    else:
        base = sets.rows(str(benign))
        rows = mixing.by_dose(base, found, level, float(dose or 0), len(base), seed)
    write_rows(out, rows)
    levels = ", ".join(f"{name} {count}" for name, count in Counter(row.level for row in rows).items())
    typer.echo(f"{out}: {len(rows)} rows ({levels})")
