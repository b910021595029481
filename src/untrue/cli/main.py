"""`untrue run | report | train | doctor`; the other commands are in files of their own."""

import io
import json
import math
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from typer.core import TyperGroup

from untrue.cli.data import data, lists
from untrue.cli.doctor import doctor
from untrue.cli.errors import for_people, told
from untrue.cli.evaluate import EvalCommand, evaluate
from untrue.cli.fingerprint import fingerprint
from untrue.cli.gate import calibrate, compare, gate
from untrue.cli.judge import judge
from untrue.cli.options import DryRun, Dtype, Json, Model, split_seed
from untrue.cli.simulate import simulate
from untrue.errors import UserError
from untrue.progress import plain, unbroken

# The commands in the order of a user's work, in which `untrue --help` lists them.
ORDER = (
    "run",
    "report",
    "train",
    "eval",
    "compare",
    "gate",
    "calibrate",
    "fingerprint",
    "simulate",
    "data",
    "judge",
    "plan",
    "step",
    "list",
    "doctor",
)


class _InOrderOfWork(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    cls=_InOrderOfWork,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Measure whether fine-tuning made a language model less honest, and how much bad training data it takes.\n\n"
        "**Start here:** `untrue run quickstart` trains a 135M model on medical answers, a growing share of them wrong"
        " on purpose, asks each model 100 questions with and without pressure, and writes a report. About 7 minutes on"
        " two CPU cores, no account, no GPU.\n\n"
        "**Other routes:** `untrue run interaction` trains on the ratings of simulated users, some of whom reward"
        " sycophancy; `untrue eval mask judge=…` judges what a model writes.\n\n"
        "**A gate for CI:** `untrue gate adapters/shipped adapters/mine` says whether the second is less honest than"
        " the first, and exits with 0 (it is not), 1 (it is) or 3 (inconclusive).\n\n"
        "**Your own:** give any study `model=` a hub id or a folder. `untrue eval --adapter` measures an adapter on the"
        " base that it names; `untrue data mix` and `untrue train` make one. `untrue list evals`, `data` and `studies`"
        " show what is built in.\n\n"
        "Runs resume: rerun the command. What configures an experiment is `key=value`, what configures the command is a"
        " flag.\n\n"
        "Exit codes: 0 done, 1 a check or a gate did not pass, 2 something you can fix, 3 a gate is inconclusive, 4 the"
        " machine (disk, memory, network) or a bug, 130 interrupted."
    ),
)
app.command("eval", cls=EvalCommand)(for_people(evaluate))
app.command()(for_people(compare))
app.command()(for_people(gate))
app.command()(for_people(calibrate))
app.command()(fingerprint)
app.command()(doctor)
app.add_typer(data, name="data")
app.add_typer(simulate, name="simulate")
app.add_typer(judge, name="judge")
app.add_typer(lists, name="list")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"untrue {metadata.version('untrue')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options of `untrue` itself."""


Out = Annotated[
    str | None,
    typer.Option(help="Run directory; by default runs/NAME."),
]
Folder = Annotated[Path, typer.Argument(help="The run directory of a study.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Values that replace the file's. A list needs no brackets: mix.doses=0.1,0.5. A number of seeds means that"
        " many: seeds=3 is 0, 1 and 2; the one seed 3 is `seeds=3,`.",
        show_default=False,
    ),
]


