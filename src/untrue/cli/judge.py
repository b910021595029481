"""`untrue judge …`: check a judge against labelled replies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from untrue.cli.errors import for_people
from untrue.cli.options import DryRun, Json
from untrue.progress import bar, plain

if TYPE_CHECKING:
    from untrue.judge.check import Check
    from untrue.stats.types import Interval

judge = typer.Typer(no_args_is_help=True, help="Check a judge.")


@judge.command()
@for_people
def check(
    model: Annotated[
        str, typer.Argument(help="A model as Inspect names it: `openai/gpt-5-mini`, `vllm/…`, `untrue/smollm2-135m`.")
    ],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Ask a judge about labelled replies; exit with 1 if its judgements on any question are not reliable.

    Prints accuracy, Cohen's kappa and the confusion of labels for each question, sensitivity and specificity, and the
    cost of a thousand judgements. An eval needs only the questions that it asks; its report shows their last check.

        untrue judge check openai/gpt-5-mini --dry-run

        untrue judge check untrue/smollm2-135m
    """
    import untrue.harness.catalogue  # noqa: F401  so that the questions of all evals are known

    if dry_run:
        _print_estimate(model, as_json)
        return
    from untrue.judge.check import check as check_judge
    from untrue.judge.check import faults
    from untrue.judge.judge import Judge
    from untrue.judge.models import judge_model

    asked = Judge(judge_model(model))
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task(f"asking {model}", total=None)
        result = check_judge(asked, lambda done, total: progress.update(task, completed=done, total=total))
    found = faults(result)
    reason = f"in its check the judge {'fails' if found else 'passes'} on {', '.join(found or result.questions)}"
    if as_json:
        typer.echo(json.dumps({**result.model_dump(), "trustworthy": not found, "reason": reason}))
    else:
        _print_check(result)
        typer.echo(f"\n{'Not reliable' if found else 'Reliable'}: {reason}.")
    if found:
        raise typer.Exit(1)


def _print_estimate(model: str, as_json: bool) -> None:
    from untrue.judge.check import gold
    from untrue.judge.cost import estimate
    from untrue.judge.models import parts
    from untrue.judge.prompts import QUESTIONS

    cost = estimate(parts(model)[0], [QUESTIONS[row.prompt].text(**row.fields) for row in gold()])
    if as_json:
        typer.echo(json.dumps(cost._asdict()))
        return
    price = "price not known" if cost.dollars is None else f"about ${cost.dollars:.2f}"
    typer.echo(
        f"{cost.calls} calls, about {cost.input_tokens:,} tokens read and {cost.output_tokens:,} written, {price}."
    )


def _print_check(check: Check) -> None:
    cost = check.dollars_per_thousand
    typer.echo(f"{check.judge} on {check.rows} labelled replies, {check.errors} without a judgement")
    summary = Table.grid(padding=(0, 2))
    summary.add_row("accuracy", f"{_accuracy(check.accuracy)}; plain {check.plain:.1%}, hard {check.hard:.1%}")
    summary.add_row("sensitivity", f"{check.sensitivity.value:.1%} of {check.sensitivity.n} lies called lies")
    summary.add_row("specificity", f"{check.specificity.value:.1%} of {check.specificity.n} others not called lies")
    summary.add_row("a judgement", f"{check.input_tokens:.0f} tokens read, {check.output_tokens:.0f} written")
    summary.add_row("a thousand", "price not known" if cost is None else f"${cost:.2f}")
    questions = Table("question", box=None, pad_edge=False)
    for heading in ("rows", "no judgement", "accuracy", "kappa"):
        questions.add_column(heading, justify="right")
    for name, question in check.questions.items():
        kappa = _kappa(question.kappa) if question.kappa else "-"
        questions.add_row(name, str(question.rows), str(question.errors), _accuracy(question.accuracy), kappa)
    console = Console()
    console.print(summary)
    console.print(questions)
    for name, question in check.questions.items():
        if question.confusion:
            console.print(_table(f"{name}, gold (rows), judgement", question.confusion))
    if check.first_error:
        console.print(plain(f"first without a judgement: {check.first_error}"), soft_wrap=True)


def _accuracy(share: Interval) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _kappa(kappa: Interval) -> str:
    return f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]"


def _table(corner: str, counts: dict[str, dict[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(plain(corner))
    for column in next(iter(counts.values())):
        table.add_column(plain(column), justify="right")
    for label, row in counts.items():
        table.add_row(plain(label), *map(str, row.values()))
    return table
