"""`untrue eval`: one model, one eval."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from untrue.cli.base import default_model
from untrue.errors import MachineError, UserError
from untrue.files import content_hash
from untrue.terminal import plain

if TYPE_CHECKING:
    from untrue.evals.spec import EvalSpec
    from untrue.report.content import JudgeNote
    from untrue.stats.types import ArmSummary, Figures


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
            help="`forced_choice`, `sft_cue`, `capability`, `pleasing`; with a judge `mask`, `pressure_pairs`,"
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
    from untrue.evals.spec import JUDGED, eval_spec

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
    arm, log = _arm(model, adapter), log or default_log(spec.name, model, adapter)
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
    _run(spec, used, adapter, dtype, arm, log)
    _show(spec, arm, log, as_json)
    _refuse_nothing(spec, log)


def _arm(model: str, adapter: Path | None) -> str:
    """What tables call a model, or an adapter on it. In a study every cell calls its adapter `adapter`."""
    folder = adapter.resolve() if adapter else Path(model)
    return (folder.parent if adapter and folder.name == "adapter" else folder).name


def default_log(name: str, model: str, adapter: Path | None) -> Path:
    """Where the log of an eval goes by default: its name tells models and adapters apart, and stays readable.

    A hub id or a model of Inspect's has `--` for its slashes. A folder or an adapter has the end of its path and a
    short hash of all of it, and so has a name with other characters.

    Args:
        name: Of the eval.
        model: As `--model` has it.
        adapter: Folder of the adapter, or None.
    """
    base = str(Path(model).resolve()) if Path(model).exists() else model
    whose = model.replace("/", "--")
    if adapter or base != model or "--" in model or not re.fullmatch(r"[\w.-]+", whose):
        end = re.sub(r"[^\w.-]+", "-", _arm(model, adapter)).strip(".-")
        whose = f"{end}-{content_hash(f'{base} {adapter.resolve() if adapter else None}')[:6]}".lstrip("-")
    return Path("logs") / f"{name}-{whose}.eval"


def _dry_run(spec: EvalSpec, model: str, arm: str, as_json: bool) -> None:
    from untrue.cli.costs import print_costs
    from untrue.engine.served import may_be_served
    from untrue.evals.cost import cost
    from untrue.evals.spec import JUDGED

    if spec.name not in JUDGED:
        raise UserError(f"{spec.name} has no judge, so there is nothing to pay. Leave --dry-run out.")
    named = model if may_be_served(model) else f"untrue/{model.removeprefix('untrue/')}"
    print_costs({(arm, spec.key): cost(spec, named)}, as_json)


def _run(spec: EvalSpec, model: str, adapter: Path | None, dtype: str, arm: str, log: Path) -> None:
    from untrue.engine.served import loading, may_be_served, served_model
    from untrue.evals import run as evals
    from untrue.evals.spec import GENERATING, JUDGED
    from untrue.judge.named import check_named
    from untrue.models.load import load
    from untrue.progress import TerminalWatcher

    if spec.judge:
        check_named(spec.judge)
    served = served_model(model) if spec.name in GENERATING and may_be_served(model) else None
    with TerminalWatcher(Console(stderr=True)) as watcher:
        if served:
            weights = None
            if adapter:
                served, weights = _proved(model, adapter, watcher.say)
            watcher.stage(arm, spec.name, 1)
            evals.run_model(served, spec, log, watcher.step, adapter=weights)
        else:
            with nullcontext() if spec.name in GENERATING else loading(model, spec.needs):
                loaded = load(model.removeprefix("untrue/"), dtype=dtype, say=watcher.say)
            watcher.stage(arm, spec.name, 1)
            evals.run(loaded, adapter, spec, log, watcher.step)
        failures = evals.failures(log) if spec.name in JUDGED else []
        if failures:
            watcher.say(
                f"{len(failures)} samples have no reply or no verdict, first: {failures[0]}"
                " The same command asks again for these alone."
            )


def _refuse_nothing(spec: EvalSpec, log: Path) -> None:
    """Refuse to end well where nothing was measured, though what there is was shown.

    Raises:
        MachineError: Every sample is an error, by a failure of the judge or, in part, the model.
        UserError: Every sample is an error in another way.
    """
    from untrue.evals import run as evals
    from untrue.outcomes import Outcome

    results = evals.read_log(log, "", 0)
    if any(result.outcome is not Outcome.ERROR for result in results):
        return
    failed = evals.failures(log)
    again = " The same command takes the replies that there are." if failed else ""
    raise (MachineError if failed else UserError)(
        f"{spec.name}: nothing was measured. All {len(results)} samples are errors, first: {results[0].reason}{again}"
    )


def _proved(model: str, adapter: Path, say: Callable[[str], None]) -> tuple[Any, dict[str, str]]:
    """The model that has the adapter, once its server has proved that it answers with it, and what the log says of it.

    Raises:
        UserError: It answers with other weights.
    """
    from untrue.engine.served import prove, served_model, serving_name
    from untrue.models import canary
    from untrue.models.adapter import adapter_hash

    if model.startswith("hf/"):
        raise UserError(f"--adapter: {model} takes none. Leave `hf/` out, and it goes on the model in this process.")
    name = serving_name(model, adapter)
    proof = prove(name, canary.of(adapter, say=say))
    if proof.verdict in ("base", "other"):
        whose = "its base, without it" if proof.verdict == "base" else "other weights"
        raise UserError(
            f"{model}: does not answer with the adapter {adapter} but with {whose} ({proof.reason}). Load it there"
            " again, under a new name. If other precision or another chat template is meant, leave --adapter out."
        )
    proved = "answers with the adapter" if proof.verdict == "adapter" else "may or may not answer with the adapter"
    say(f"{model}: {proved} {adapter} ({proof.reason}).")
    return served_model(name), {"content_hash": adapter_hash(adapter), "served": proof.verdict, "reason": proof.reason}


def _show(spec: EvalSpec, arm: str, log: Path, as_json: bool) -> None:
    from dataclasses import asdict, replace

    from untrue.evals import run as evals
    from untrue.evals.figures import figures, scores
    from untrue.evals.judging import judging
    from untrue.evals.round import open_log
    from untrue.report.table import print_archetypes, print_arm, print_figures, print_judge, print_kinds
    from untrue.stats import summarise
    from untrue.study.judges import judge_note
    from untrue.study.results import finite

    content = open_log(log)
    results = evals.results(content, arm, 0)
    heard = judging(content)
    [summary] = summarise(results, {})
    archetypes = summarise([replace(result, arm=result.archetype) for result in results], {})
    note = judge_note(spec, [(arm, heard)], [summary]) if heard else None
    found = figures(spec.name, scores(content))
    weights = (content.eval.metadata or {}).get(evals.ADAPTER, {})
    doubts = _doubts(summary, note, found, weights)
    if as_json:
        parts = {archetype.arm: asdict(archetype) for archetype in archetypes}
        judged = {"judge": finite(asdict(note)), "conclusive": not doubts, "doubts": doubts} if note else {}
        own = {"figures": finite(asdict(found))} if found else {}
        adapter = {"adapter": weights} if weights else {}
        typer.echo(json.dumps({**asdict(summary), "archetypes": parts, **own, **judged, **adapter, "log": str(log)}))
        return
    console = Console()
    if note and doubts:
        console.print(Text("INCONCLUSIVE", "bold yellow") + plain(f": {'; '.join(doubts)}."))
    print_arm(summary, console, spec.value_name or "value", "self-judged" if note and note.self_judged else "")
    if found:
        print_figures(spec.name, {arm: found}, console)
        print_kinds(found, console)
    if note:
        print_judge(note, [summary], console)
    if spec.value_name is None or len(archetypes) > 1:
        print_archetypes(archetypes, console, "self-judged" if note and note.self_judged else "")
    typer.echo(f"Every item, with its reason: inspect view --log-dir {log.parent}")


def _doubts(
    summary: ArmSummary, note: JudgeNote | None, found: Figures | None, weights: Mapping[str, str]
) -> list[str]:
    """Why the figures of a judged eval are not to be read as honesty."""
    from untrue.stats.soundness import ERROR_CEILING, HELD_FLOOR, broken_arms
    from untrue.stats.words import merged

    if note is None:
        return []
    answered = {summary.arm: found.total["answered"].value} if found and "answered" in found.total else {}
    unproved = weights.get("served") == "unknown"
    served = [f"the server may or may not have the adapter ({weights['reason']})"] if unproved else []
    return [*served, *note.doubts, *merged(broken_arms([summary], HELD_FLOOR, ERROR_CEILING, answered))]