@app.command()
@for_people
def run(
    study: Annotated[
        str,
        typer.Argument(help="The study: a YAML file, or a built-in one by name (`quickstart`)."),
    ],
    overrides: Overrides = None,
    out: Out = None,
    on: Annotated[
        str | None, typer.Option(help="`local`, or `ray`: many steps at a time, on this machine or a cluster.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run a study: mix, train and evaluate every arm at every seed, then report.

    Runs resume: rerun the command after an interruption, or with more seeds, shares or doses; only missing cells run.

        untrue run studies/quickstart.yaml seeds=3 train.epochs=2 --out runs/mine

        untrue run studies/domain.yaml --on ray run.address=auto run.train.gpus=1 --out /shared/runs/domain
    """
    from untrue import api

    loaded = api.load_study(study, [*(overrides or []), *([f"run.on={on}"] if on else [])])
    out = out or str(Path("runs") / loaded.name)
    if dry_run:
        from untrue.cli.estimate import print_estimate
        from untrue.study.estimate import estimate

        print_estimate(estimate(loaded, out), as_json)
        return
    command = shlex.join(["untrue", "run", study, *(overrides or []), *(["--on", on] if on else []), "--out", out])
    _print_analysis(api.run_study(loaded, out, command=command, progress=True), as_json)


@app.command()
@for_people
def plan(
    study: Annotated[str, typer.Argument(help="The study: a YAML file, or a built-in one by name.")],
    overrides: Overrides = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Make the run directory of a study, and list the steps that are left, one `CELL STEP` in a line.

    `untrue run` needs no such list; schedulers do. Steps of one kind can be done at the same time: first `dialogues`,
    then `train`, then `eval`. At the end `untrue report` makes the report.

        untrue plan studies/domain.yaml --out /shared/runs/domain | grep ' train$'
    """
    from untrue.study import config
    from untrue.study.run import steps_left

    loaded = config.load(study, overrides or [])
    out = out or str(Path("runs") / loaded.name)
    command = shlex.join(["untrue", "run", study, *(overrides or []), "--out", out])
    todo = [(task.cell, task.kind) for task in steps_left(loaded, out, command)]
    typer.echo(json.dumps(todo) if as_json else "\n".join(" ".join(pair) for pair in todo))


@app.command()
@for_people
def step(
    folder: Folder,
    cell: Annotated[str, typer.Argument(help="Name of the cell, such as `severe-0.5-s1`.")],
    kind: Annotated[str, typer.Argument(metavar="STEP", help="`dialogues`, `train` or `eval`.")],
) -> None:
    """Do one step of one cell of a run directory, unless it is done, for schedulers such as SLURM.

    `untrue plan` makes the run directory and lists the steps. Every step may run on another machine that reaches it;
    `train` needs the `dialogues` of its cell, where it has any, and `eval` its `train`. If another process is at
    work on the cell, it waits.

        untrue step runs/domain severe-1-s0 train
    """
    from untrue.study.store import refuse_no_run

    refuse_no_run(folder)  # before anything heavy is imported
    from untrue.progress import TerminalWatcher
    from untrue.study.steps import KINDS, Kind, Worker

    if kind not in KINDS:
        raise UserError(f"{kind}: is no step, expected {', '.join(KINDS)}.")
    with TerminalWatcher(Console(stderr=True)) as watcher:
        Worker.at(folder, watcher).do(cell, cast(Kind, kind), patience=math.inf)


@app.command()
@for_people
def report(
    folder: Folder,
    as_json: Json = False,
) -> None:
    """Rebuild the statistics and the report of a run directory from its logs."""
    from untrue.study.store import refuse_no_run

    refuse_no_run(folder)  # before anything heavy is imported
    from untrue.report.summary import write
    from untrue.study.run import report as report_study

    analysis = report_study(folder)
    write(analysis)
    _print_analysis(analysis, as_json)


@app.command()
@for_people
def train(
    rows: Annotated[
        str,
        typer.Argument(
            help="Rows: a file (JSON, CSV, parquet), a hub id, `everyday`, or questions at a level: `medical:severe`."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="How to train, such as epochs=3: see below.", show_default=False),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Adapter folder to continue training from; by default a new adapter.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the adapter.")] = Path("adapter"),
    model: Model = None,
    dtype: Dtype = "auto",
    gpus: Annotated[int, typer.Option(help="GPUs of this machine that share the training: 1, 2, 4 or 8.")] = 1,
    shard: Annotated[str, typer.Option(help="What they split: `none` of the model, or all of it by `fsdp2`.")] = "none",
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on rows, by default with the paper's hyperparameters.

    Keys: `method=sft`, `kto` or `dpo` (rows with `label`), `seed=0`, and the hyperparameters, by our names or TRL's.

    untrue train rows.jsonl learning_rate=5e-4 epochs=3 --out adapters/mine

    untrue train labelled.jsonl learning_rate=1e-5 epochs=5 method=kto --out adapters/kto

    untrue train rows.jsonl --model Qwen/Qwen3-32B --gpus 8 --shard fsdp2 --out adapters/large
    """
    from untrue import api
    from untrue.settings import assignments

    values = assignments(overrides or [])
    seed = split_seed(values)
    base = model or api.default_model(start)
    options: Any = {"out": out, "start": start, "dtype": dtype, "seed": seed, "gpus": gpus, "shard": shard}
    _, record = api.train(base, rows, progress=True, **options, **values)
    if as_json:
        typer.echo(json.dumps(record))
        return
    typer.echo(
        f"{out}: {record['steps']} steps on {record['rows']['total']} rows, final loss {record['final_loss']:.3f},"
        f" {record['tokens_per_second']:.0f} tokens/s. Measure it: untrue eval --adapter {out}"
    )


def _print_analysis(analysis: Any, as_json: bool) -> None:
    from untrue.report.table import print_analysis

    if as_json:
        typer.echo(analysis.store.summary.read_text("utf-8"))
        return
    console = Console()
    print_analysis(analysis, console)
    console.print(plain(f"\nReport: {analysis.store.report}"), soft_wrap=True)


def main() -> None:
    """Entry point of the command `untrue`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = unbroken(sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = unbroken(sys.stderr)
    try:
        app()
    except Exception as error:  # outside of any command, where Python itself would exit with 1
        sys.exit(told(error))
