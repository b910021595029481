"""`untrue eval`: one model, one eval or several; and what judged evals would cost, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from untrue.cli.options import DryRun, Dtype, split_seed
from untrue.errors import UserError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from untrue.api import EvaluationPart
    from untrue.harness.eval import EvalSpec
    from untrue.harness.run import Cost
    from untrue.judge.cost import Estimate


class EvalCommand(TyperCommand):
    """`untrue eval`, whose help lists the evals and their options."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        self.epilog = _evals()
        super().format_help(ctx, formatter)


def _evals() -> str:
    """Each eval and its options, as paragraphs."""
    from untrue.harness.catalogue import EVALS
    from untrue.harness.eval import EvalSpec, JudgedSpec

    common, judged = EvalSpec.model_fields, JudgedSpec.model_fields
    paragraphs = ["**Evals**"]
    paragraphs += [f"* `{name}`{' (judged)' if record.judged else ''}: {record.asks}" for name, record in EVALS.items()]
    paragraphs += [
        "**Options of all evals**",
        *_described(common, "name", "label"),
        "* `seed`: of the replies of a model in this process",
    ]
    paragraphs += ["**Options of judged evals**", *_described(judged, *common)]
    for record in EVALS.values():
        if own := _described(record.options.model_fields, *(judged if record.judged else common)):
            paragraphs += [f"**Options of {record.name}**", *own]
    return "\n\n".join(paragraphs)


def _described(fields: Mapping[str, FieldInfo], *others: str) -> list[str]:
    return [f"* `{name}`: {info.description}" for name, info in fields.items() if name not in others]


def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVAL]... [KEY=VALUE]...",
            help="Evals, by default `forced_choice`, and options, such as judge=openai/gpt-5-mini limit=50.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="`smollm2-135m` (embedded), a hub id or a folder; with judged evals and `capability` also any model"
            " as Inspect names it: `openai/…`, `openai-api/…`, `vllm/BASE`, `vllm/BASE:ADAPTER`, `hf/…`. By default the"
            " base that the adapter names, or `smollm2-135m` without one."
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a PEFT adapter. A local model loads it onto its base. A served --model must first prove"
            " that it answers with it; a server of `vllm/BASE` is given it where it does not have it."
        ),
    ] = None,
    dtype: Dtype = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the Inspect logs, each named by its eval and model.")] = Path(
        "logs"
    ),
    log: Annotated[Path | None, typer.Option(help="The Inspect log of one eval, instead of a name in --out.")] = None,
    dry_run: DryRun = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on standard output: of several evals by their names.")
    ] = False,
) -> None:
    """Measure a model, or an adapter on it, by one eval or several.

    Runs of judged evals resume: rerun the command, and only what failed or is missing is asked. With more epochs or a
    higher limit, the replies that are there are taken.

        untrue eval mask unknowns judge=openai/gpt-5-mini epochs=3 --adapter adapters/mine --dry-run

    The log opens with `inspect view`. `untrue compare` compares two models item by item.
    """
    from untrue.api import default_model
    from untrue.api import evaluate as evaluate_model
    from untrue.harness.catalogue import eval_specs
    from untrue.settings import assignments

    names = [word for word in words or [] if "=" not in word] or ["forced_choice"]
    options = assignments([word for word in words or [] if "=" in word])
    seed = split_seed(options)
    specs = eval_specs(names, options)
    if log:
        _refuse_log(log, specs)
    if dry_run:
        _dry_run(specs, model or f"untrue/{default_model(adapter)}", adapter, as_json)
        return
    evaluation = evaluate_model(
        model, adapter=adapter, evals=specs, dtype=dtype, seed=seed, log_dir=out, log=log, progress=True
    )
    shown = {part.spec.name: _show(part, as_json) for part in evaluation.parts}
    if as_json:
        typer.echo(json.dumps(shown if len(shown) > 1 else shown[specs[0].name]))


def _refuse_log(log: Path, specs: Sequence[EvalSpec]) -> None:
    """Refuse a place where a log cannot or must not be written."""
    if len(specs) > 1:
        raise UserError(f"--log names one log, and there are {len(specs)} evals. Give --out a folder.")
    if log.is_dir():
        raise UserError(f"{log}: is a folder. Give --log a file, such as {log / 'mine.eval'}.")
    if log.suffix != ".eval":
        raise UserError(f"{log}: a log ends in .eval, and nothing else is replaced by one. Give --log another name.")


def _dry_run(specs: Sequence[EvalSpec], model: str, adapter: Path | None, as_json: bool) -> None:
    from untrue.harness.catalogue import EVALS
    from untrue.harness.reading import arm_name, model_for
    from untrue.harness.run import cost

    name = model_for(specs, model, adapter)
    arm = arm_name(str(name), name.adapter)
    judged = [spec for spec in specs if EVALS[spec.name].judged]
    if not judged:
        names = ", ".join(spec.name for spec in specs)
        raise UserError(f"{names} has no judge, so there is nothing to pay. Leave --dry-run out.")
    print_costs({(arm, spec.key): cost(EVALS[spec.name], spec, name.of_inspect) for spec in judged}, as_json)


def print_costs(costs: Mapping[tuple[str, str], Cost], as_json: bool) -> None:
    """Print one line for each (model, eval), and the sum."""
    known = [cost.dollars for cost in costs.values() if cost.dollars is not None]
    total = sum(known) if len(known) == len(costs) else None
    if as_json:
        rows = [
            {"model": model, "eval": name, "under_study": cost.model._asdict(), "judge": cost.judge._asdict()}
            for (model, name), cost in costs.items()
        ]
        typer.echo(json.dumps({"evals": rows, "dollars": total}))
        return
    if not costs:
        typer.echo("No judged eval is left to ask.")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in ("model", "eval"):
        table.add_column(heading, overflow="fold")
    for heading in ("replies", "tokens read", "written", "judgements", "tokens read", "written", "cost"):
        table.add_column(heading, justify="right")
    for (model, name), cost in costs.items():
        table.add_row(Text(model), Text(name), *_amounts(cost.model), *_amounts(cost.judge), in_dollars(cost.dollars))
    Console().print(table)
    typer.echo(
        f"Together {in_dollars(total)}, by rule of thumb: 4 characters a token, replies of up to 200 tokens, at most"
        " this many judgements. Nothing was asked or written."
    )


def _amounts(estimate: Estimate) -> tuple[str, str, str]:
    read, written = (f"{tokens / 1000:,.0f}k" for tokens in (estimate.input_tokens, estimate.output_tokens))
    return f"{estimate.calls:,}", read, written


def in_dollars(amount: float | None) -> str:
    """A price as it is printed."""
    return "price not known" if amount is None else f"${amount:.2f}"


def _show(part: EvaluationPart, as_json: bool) -> dict[str, Any]:
    """Print what a log says, or give it as JSON values."""
    from untrue.harness.catalogue import EVALS
    from untrue.report.summary import evaluated_summary
    from untrue.report.table import print_evaluated

    if as_json:
        return {**evaluated_summary(part.evaluated), "log": str(part.log)}
    print_evaluated(EVALS[part.spec.name], part.evaluated, Console())
    typer.echo(f"Every item, with its reason: inspect view --log-dir {part.log.parent}")
    return {}
