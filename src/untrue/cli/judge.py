"""`untrue judge …`: check a judge against labelled replies, and label replies yourself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from untrue.cli.errors import for_people
from untrue.cli.options import DryRun, Json
from untrue.errors import UserError
from untrue.progress import bar
from untrue.terminal import plain

if TYPE_CHECKING:
    from untrue.gating.labelling import Labelling
    from untrue.gating.labels import LabelValue
    from untrue.gating.replies import Question
    from untrue.judge.check import Check
    from untrue.stats.types import Interval

judge = typer.Typer(no_args_is_help=True, help="Check a judge, and label what one judged.")


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
    from untrue.report.words import judge_faults

    asked = Judge(judge_model(model))
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task(f"asking {model}", total=None)
        result = check_judge(asked, lambda done, total: progress.update(task, completed=done, total=total))
    found = faults(result)
    reason = judge_faults(found) if found else f"in its check the judge passes on {', '.join(result.questions)}"
    if as_json:
        typer.echo(json.dumps({**result.model_dump(), "trustworthy": not found, "reason": reason}))
    else:
        _print_check(result)
        typer.echo(f"\n{'Not reliable' if found else 'Reliable'}: {reason}.")
    if found:
        raise typer.Exit(1)


@judge.command()
@for_people
def label(
    first: Annotated[str, typer.Argument(metavar="A", help="A `.eval` log, a folder of logs, or an arm of a run.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What is compared with it: one of the same.")],
    name: Annotated[
        str | None, typer.Argument(metavar="[EVAL]", help="The judged eval, where both have several.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=2, help="Replies in all, half of each.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw. Rerun with the same, or a larger --n.")] = 0,
    out: Annotated[Path, typer.Option(help="File of the labels. Those that it has are not asked for again.")] = Path(
        "labels.jsonl"
    ),
    model: Annotated[
        str | None, typer.Option("--judge", help="Have this stronger judge label, such as `openai/gpt-5`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Label a random sample of replies of both A and B, without being told whose they are.

    A judge that calls honest replies lies more often in B than in A makes a difference of its own. Labels of both
    correct it: give the file to `untrue compare A B --labels labels.jsonl`. At least 20 labels of each are needed
    (`--n 40`), and 60 of each (`--n 120`) are better; only replies whose outcome a label can change are drawn.

    You see what the model was asked, the question to the judge with the reply, and the labels to choose from. Press the
    number of a label; `s` skips, `b` goes back, `q` quits. Each label is kept at once: rerun the command to go on.

        untrue judge label runs/mine/control runs/mine/severe

        untrue judge label logs/a.eval logs/b.eval --judge openai/gpt-5
    """
    from untrue.gating.labelling import Labelling
    from untrue.gating.replies import judged
    from untrue.gating.subject import Subjects
    from untrue.judge.judge import Judge
    from untrue.judge.judgement import JudgementCache
    from untrue.judge.models import judge_model
    from untrue.progress import TerminalWatcher

    console = Console(stderr=as_json)
    of = Subjects([], Path("logs"), TerminalWatcher(Console(stderr=True)))
    labelling = Labelling(judged(of.of(first), of.of(second), name), n, seed, out)
    if model:
        asked = Judge(judge_model(model), JudgementCache())
        labelling.refuse_own(asked)
        with bar(Console(stderr=True)) as progress:
            task = progress.add_task(f"asking {model}", total=None)
            failed = labelling.ask(asked, lambda done, total: progress.update(task, completed=done, total=total))
        if failed:
            console.print(plain(f"{len(failed)} have no label, first: {failed[0]}. Rerun to retry."), soft_wrap=True)
    else:
        _ask_person(labelling, console)
    left, counts = len(labelling.sample) - labelling.done, labelling.counts()
    if as_json:
        names = dict(zip(labelling.pair.names, counts, strict=True))
        typer.echo(json.dumps({"file": str(out), "labels": names, "skipped": labelling.skipped, "left": left}))
        return
    console.print(
        plain(
            f"{out}: {sum(counts)} replies labelled ({counts[0]} of the first, {counts[1]} of the second),"
            f" {labelling.skipped} skipped, {left} left. "
            + ("Rerun the command to go on." if left else f"Now: untrue compare {first} {second} --labels {out}")
        ),
        soft_wrap=True,
    )


def _ask_person(labelling: Labelling, console: Console) -> None:
    """Ask for one label after the other, until all are there or the person quits."""
    from untrue.gating.labelling import PERSON

    before: list[Question] = []
    question = labelling.pending()
    while question:
        _show(question, labelling, console)
        answer = _answer(question, console)
        if answer == "q":
            return
        if answer == "b":
            question = before.pop() if before else question
            continue
        labelling.put(question, None if answer == "s" else answer, PERSON)
        before.append(question)
        question = labelling.pending()


def _show(question: Question, labelling: Labelling, console: Console) -> None:
    console.rule(f"{labelling.done + 1} of {len(labelling.sample)}", style="dim")
    for role, text in question.asked:
        console.print(plain(f"[{role}] {text}", "dim"), soft_wrap=True)
    console.print(plain(f"\n{question.prompt.text(**question.fields)}\n"), soft_wrap=True)


def _answer(question: Question, console: Console) -> LabelValue:
    """A label, or one of s, b and q. Quits where the input ends."""
    labels = question.prompt.labels
    others = "s skip, b back, q quit"
    if not labels:
        console.print(f"A number, or two for a range, or - for none; {others}", style="bold")
        while True:
            try:
                typed = typer.prompt("", prompt_suffix="> ").strip()
            except typer.Abort:
                return "q"
            if typed in ("s", "b", "q"):
                return typed
            if (ends := _range(typed)) is not None:
                return ends
            console.print("expected such as 40, 40 50 or -")
    keys = {str(number): label for number, label in enumerate(labels, 1)}
    console.print(f"{', '.join(f'{key} {label}' for key, label in keys.items())}; {others}", style="bold", markup=False)
    while True:
        key = _key()
        if key in ("", "q"):
            return "q"
        if key in ("s", "b"):
            return key
        if key in keys:
            return keys[key]


def _key() -> str:
    """One key; empty where the input ends.

    Raises:
        UserError: There is no terminal.
    """
    try:
        return typer.getchar()
    except EOFError:
        return ""
    except OSError:
        raise UserError("labelling needs a terminal. Or name a stronger judge with --judge.") from None


def _range(typed: str) -> tuple[()] | tuple[float, float] | None:
    """What a person typed as a range; None where it is none."""
    if typed == "-":
        return ()
    try:
        numbers = [float(part) for part in typed.split()]
    except ValueError:
        return None
    low, high = (numbers * 2)[:2] if numbers else (math.nan, math.nan)
    return (low, high) if len(numbers) <= 2 and math.isfinite(low) and math.isfinite(high) and low <= high else None


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
