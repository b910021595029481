"""`untrue list …`: the evals, data sets and studies that are built in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from untrue.cli.data import OTHER_ITEMS, builtin_items
from untrue.cli.errors import for_people

lists = typer.Typer(no_args_is_help=True, help="List what is built in: evals, data sets, studies.")

Json = Annotated[bool, typer.Option("--json", help="Print the list as JSON on standard output.")]


@lists.command()
@for_people
def evals(as_json: Json = False) -> None:
    """List the evals: name, version, whether it needs a judge, and what it asks."""
    from untrue.evals.spec import JUDGED, VERSIONS

    found = [
        {"name": name, "version": version, "judge": name in JUDGED, "question": _question(name)}
        for name, version in VERSIONS.items()
    ]
    _print(found, as_json, "Run one: untrue eval --eval NAME. docs/evals.md says how each works.")


@lists.command()
@for_people
def data(as_json: Json = False) -> None:
    """List the data sets: name, version, number of rows, and what they are."""
    from untrue.data import builtin, sets

    table = [
        {"name": name, "version": builtin.read(name).version, "rows": count, "what": content}
        for name, count, content in _sets()
    ]
    _print(
        table,
        as_json,
        f"Questions are used at a level, as in: untrue data show {sets.QUESTION_SETS[0]}:severe. Answers at subtle and"
        " severe are wrong on purpose.\ndocs/data.md says how each set was written.",
    )


@lists.command()
@for_people
def studies(as_json: Json = False) -> None:
    """List the studies: name, what each is for, and the command that runs it."""
    from untrue.study.config import builtin, purpose

    found = [{"name": path.stem, "what": purpose(path), "command": f"untrue run {path.stem}"} for path in builtin()]
    _print(found, as_json, "Add --dry-run to see what the judged evals of a study cost.")


def _question(name: str) -> str:
    """What an eval asks: the first line of its module, without its title."""
    from inspect import getdoc
    from sys import modules

    from untrue.evals.registry import TASKS

    first = (getdoc(modules[TASKS[name].__module__]) or "").partition("\n")[0]
    text = first.partition(": ")[2] or first
    return text[0].lower() + text[1:]


def _sets() -> Iterator[tuple[str, int, str]]:
    """Name, size and content of each data set."""
    from untrue.data import sets
    from untrue.data.items import ITEM_SETS, read_items
    from untrue.simulate.environment import ENVIRONMENTS, read_environment

    for name in sets.QUESTION_SETS:
        questions = sets.questions(name)
        yield name, len(questions), f"{sets.WHAT[name]}, each answered at {', '.join(questions[0].answers)}"
    for name in sets.ROW_SETS:
        yield name, len(sets.rows(name)), sets.WHAT[name]
    for name in ITEM_SETS:
        items = read_items(name)
        counts = Counter(item.category for item in items)
        categories = ", ".join(f"{category} {count}" for category, count in counts.items())
        yield name, len(items), f"honesty items ({categories})"
    for name, content in OTHER_ITEMS.items():
        yield name, len(builtin_items(name)), content
    for name in ENVIRONMENTS:
        scenarios = read_environment(name).scenarios
        yield (
            name,
            len(scenarios),
            f"scenarios of simulated users, {sum(len(scenario.users) for scenario in scenarios)} users",
        )


def _print(found: Sequence[Mapping[str, object]], as_json: bool, after: str) -> None:
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table(*found[0], box=None, pad_edge=False)
    for one in found:
        table.add_row(*("yes" if value is True else "no" if value is False else str(value) for value in one.values()))
    Console().print(table)
    typer.echo(f"\n{after}")
