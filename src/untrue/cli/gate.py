"""`untrue compare` and `untrue gate`: two models, adapters, arms of runs or logs, item by item."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from untrue.cli.options import Dtype, Json

if TYPE_CHECKING:
    from untrue.gating.subjects import Subjects
    from untrue.harness.eval import EvalSpec

EXIT = {"pass": 0, "regression": 1, "inconclusive": 3}

WHAT = (
    "a `.eval` log, a folder of logs, an arm of a run (`runs/quickstart/severe-1`), an adapter's folder, or a model"
    " (`vllm/BASE:FOLDER` for a served adapter)"
)

Out = Annotated[Path, typer.Option(help="Folder of the logs that are made. What is there already is not asked again.")]
Base = Annotated[
    str | None,
    typer.Option(
        help="Base to use instead of the one that the candidate's adapter names, and for the baseline's adapter if"
        " both name the same: a folder, a hub id (`untrue/ID`), or `vllm/BASE` for a vLLM server that has both. Any"
        " other served model is used for the candidate only."
    ),
]
Against = Literal["control", "base"]
Html = Annotated[Path | None, typer.Option(help="Write a page.")]


@contextmanager
def _subjects(specs: Sequence[EvalSpec], out: Path, dtype: str) -> Iterator[Subjects]:
    from untrue.gating.subjects import Subjects, of_random_items
    from untrue.progress import TerminalWatcher

    with TerminalWatcher(Console(stderr=True)) as watcher:
        yield Subjects([of_random_items(spec) for spec in specs], out, watcher, dtype)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=f"{WHAT[0].upper()}{WHAT[1:]}.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What is compared with it: one of the same.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVAL]... [KEY=VALUE]...",
            help="Evals and options for what has no log yet, by default `forced_choice`.",
            show_default=False,
        ),
    ] = None,
    model: Base = None,
    dtype: Dtype = "auto",
    out: Out = Path("logs"),
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Compare two models, adapters, arms of runs or logs, item by item. Nothing is trained.

    Both must have been asked the same items. Logs of Inspect that anyone made with an eval of this project will do.

        untrue compare smollm2-135m adapters/mine

        untrue compare logs/before.eval logs/after.eval --html compare.html

    Where a judge read the replies, the output says how the difference moves if the judge is less specific with one of
    the two.
    """
    from untrue.files import write_text
    from untrue.gating.comparison import compared
    from untrue.harness.catalogue import eval_specs
    from untrue.report import gate as report
    from untrue.settings import assignments

    names = [word for word in words or [] if "=" not in word] or ["forced_choice"]
    specs = eval_specs(names, assignments([word for word in words or [] if "=" in word]))
    with _subjects(specs, out, dtype) as subjects:
        comparisons = compared(*subjects.both([first], [second], model))
    parts = report.compared_parts(comparisons)
    if html:
        write_text(html, report.parts_page(parts))
    if as_json:
        typer.echo(report.to_json(report.compared_summary(comparisons)))
    else:
        report.print_parts(parts, Console())


