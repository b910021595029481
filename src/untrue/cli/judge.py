"""`untrue judge …`: what a judge is worth, and how far two agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from untrue.cli.errors import for_people
from untrue.progress import bar
from untrue.terminal import plain

if TYPE_CHECKING:
    from untrue.judge.check import Check

judge = typer.Typer(no_args_is_help=True, help="Check what a judge is worth, and how far two judges agree.")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@judge.command()
@for_people
def check(
    model: Annotated[
        str, typer.Argument(help="A model as Inspect names it: `openai/gpt-5-mini`, `vllm/…`, `untrue/smollm2-135m`.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take in calls, tokens and dollars, and ask nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask a judge about labelled replies, and exit with 1 where its judgements on any question cannot be relied on.

    Prints accuracy, Cohen's kappa and the confusion of labels for each question, what it misses and calls by mistake,
    and the cost of a thousand judgements. An eval needs the questions that it asks; its report shows their last check.

        untrue judge check openai/gpt-5-mini --dry-run

        untrue judge check untrue/smollm2-135m
    """
    import untrue.evals.registry  # noqa: F401  so that the questions of all evals are known

    if dry_run:
        _print_estimate(model, as_json)
        return
    from untrue.judge.check import check as check_judge
    from untrue.judge.judge import Judge
    from untrue.judge.models import judge_model
    from untrue.judge.trust import trustworthy

    asked = Judge(judge_model(model))
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task(f"asking {model}", total=None)
        found = check_judge(asked, lambda done, total: progress.update(task, completed=done, total=total))
    trust = trustworthy(found)
    if as_json:
        typer.echo(json.dumps({**found.model_dump(), "trustworthy": trust.holds, "reason": trust.reason}))
    else:
        _print_check(found)
        typer.echo(f"\n{'Can be relied on' if trust else 'Not to be relied on'}: {trust.reason}.")
    if not trust:
        raise typer.Exit(1)


@judge.command()
@for_people
def agree(
    first: Annotated[Path, typer.Argument(metavar="A.eval", help="The log of a judged eval.")],
    second: Annotated[Path, typer.Argument(metavar="B.eval", help="The log of the same eval with another judge.")],
    limit: Annotated[int, typer.Option(min=0, help="Items that are shown where the judges differ.")] = 20,
    as_json: Json = False,
) -> None:
    """Compare two judges of the same replies, item by item.

    untrue judge agree logs/mask-mini.eval logs/mask-large.eval
    """
    from untrue.judge.agreement import agreement, read_judged

    ours, theirs = read_judged(first), read_judged(second)
    found = agreement(ours, theirs)
    if as_json:
        differences = [difference._asdict() for difference in found.differences]
        typer.echo(json.dumps({**found._asdict(), "judges": [ours.judge, theirs.judge], "differences": differences}))
        return
    typer.echo(
        f"{ours.judge} and {theirs.judge} agree on {found.share:.1%} of {found.items} items,"
        f" kappa {found.kappa.value:.2f} [{found.kappa.low:.2f}, {found.kappa.high:.2f}]"
    )
    Console().print(_table(f"{ours.judge} (rows)", found.table))
    for difference in found.differences[:limit]:
        epoch = f" (epoch {difference.epoch})" if difference.epoch > 1 else ""
        typer.echo(f"  {difference.item}{epoch}: {difference.first}, {difference.second}")
    if found.other_replies:
        typer.echo(f"The replies of {found.other_replies} items differ between the logs, so not the judges alone do.")
    if found.alone:
        typer.echo(f"{found.alone} items are in one log only.")


def _print_estimate(model: str, as_json: bool) -> None:
    from untrue.judge.check import gold, question
    from untrue.judge.cost import estimate
    from untrue.judge.models import parts

    found = estimate(parts(model)[0], [prompt.text(**fields) for prompt, fields in map(question, gold())])
    if as_json:
        typer.echo(json.dumps(found._asdict()))
        return
    price = "price not known" if found.dollars is None else f"about ${found.dollars:.2f}"
    typer.echo(
        f"{found.calls} calls, about {found.input_tokens:,} tokens read and {found.output_tokens:,} written, {price}."
    )


def _print_check(found: Check) -> None:
    typer.echo(f"{found.judge} on {found.rows} labelled replies, {found.errors} without a judgement")
    rows = Table.grid(padding=(0, 2))
    for name, value in (
        ("accuracy", f"{found.accuracy.value:.1%} [{found.accuracy.low:.1%}, {found.accuracy.high:.1%}]"),
        ("", f"plain {found.plain:.1%}, hard {found.hard:.1%}"),
        ("lies called lies", f"{found.sensitivity.value:.1%} of {found.sensitivity.n} statements (sensitivity)"),
        ("others not called so", f"{found.specificity.value:.1%} of {found.specificity.n} statements (specificity)"),
        ("a judgement takes", f"{found.input_tokens:.0f} tokens read, {found.output_tokens:.0f} written"),
        ("a thousand cost", "price not known" if found.dollars_per_thousand is None else _dollars(found)),
    ):
        rows.add_row(name, value)
    console = Console()
    console.print(rows)
    questions = Table("question", box=None, pad_edge=False)
    for heading in ("rows", "no judgement", "accuracy", "kappa"):
        questions.add_column(heading, justify="right")
    for name, one in found.questions.items():
        kappa = f"{one.kappa.value:.2f} [{one.kappa.low:.2f}, {one.kappa.high:.2f}]" if one.kappa else "-"
        accuracy = f"{one.accuracy.value:.1%} [{one.accuracy.low:.1%}, {one.accuracy.high:.1%}]"
        questions.add_row(name, str(one.rows), str(one.errors), accuracy, kappa)
    console.print(questions)
    for name, one in found.questions.items():
        if one.confusion:
            console.print(_table(f"{name}, gold (rows), judgement", one.confusion))
    if found.first_error:
        console.print(plain(f"first without a judgement: {found.first_error}"), soft_wrap=True)


def _dollars(found: Check) -> str:
    return f"${found.dollars_per_thousand:.2f}"


def _table(corner: str, counts: dict[str, dict[str, int]]) -> Table:
    columns = list(next(iter(counts.values())))
    table = Table(box=None, pad_edge=False)
    table.add_column(plain(corner))
    for column in columns:
        table.add_column(plain(column), justify="right")
    for label, row in counts.items():
        table.add_row(plain(label), *(str(row[column]) for column in columns))
    return table
