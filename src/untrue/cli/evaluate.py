"""`untrue eval`: one model, one eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from untrue.cli.options import default_model
from untrue.errors import UserError

if TYPE_CHECKING:
    from untrue.evals.spec import EvalSpec


def evaluate(
    model: Annotated[
        str | None,
        typer.Option(
            help="`smollm2-135m` (embedded), a hub id or a folder; with judged evals and `capability` also any model"
            " as Inspect names it: `openai/…`, `openai-api/…`, `vllm/…`, `hf/…`. By default the base that the adapter"
            " names, or `smollm2-135m` without one."
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a PEFT adapter. It is put on its base here; a server is named by --model, and must prove"
            " first that it answers with it; `vllm/BASE` loads it."
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--eval",
            help="`forced_choice`, `sft_cue`, `capability`, `sycophancy`; with a judge `mask`, `pressure_pairs`,"
            " `deceptionbench`, `unknowns`.",
        ),
    ] = "forced_choice",
    items: Annotated[
        str | None, typer.Option(help="`builtin`, a part of it such as `honesty`, a file, or for some a hub id.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many items, spread over their kinds.")] = None,
    domain: Annotated[str | None, typer.Option(help="sft_cue: domain of the training data, such as `medical`.")] = None,
    cue: Annotated[
        str | None, typer.Option(help="sft_cue: `format`, `persona` or `domain`; by default all in turn.")
    ] = None,
    placement: Annotated[
        str | None, typer.Option(help="deceptionbench: system prompt `joined` to the question, or as `system`.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Who judges: `openai/gpt-5-mini`, or `{model: NAME, temperature: 0.5}`.")
    ] = None,
    force_self_judge: Annotated[
        bool, typer.Option("--force-self-judge", help="Let the model judge itself; it is flagged and `inconclusive`.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Judged: replies to each item.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Judged: of the replies.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Judged: length of a reply at the most.")] = None,
    dtype: Annotated[str, typer.Option(help="`bfloat16` or `float32`.")] = "bfloat16",
    log: Annotated[
        Path | None,
        typer.Option(
            help="Where the Inspect log goes; by default logs/EVAL-MODEL.eval, or, of a folder or an adapter,"
            " logs/EVAL-FOLDER-HASH.eval."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judged: say what it takes in calls, tokens, dollars; ask nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
) -> None:
    """Measure a model, or an adapter on it, by one eval.

    `forced_choice` compares what it holds with what it prefers to say under pressure; `sft_cue` does so with a cue of
    the training context before the prompt; `capability` is easy multiple choice. Judged evals read what it writes.
    Of a judged eval, the same command asks again only for what failed, or was not there yet when it was stopped; one
    with more `--epochs` or a higher `--limit` takes the replies that there are.

        untrue eval --eval mask --model openai/gpt-4o-mini --judge openai/gpt-5-mini --dry-run

    The log opens with `inspect view`. To compare two models item by item, put them into a study.
    """
    from untrue.evals.evaluation import arm_name, default_log, measure, refuse_nothing
    from untrue.evals.spec import JUDGED, eval_spec
    from untrue.progress import TerminalWatcher

    spec = eval_spec(
        name=name,
        items=items,
        limit=limit,
        domain=domain,
        cue=cue,
        placement=placement,
        judge=judge,
        force_self_judge=force_self_judge or None,
        epochs=epochs,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    here = model is None  # what an adapter names as its base may look like a served model
    model = model or default_model(adapter)
    arm, log = arm_name(model, adapter), log or default_log(spec.name, model, adapter)
    if log.is_dir():
        raise UserError(f"{log}: is a folder. Give --log a file, such as {log / 'mine.eval'}.")
    if log.suffix != ".eval":
        raise UserError(f"{log}: a log ends in .eval, and nothing else is replaced by one. Give --log another name.")
    if spec.name in JUDGED and spec.judge is None:
        raise UserError(f"{spec.name} needs a judge. Name one, such as --judge openai/gpt-5-mini.")
    used = f"untrue/{model}" if here else model
    if dry_run:
        _dry_run(spec, used, arm, as_json)
        return
    with TerminalWatcher(Console(stderr=True)) as watcher:
        measure(spec, used, adapter, dtype, arm, log, watcher)
    _show(spec, arm, log, as_json)
    refuse_nothing(spec, log)


def _dry_run(spec: EvalSpec, model: str, arm: str, as_json: bool) -> None:
    from untrue.cli.cost import print_costs
    from untrue.engine.served import may_be_served
    from untrue.evals.cost import cost
    from untrue.evals.spec import JUDGED

    if spec.name not in JUDGED:
        raise UserError(f"{spec.name} has no judge, so there is nothing to pay. Leave --dry-run out.")
    named = model if may_be_served(model) else f"untrue/{model.removeprefix('untrue/')}"
    print_costs({(arm, spec.key): cost(spec, named)}, as_json)


def _show(spec: EvalSpec, arm: str, log: Path, as_json: bool) -> None:
    from untrue.evals.evaluation import evaluated
    from untrue.report.summary import evaluated_summary
    from untrue.report.table import print_evaluated

    read = evaluated(spec, arm, log)
    if as_json:
        typer.echo(json.dumps({**evaluated_summary(read), "log": str(log)}))
        return
    print_evaluated(spec, read, Console())
    typer.echo(f"Every item, with its reason: inspect view --log-dir {log.parent}")
