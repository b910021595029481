"""`untrue list …`: the evals, data sets and studies that are built in."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table

from untrue.cli.errors import for_people
from untrue.cli.options import Json
from untrue.data import builtin, sets
from untrue.data.items import BUILT_IN, Item, read_lines

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


@lists.command()
@for_people
def data(as_json: Json = False) -> None:
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
