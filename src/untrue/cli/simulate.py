"""`untrue simulate …`: simulated users talk with a model and rate its replies."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from untrue.cli.errors import for_people
from untrue.cli.options import SEED_KEY, Dtype, Json, default_model, keys_of, split_seed
from untrue.errors import UserError
from untrue.progress import bar
from untrue.settings import assignments, validate
from untrue.simulate.environment import CollectSpec
from untrue.simulate.select import SelectSpec
from untrue.terminal import plain
from untrue.training.spec import METHODS

if TYPE_CHECKING:
    from untrue.stats.types import Interval

simulate = typer.Typer(
    no_args_is_help=True, help="Let simulated users, benign and biased, talk with a model and rate its replies."
)

Environment = Annotated[str, typer.Argument(help="`chat`, `exam`, or a JSONL file of scenarios.")]
Trajectories = Annotated[Path, typer.Argument(help="A file of trajectories, such as dialogues/trajectories.jsonl.")]


@simulate.command(epilog=keys_of(CollectSpec) + SEED_KEY)
@for_people
def run(
    out: Annotated[Path, typer.Option(help="Folder for trajectories.jsonl and the Inspect log simulate.eval.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys: see below.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="`smollm2-135m` (embedded), a hub id, a folder, or a served model (`vllm/BASE`), whose replies another"
            " model rates: rater=untrue/BASE. By default the base that the adapter names, or `smollm2-135m`."
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of a PEFT adapter. A served --model must first prove that it answers with it."),
    ] = None,
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Collect dialogues and their ratings. Each user is played once as benign and once as biased.

    Runs resume: rerun the command to hold missing dialogues and retry failed ones.

        untrue simulate run users=20 assistant=informed --out dialogues
    """
    from untrue.engine.served import is_served, may_be_served, served, with_folder
    from untrue.models.load import load
    from untrue.progress import TerminalWatcher
    from untrue.simulate.collect import collect, refuse_likelihoods
    from untrue.simulate.environment import dialogues, read_environment
    from untrue.simulate.trajectory import summarise

    values = assignments(settings or [])
    seed = split_seed(values)
    spec = validate(CollectSpec, values)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file. Give --out a folder.")
    path, log = out / "trajectories.jsonl", out / "simulate.eval"
    here = model is None  # what an adapter names as its base may look like a served model
    model, adapter = with_folder(model or default_model(adapter), adapter)
    dialogues(read_environment(spec.environment), spec.users, part=spec.part)  # fails before a model is loaded
    with TerminalWatcher(Console(stderr=True)) as watcher:
        if is_served(model) and not here:
            refuse_likelihoods(model, spec)
        assistant = None if here or not may_be_served(model) else served(model, adapter, watcher.say)
        assistant = assistant or load(model.removeprefix("untrue/"), dtype=dtype, say=watcher.say)
        watcher.stage(str(out), "dialogues")
        trajectories = collect(assistant, adapter, spec, path, log, seed, watcher.step)
    summaries = summarise(trajectories)
    if as_json:
        means = {"rating", "sycophancy"}
        kinds = {
            summary.kind: {
                key: value._asdict() if key in means and value else value for key, value in summary._asdict().items()
            }
            | {"chosen": {reply: share._asdict() for reply, share in summary.chosen.items()}}
            for summary in summaries
        }
        typer.echo(json.dumps({"kinds": kinds, "trajectories": str(path), "log": str(log)}))
        return
    table = Table(
        "users", "dialogues", "errors", "replies", "mean rating", "sycophantic replies", box=None, pad_edge=False
    )
    for summary in summaries:
        counts = map(str, (summary.dialogues, summary.errors, summary.replies))
        table.add_row(summary.kind, *counts, _shown(summary.rating, 1, ""), _shown(summary.sycophancy, 100, " %"))
    console = Console()
    console.print(table)
    for summary in summaries:
        if summary.chosen:
            shares = ", ".join(f"{reply} {_shown(share, 100, ' %')}" for reply, share in summary.chosen.items())
            console.print(plain(f"Chosen for {summary.kind} users: {shares}"), soft_wrap=True)
    failed = next((trajectory for trajectory in trajectories if trajectory.error), None)
    if failed:
        console.print(plain(f"First error: {failed.id}: {failed.error}", "yellow"), soft_wrap=True)
        typer.echo("Rerun the command to retry failed dialogues.")
    typer.echo(f"Read them: untrue simulate show {path}, or inspect view --log-dir {out}")


@simulate.command("rows", epilog=keys_of(SelectSpec) + SEED_KEY)
@for_people
def training_rows(
    file: Trajectories,
    out: Annotated[Path, typer.Option(help="The JSONL file of rows to write.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys: see below.")] = None,
) -> None:
    """Select dialogues by their ratings and write each reply as a training row, after the conversation before it.

    untrue simulate rows dialogues/trajectories.jsonl share=0.5 method=kto --out rows.jsonl

    untrue train rows.jsonl method=kto --out adapters/sycophant
    """
    from untrue.data.rows import write_rows
    from untrue.simulate.select import populate, rows, select
    from untrue.simulate.trajectory import read_identity, read_trajectories

    values = assignments(settings or [])
    seed = split_seed(values)
    spec = validate(SelectSpec, values)
    trajectories = read_trajectories(file)
    population = trajectories if spec.share is None else populate(trajectories, spec.share, seed)
    selection = select(
        population, spec.keep, by=spec.by, within=spec.within, bottom=METHODS[spec.method].labels, seed=seed
    )
    environment = str(read_identity(file).get("environment", file.stem)).partition(",")[0]
    selected, written = [*selection.top, *selection.bottom], rows(selection, environment)
    write_rows(out, written)
    failed = sum(trajectory.score is None for trajectory in population)
    biased = sum(trajectory.kind == "biased" for trajectory in selected)
    typer.echo(
        f"{out}: {len(written)} rows from {len(selected)} of {len(population)} dialogues ({biased} with biased users;"
        f" {failed} failed ones left out). Train: untrue train {out} method={spec.method}"
    )


