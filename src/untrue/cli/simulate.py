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
from untrue.cli.options import SEED_KEY, Dtype, Json, keys_of, split_seed
from untrue.errors import UserError
from untrue.progress import plain
from untrue.settings import assignments, validate
from untrue.simulate.environment import CollectSpec
from untrue.simulate.select import SelectSpec
from untrue.training.spec import METHODS

if TYPE_CHECKING:
    from untrue.stats.types import Interval

simulate = typer.Typer(
    no_args_is_help=True, help="Let simulated users, benign and biased, talk with a model and rate its replies."
)

Trajectories = Annotated[Path, typer.Argument(help="A file of trajectories, such as dialogues/trajectories.jsonl.")]


@simulate.command(epilog=keys_of(CollectSpec) + SEED_KEY)
@for_people
def run(
    out: Annotated[Path, typer.Option(help="Folder for trajectories.jsonl and the Inspect log trajectories.eval.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys: see below.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="`smollm2-135m` (embedded), a hub id, a folder, or a served model (`vllm/BASE`), which writes its"
            " replies. By default the base that the adapter names, or `smollm2-135m`."
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
    from untrue.api import default_model
    from untrue.models.load import load
    from untrue.models.name import ModelName
    from untrue.progress import TerminalWatcher
    from untrue.report.summary import finite
    from untrue.serving.proof import proved
    from untrue.simulate.collect import CHOSEN_HERE, Local, check, collect
    from untrue.simulate.environment import dialogues, read_environment
    from untrue.simulate.trajectory import summarise

    values = assignments(settings or [])
    seed = split_seed(values)
    spec = validate(CollectSpec, values)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file. Give --out a folder.")
    path = out / "trajectories.jsonl"
    if model is None:
        name = ModelName(default_model(adapter), None, adapter)
    elif spec.replies == "chosen":
        name = ModelName.here(model, CHOSEN_HERE, adapter)
    else:
        name = ModelName.parse(model, adapter)
    check(spec)
    dialogues(read_environment(spec.environment), spec.users, part=spec.part)  # fails before a model is loaded
    with TerminalWatcher(Console(stderr=True)) as watcher:
        if name.provider:
            assistant = proved(name, watcher.say)
        else:
            assistant = Local(load(name.model, dtype=dtype, say=watcher.say), name.adapter)
        watcher.stage(str(out), "dialogues")
        trajectories = collect(assistant, spec, path, seed, watcher.step)
    summaries = summarise(trajectories)
    if as_json:
        kinds = {summary.kind: finite(summary) for summary in summaries}
        typer.echo(json.dumps({"kinds": kinds, "trajectories": str(path), "log": str(path.with_suffix(".eval"))}))
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
    selection = select(population, spec.keep, by=spec.by, bottom=METHODS[spec.method].labels, seed=seed)
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
