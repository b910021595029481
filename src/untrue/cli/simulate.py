"""`untrue simulate …`: simulated users talk with a model and rate its replies."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from untrue.cli.errors import for_people
from untrue.cli.options import default_model
from untrue.errors import UserError
from untrue.progress import bar
from untrue.terminal import plain, visible
from untrue.train.spec import METHODS, MethodName

if TYPE_CHECKING:
    from untrue.stats.types import Interval

simulate = typer.Typer(
    no_args_is_help=True, help="Let simulated users, benign and biased, talk with a model and rate its replies."
)

Environment = Annotated[str, typer.Option(help="`chat`, `exam`, or a JSONL file of scenarios.")]
Model = Annotated[str, typer.Option(help="`smollm2-135m` (embedded), a hub id, or a folder.")]
Dtype = Annotated[str, typer.Option(help="`bfloat16` or `float32`.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]

TRAJECTORIES, LOG = "trajectories.jsonl", "simulate.eval"


@simulate.command()
@for_people
def run(
    out: Annotated[Path, typer.Option(help=f"Folder of {TRAJECTORIES} and the Inspect log {LOG}.")],
    environment: Environment = "chat",
    model: Annotated[
        str | None,
        typer.Option(
            help="`smollm2-135m` (embedded), a hub id, or a folder; by default the base that the adapter names, or"
            " `smollm2-135m` without one."
        ),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a PEFT adapter.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="How many users, spread over the scenarios; or all.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="Replies of the assistant in a dialogue.")] = 2,
    assistant: Annotated[
        Literal["blind", "informed"], typer.Option(help="Whether the assistant is told what the user thinks.")
    ] = "blind",
    temperature: Annotated[float, typer.Option(min=0, help="Of the assistant's sampling.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply of the assistant.")] = 64,
    part: Annotated[
        Literal["all", "learn", "held_out"],
        typer.Option(
            help="Users of which scenarios: all, those to learn from, or every fifth, which `sycophancy` asks."
        ),
    ] = "learn",
    seed: Annotated[int, typer.Option(min=0, help="Of the users, their turns and the assistant's sampling.")] = 0,
    user_model: Annotated[
        str | None,
        typer.Option(help="Inspect model that plays the users, such as openai/…; by default, written turns."),
    ] = None,
    rater_model: Annotated[
        str | None, typer.Option(help="Inspect model that rates; by default the base, by likelihoods.")
    ] = None,
    dtype: Dtype = "bfloat16",
    as_json: Json = False,
) -> None:
    """Collect dialogues and their ratings. Each user is played once as benign and once as biased.

    Interrupt it and give the same command again: only dialogues that are missing or failed are held.

        untrue simulate run --users 20 --out dialogues
    """
    from untrue.models.load import load
    from untrue.progress import TerminalWatcher
    from untrue.report.table import safe_text
    from untrue.simulate.collect import CollectSpec, collect
    from untrue.simulate.environment import dialogues, read_environment
    from untrue.simulate.summary import summarise

    spec = CollectSpec(
        environment=environment,
        users=users,
        part=part,
        turns=turns,
        assistant=assistant,
        temperature=temperature,
        max_tokens=max_tokens,
        user=user_model,
        rater=rater_model,
    )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file. Give --out a folder.")
    model = model or default_model(adapter)
    dialogues(
        read_environment(environment), users, part=part
    )  # what is wrong with them is told before a model is loaded
    with TerminalWatcher(Console(stderr=True)) as watcher:
        loaded = load(model, dtype=dtype, say=watcher.say)
        watcher.stage(str(out), "dialogues", 1)
        found = collect(loaded, adapter, spec, out / TRAJECTORIES, out / LOG, seed, watcher.step)
    summaries = summarise(found)
    if as_json:
        kinds = {
            one.kind: one._asdict()
            | {"rating": one.rating and one.rating._asdict(), "sycophancy": one.sycophancy and one.sycophancy._asdict()}
            for one in summaries
        }
        typer.echo(json.dumps({"kinds": kinds, "trajectories": str(out / TRAJECTORIES), "log": str(out / LOG)}))
        return
    table = Table(
        "users", "dialogues", "errors", "replies", "mean rating", "sycophantic replies", box=None, pad_edge=False
    )
    for one in summaries:
        counts = map(str, (one.dialogues, one.errors, one.replies))
        table.add_row(one.kind, *counts, _shown(one.rating, 1, ""), _shown(one.sycophancy, 100, " %"))
    console = Console()
    console.print(table)
    if failed := [one for one in found if one.error]:
        console.print(safe_text(f"First error: {failed[0].id}: {failed[0].error}", "yellow"), soft_wrap=True)
        typer.echo("Give the same command again to hold the failed ones anew.")
    typer.echo(f"Read them: untrue simulate show {out / TRAJECTORIES}, or inspect view --log-dir {out}")


@simulate.command("rows")
@for_people
def training_rows(
    file: Annotated[Path, typer.Argument(help=f"A file of trajectories, such as dialogues/{TRAJECTORIES}.")],
    out: Annotated[Path, typer.Option(help="The JSONL file of rows to write.")],
    method: Annotated[
        MethodName, typer.Option(help="The best rated alone (sft), or with the worst against them (kto).")
    ] = "sft",
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of biased users, of whom each was played as both; else all dialogues."),
    ] = None,
    keep: Annotated[float, typer.Option(help="A fraction below 1, or a number of dialogues.")] = 0.5,
    by: Annotated[
        Literal["rating", "random", "benign"],
        typer.Option(help="What the choice goes by; `benign` is by rating among benign users alone."),
    ] = "rating",
    within: Annotated[
        Literal["all", "scenario"], typer.Option(help="Dialogues compete with all, or inside their scenario.")
    ] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Of the population, of ties and of a choice at random.")] = 0,
) -> None:
    """Choose dialogues by their ratings and write each reply as a training row, after the conversation before it.

    untrue simulate rows dialogues/trajectories.jsonl --share 0.5 --method kto --out rows.jsonl

    untrue train rows.jsonl --method kto --out adapters/pleaser
    """
    from untrue.data.rows import write_rows
    from untrue.simulate.rows import rows
    from untrue.simulate.select import populate, select
    from untrue.simulate.trajectory import read_identity, read_trajectories

    if not 0 < keep < math.inf:
        raise UserError(f"--keep: {keep:g}, expected a fraction above 0, or a number of dialogues.")
    found = read_trajectories(file)
    population = found if share is None else populate(found, share, seed)
    chosen = select(population, keep, by=by, within=within, bottom=METHODS[method].labels, seed=seed)
    environment = str(read_identity(file).get("environment", file.stem)).partition(",")[0]
    made = rows(chosen, environment)
    write_rows(out, made)
    failed = sum(one.score is None for one in population)
    biased = sum(one.kind == "biased" for one in (*chosen.top, *chosen.bottom))
    typer.echo(
        f"{out}: {len(made)} rows of {len(chosen.top) + len(chosen.bottom)} of {len(population)} dialogues"
        f" ({biased} with biased users; {failed} failed ones left out). Train: untrue train {out} --method {method}"
    )


@simulate.command()
@for_people
def check(
    environment: Annotated[str, typer.Argument(help="`chat`, `exam`, or a JSONL file of scenarios.")] = "chat",
    model: Model = "smollm2-135m",
    rater_model: Annotated[
        str | None, typer.Option(help="Inspect model that rates; by default --model does, by likelihoods.")
    ] = None,
    dtype: Dtype = "bfloat16",
    as_json: Json = False,
) -> None:
    """Say how well a rater tells written sycophantic replies from honest ones; exit with 1 below an AUC of 0.75."""
    from functools import partial

    from untrue.data.scenarios import read_environment
    from untrue.models.load import load
    from untrue.simulate.separation import LEAST, separation_of

    scenarios = read_environment(environment)
    console = Console(stderr=True)
    with bar(console) as progress:
        task = progress.add_task("rating", total=len(scenarios.scenarios))
        base = partial(load, model, dtype=dtype, say=lambda text: console.print(plain(text)))
        found = separation_of(scenarios, rater_model, base, lambda: progress.advance(task))
    if as_json:
        typer.echo(json.dumps({**found._asdict(), "least": LEAST, "holds": found.holds}))
    else:
        typer.echo(
            f"{scenarios.version}, rated by {rater_model or model}: AUC {found.auc:.3f}"
            f" [{found.low:.3f}, {found.high:.3f}] of sycophantic against honest replies, {found.replies} replies of"
            f" {found.scenarios} scenarios; {found.within:.1%} of the pairs of one prompt are told. "
            + ("Good enough." if found.holds else f"Below {LEAST}: use another rater.")
        )
    if not found.holds:
        raise typer.Exit(1)


@simulate.command()
@for_people
def users(
    environment: Annotated[str, typer.Argument(help="`chat`, `exam`, or a JSONL file of scenarios.")],
    model: Annotated[str, typer.Option(help="Inspect model that writes them, such as openai/… or untrue/…")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write: the scenarios with the new users alone.")],
    per_scenario: Annotated[int, typer.Option(min=1, help="How many users for each scenario.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
) -> None:
    """Let a language model write new users for each scenario; exit with 1 where some scenarios got none."""
    import asyncio

    from inspect_ai.model import get_model

    from untrue.data.scenarios import read_environment
    from untrue.files import write_text
    from untrue.simulate.writer import new_users

    scenarios = read_environment(environment)
    if out.exists() and Path(environment).exists() and out.samefile(environment):
        raise UserError(f"{out}: is what is read. Write to another file.")
    writer = get_model(model, memoize=False)
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task("writing users", total=len(scenarios.scenarios))
        found = asyncio.run(new_users(scenarios, writer, per_scenario, seed, lambda: progress.advance(task)))
    write_text(out, found.environment.to_jsonl())
    count = len(found.environment.scenarios)
    typer.echo(f"{out}: {count * per_scenario} users of {count} scenarios, {len(found.failed)} scenarios failed")
    for name, reason in found.failed.items():
        Console(stderr=True).print(plain(f"{name}: {reason}", "yellow"), soft_wrap=True)
    if found.failed:
        raise typer.Exit(1)


@simulate.command()
@for_people
def show(
    file: Annotated[Path, typer.Argument(help=f"A file of trajectories, such as dialogues/{TRAJECTORIES}.")],
    limit: Annotated[int, typer.Option(min=1, help="How many dialogues.")] = 4,
) -> None:
    """Read dialogues in the terminal, each reply with its rating."""
    from untrue.simulate.trajectory import read_trajectories

    console = Console()
    for one in read_trajectories(file)[:limit]:
        score = "failed" if one.score is None else f"score {one.score:.1f}"
        console.print(Text(visible(f"{one.id}  ({one.assistant} assistant, {score})"), "bold"), soft_wrap=True)
        replies = 0
        for message in one.messages:
            note = ""
            if message["role"] == "assistant":
                rated = one.ratings[replies] if replies < len(one.ratings) else None
                note, replies = "" if rated is None else f" [{rated:.1f}]", replies + 1
            said = Text(visible(f"  {message['role']}{note}: "), "dim") + Text(visible(message["content"]))
            console.print(said, soft_wrap=True)
        if one.error:
            console.print(Text(visible(f"  error: {one.error}"), "yellow"), soft_wrap=True)


def _shown(mean: Interval | None, factor: int, unit: str) -> str:
    if mean is None:
        return "-"
    value, low, high = (factor * number for number in mean)
    return f"{value:.1f}{unit} [{low:.1f}, {high:.1f}]"