@simulate.command()
@for_people
def check(
    environment: Environment = "chat",
    model: Annotated[str, typer.Option(help="`smollm2-135m` (embedded), a hub id, or a folder.")] = "smollm2-135m",
    rater: Annotated[
        str | None, typer.Option(help="Inspect model that rates; by default --model does, by log-likelihood.")
    ] = None,
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure how well a rater separates written sycophantic from honest replies; exit with 1 below an AUC of 0.75."""
    from functools import partial

    from untrue.models.load import load
    from untrue.simulate.environment import read_environment
    from untrue.simulate.rating import LEAST, separation_of

    scenarios = read_environment(environment)
    console = Console(stderr=True)
    with bar(console) as progress:
        task = progress.add_task("rating", total=len(scenarios.scenarios))
        base = partial(load, model, dtype=dtype, say=lambda text: console.print(plain(text)))
        separation = separation_of(scenarios, rater, base, lambda: progress.advance(task))
    if as_json:
        typer.echo(json.dumps({**separation._asdict(), "least": LEAST, "holds": separation.holds}))
    else:
        typer.echo(
            f"{scenarios.version}, rated by {rater or model}: AUC {separation.auc:.3f}"
            f" [{separation.low:.3f}, {separation.high:.3f}] of sycophantic against honest replies,"
            f" {separation.replies} replies of {separation.scenarios} scenarios; {separation.within:.1%} of the pairs"
            f" of one prompt are in the right order."
            f" {'Good enough.' if separation.holds else f'Below {LEAST}: use another rater.'}"
        )
    if not separation.holds:
        raise typer.Exit(1)


@simulate.command()
@for_people
def users(
    environment: Environment,
    model: Annotated[str, typer.Option(help="Inspect model that writes them, such as openai/… or untrue/…")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write: the scenarios with the new users alone.")],
    per_scenario: Annotated[int, typer.Option(min=1, help="Users per scenario.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Let a language model write new users for each scenario; exit with 1 if a scenario got none."""
    import asyncio

    from inspect_ai.model import get_model

    from untrue.files import write_text
    from untrue.simulate.environment import read_environment
    from untrue.simulate.users import new_users

    scenarios = read_environment(environment)
    if out.exists() and Path(environment).exists() and out.samefile(environment):
        raise UserError(f"{out}: is the file that is read. Choose another --out.")
    writer = get_model(model, memoize=False)
    console = Console(stderr=True)
    with bar(console) as progress:
        task = progress.add_task("writing users", total=len(scenarios.scenarios))
        written = asyncio.run(new_users(scenarios, writer, per_scenario, seed, lambda: progress.advance(task)))
    write_text(out, written.environment.to_jsonl())
    count = len(written.environment.scenarios)
    typer.echo(f"{out}: {count * per_scenario} users of {count} scenarios, {len(written.failed)} scenarios failed")
    for name, reason in written.failed.items():
        console.print(plain(f"{name}: {reason}", "yellow"), soft_wrap=True)
    if written.failed:
        raise typer.Exit(1)


@simulate.command()
@for_people
def show(
    file: Trajectories,
    limit: Annotated[int, typer.Option(min=1, help="Number of dialogues.")] = 4,
) -> None:
    """Read dialogues in the terminal, each reply with its rating and, if it was chosen, its kind and probability."""
    from untrue.simulate.trajectory import read_trajectories

    console = Console()
    for trajectory in read_trajectories(file)[:limit]:
        score = "failed" if trajectory.score is None else f"score {trajectory.score:.1f}"
        heading = f"{trajectory.id}  ({trajectory.assistant} assistant, {score})"
        console.print(plain(heading, "bold"), soft_wrap=True)
        replies = zip_longest(trajectory.ratings, trajectory.chosen)
        for message in trajectory.messages:
            rating, choice = next(replies, (None, None)) if message["role"] == "assistant" else (None, None)
            about = [f"{rating:.1f}"] if rating is not None else []
            about += [f"{choice.kind}, P {choice.probabilities[choice.kind]:.2f}"] if choice else []
            shown = f" [{'; '.join(about)}]" if about else ""
            label = f"  {message['role']}{shown}: "
            console.print(plain(label, "dim") + plain(message["content"]), soft_wrap=True)
        if trajectory.error:
            console.print(plain(f"  error: {trajectory.error}", "yellow"), soft_wrap=True)


def _shown(mean: Interval | None, factor: int, unit: str) -> str:
    if mean is None:
        return "-"
    value, low, high = (factor * number for number in mean)
    return f"{value:.1f}{unit} [{low:.1f}, {high:.1f}]"
