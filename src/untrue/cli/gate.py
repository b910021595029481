"""`untrue compare` and `untrue gate`: two models, adapters, arms of runs or logs, item by item."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
        comparisons = compared(*subjects.both(first, second, model))
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
            help=f"Each is {WHAT}. An adapter alone is compared with its own base; a trained baseline is better"
            " (docs/gate.md).",
        ),
    ],
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

    - pass: every loss is certainly below what `delta` tolerates;
    - regression: some loss is certain, or the candidate is broken;
    - inconclusive: neither. The output says how many items would settle it, where that can be said.

    Keys are those of `gate.yaml`, such as delta.lie_rate=0.03 or alpha=0.025. Runs resume: rerun the command. Where
    GITHUB_STEP_SUMMARY is set, the verdict is added to the job's summary.

        untrue gate adapters/shipped adapters/mine --junit gate.xml

        untrue gate adapters/mine
    """
    from untrue.errors import UserError
    from untrue.files import write_text
    from untrue.gating.config import GateConfig
    from untrue.gating.subjects import own_base
    from untrue.gating.verdict import gate as decide
    from untrue.report import gate as report
    from untrue.settings import assignments, load, validate

    overrides = [word for word in subjects if "=" in word and not Path(word).exists()]
    sides = [word for word in subjects if word not in overrides]
    if len(sides) not in (1, 2):
        raise UserError(f"expected a baseline and a candidate, or an adapter alone; found {len(sides)} of them.")
    settings = load(GateConfig, config, overrides) if config else validate(GateConfig, assignments(overrides))
    with _subjects(settings.evals, out, dtype) as of:
        candidate = sides[-1]
        baseline = sides[0] if len(sides) == 2 else own_base(candidate, model)
        verdict = decide(*of.both(baseline, candidate, model), settings)
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