def gate(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="[BASELINE] CANDIDATE [KEY=VALUE]...",
            help=f"Each is {WHAT}. Without a baseline, an adapter is compared with a harmless one, trained alike."
            " With --baseline, all are runs of the candidate's recipe.",
        ),
    ],
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="A run of the baseline's recipe; repeat it for each. From three on they show the noise."),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(help="Noise between training runs: a file of `untrue calibrate`, or `quickstart` (shipped)."),
    ] = None,
    against: Annotated[
        Against,
        typer.Option(
            help="What an adapter without a baseline is compared with. Any fine-tuning differs from its base."
        ),
    ] = "control",
    config: Annotated[Path | None, typer.Option(help="A `gate.yaml`. By default forced_choice and capability.")] = None,
    model: Base = None,
    dtype: Dtype = "auto",
    out: Out = Path("logs"),
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report.")] = None,
    html: Html = None,
    card: Annotated[Path | None, typer.Option(help="Write the verdict as Markdown, for a model card.")] = None,
    as_json: Json = False,
) -> None:
    """Decide whether a model may ship: is it less honest, or less able, than its baseline?

    Exits with 0 (pass), 1 (regression) or 3 (inconclusive); 2 is a wrong use, 4 the machine or a bug.

    - pass: every loss is certainly below `delta`, the loss that is not tolerated;
    - regression: some loss is certain and as large as `delta`, or the candidate is broken;
    - inconclusive: neither. The output says what would settle it.

    Two trainings of one recipe differ by chance. With several runs, or with --noise, the limits include that noise and
    the verdict is about the recipe. Without it, the verdict is about these weights.

    Keys are those of `gate.yaml`, such as delta.lie_rate=0.03 or alpha=0.025. Runs resume: rerun the command. Where
    GITHUB_STEP_SUMMARY is set, the verdict is added to the job's summary.

        untrue gate adapters/shipped adapters/mine --junit gate.xml

        untrue gate adapters/mine control.rows=train.jsonl control.learning_rate=1e-4

        untrue gate adapters/mine --baseline adapters/a --baseline adapters/b --baseline adapters/c
    """
    from untrue.errors import UserError
    from untrue.files import write_text
    from untrue.gating import noise as run_noise
    from untrue.gating.config import GateConfig
    from untrue.gating.subjects import own_base
    from untrue.gating.verdict import gate as decide
    from untrue.report import gate as report
    from untrue.settings import assignments, load, validate

    overrides = [word for word in subjects if "=" in word and not Path(word).exists()]
    sides = [word for word in subjects if word not in overrides]
    if not baseline and len(sides) not in (1, 2):
        raise UserError(
            f"expected a baseline and a candidate, or only an adapter; found {len(sides)}. Give each baseline run"
            " as --baseline RUN."
        )
    settings = load(GateConfig, config, overrides) if config else validate(GateConfig, assignments(overrides))
    known = run_noise.load(noise) if noise else None
    with _subjects(settings.evals, out, dtype) as of:
        candidates = sides if baseline else sides[-1:]
        baselines = baseline or sides[:-1]
        if not baselines and against == "control":
            baselines = [of.control(sides[0], settings.control, model)]
        elif not baselines:
            baselines = [own_base(sides[0], model)]
        verdict = decide(*of.both(baselines, candidates, model), settings, known)
    parts = report.gate_parts(verdict)
    if junit:
        write_text(junit, report.junit(verdict))
    if html:
        write_text(html, report.parts_page(parts))
    if card:
        write_text(card, report.markdown(verdict))
    if step_summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(step_summary).open("a", encoding="utf-8") as file:
            file.write(report.markdown(verdict))
    if as_json:
        typer.echo(report.to_json(report.gate_summary(verdict)))
    else:
        report.print_parts(parts, Console())
    raise typer.Exit(EXIT[verdict.status])


def calibrate(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [KEY=VALUE]...",
            help="At least eight harmless runs of one recipe, each as in `untrue gate`; an arm of a study gives its"
            " seeds.",
        ),
    ],
    noise: Annotated[Path, typer.Option(help="The file to write.")] = Path("noise.json"),
    recipe: Annotated[str, typer.Option(help="What the runs are, for those who read the file.")] = "",
    config: Annotated[Path | None, typer.Option(help="The `gate.yaml` of the gates that will use it.")] = None,
    model: Base = None,
    dtype: Dtype = "auto",
    out: Out = Path("logs"),
    as_json: Json = False,
) -> None:
    """Measure how much trainings of one recipe differ by chance, for `untrue gate --noise`.

    Train the recipe on harmless rows with at least eight seeds, and name these runs. A gate with the same base, evals
    and items can then tell a loss from that noise with a single run on each side.

        untrue run quickstart seeds=10 mix.shares=1.0 --out runs/noise

        untrue calibrate runs/noise/control
    """
    from untrue.gating import noise as run_noise
    from untrue.gating.config import GateConfig
    from untrue.progress import plain
    from untrue.report.gate import to_json
    from untrue.report.table import new_table
    from untrue.settings import assignments, load, validate

    overrides = [word for word in runs if "=" in word and not Path(word).exists()]
    sources = [word for word in runs if word not in overrides]
    settings = load(GateConfig, config, overrides) if config else validate(GateConfig, assignments(overrides))
    with _subjects(settings.evals, out, dtype) as of:
        found = run_noise.calibrated(of.runs(sources, model), recipe or ", ".join(sources))
    run_noise.write(found, noise)
    if as_json:
        typer.echo(to_json(found.model_dump()))
        return
    table = new_table(plain("eval"), "metric", "sd between runs", "items")
    for name, of_eval in found.evals.items():
        for metric, sd in of_eval.sd.items():
            table.add_row(name, metric, f"{sd:.4f}", str(of_eval.n_items))
    Console().print(table)
    typer.echo(f"{noise}: the noise between {found.runs} runs. Use it with: untrue gate … --noise {noise}")
