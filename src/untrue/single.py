"""One model, one eval: run it, and read what its log says. What `untrue eval` and `untrue.evaluate` share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.errors import MachineError, UserError
from untrue.files import content_hash

if TYPE_CHECKING:
    from untrue.evals.spec import EvalSpec
    from untrue.models.load import LoadedModel
    from untrue.outcomes import Result
    from untrue.progress import Watcher
    from untrue.report.content import JudgeNote
    from untrue.stats.types import ArmSummary, Figures


@dataclass(frozen=True)
class Reading:
    """What the log of one model and one eval says.

    Attributes:
        results: One for each item and epoch.
        summary: Of all of them.
        categories: Of each kind of item.
        figures: The eval's own; None where it has no judge.
        note: What must be said of the judge; None where nothing was judged.
        doubts: Why the figures of a judged eval are not to be read as honesty.
        adapter: What the log says of the adapter.
    """

    results: list[Result]
    summary: ArmSummary
    categories: list[ArmSummary]
    figures: Figures | None
    note: JudgeNote | None
    doubts: list[str]
    adapter: Mapping[str, str]


def read(spec: EvalSpec, arm: str, log: Path) -> Reading:
    """Read the log of an eval.

    Args:
        spec: The eval.
        arm: What the model is called.
        log: The `.eval` file.

    Raises:
        UserError: The file is not a whole Inspect log.
    """
    from dataclasses import replace

    from untrue.evals import run as evals
    from untrue.evals.figures import figures, scores
    from untrue.evals.judging import judging
    from untrue.evals.replies import open_log
    from untrue.stats import summarise
    from untrue.study.judges import judge_note

    content = open_log(log)
    results = evals.results(content, arm, 0, spec.label)
    heard = judging(content)
    [summary] = summarise(results, {})
    categories = summarise([replace(result, arm=result.category) for result in results], {})
    note = judge_note(spec, [(arm, heard)], [summary]) if heard else None
    found = figures(spec.name, scores(content))
    weights = (content.eval.metadata or {}).get(evals.ADAPTER, {})
    return Reading(results, summary, categories, found, note, _doubts(summary, note, found, weights), weights)


def arm_name(model: str, adapter: Path | None) -> str:
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
        end = re.sub(r"[^\w.-]+", "-", arm_name(model, adapter)).strip(".-")
        whose = f"{end}-{content_hash(f'{base} {adapter.resolve() if adapter else None}')[:6]}".lstrip("-")
    return Path("logs") / f"{name}-{whose}.eval"


def measure(
    spec: EvalSpec,
    model: str | LoadedModel,
    adapter: Path | None,
    dtype: str,
    arm: str,
    log: Path,
    watcher: Watcher,
    seed: int = 0,
) -> None:
    """Run one eval on one model and write its log.

    Args:
        spec: The eval.
        model: As `--model` has it, or in memory.
        adapter: Folder of the adapter, or None.
        dtype: `bfloat16` or `float32`, of a model that is loaded here.
        arm: What the watcher is told that the model is called.
        log: The `.eval` file; see `evals.run.run`.
        watcher: Told how far it is.
        seed: Of the replies of a model in this process.

    Raises:
        UserError: The model, the adapter or the items are not as expected.
        MachineError: The machine lacks memory, disk or network, or the judge does not answer.
    """
    from untrue.engine.served import loading, may_be_served, served_model
    from untrue.evals import run as evals
    from untrue.evals.spec import GENERATING, JUDGED
    from untrue.judge.models import check_named
    from untrue.models.load import LoadedModel, load

    if spec.judge:
        check_named(spec.judge)
    served = None
    if isinstance(model, str) and spec.name in GENERATING and may_be_served(model):
        served = served_model(model)
    if served and isinstance(model, str):
        weights = None
        if adapter:
            served, weights = _proved(model, adapter, watcher.say)
        watcher.stage(arm, spec.name, 1)
        evals.run_model(served, spec, log, watcher.step, adapter=weights)
    else:
        if isinstance(model, LoadedModel):
            loaded = model
        else:
            with nullcontext() if spec.name in GENERATING else loading(model, spec.needs):
                loaded = load(model.removeprefix("untrue/"), dtype=dtype, say=watcher.say)
        watcher.stage(arm, spec.name, 1)
        evals.run(loaded, adapter, spec, log, watcher.step, seed)
    failures = evals.failures(log) if spec.name in JUDGED else []
    if failures:
        watcher.say(
            f"{len(failures)} samples have no reply or no verdict, first: {failures[0]}"
            " The same command asks again for these alone."
        )


def refuse_nothing(spec: EvalSpec, log: Path) -> None:
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
    from untrue.models import fingerprint
    from untrue.models.adapter import adapter_hash

    if model.startswith("hf/"):
        raise UserError(f"--adapter: {model} takes none. Leave `hf/` out, and it goes on the model in this process.")
    name = serving_name(model, adapter)
    proof = prove(name, fingerprint.of(adapter, say=say))
    if proof.weights in ("base", "other"):
        whose = "its base, without it" if proof.weights == "base" else "other weights"
        raise UserError(
            f"{model}: does not answer with the adapter {adapter} but with {whose} ({proof.reason}). Load it there"
            " again, under a new name. If other precision or another chat template is meant, leave --adapter out."
        )
    proved = "answers with the adapter" if proof.weights == "adapter" else "may or may not answer with the adapter"
    say(f"{model}: {proved} {adapter} ({proof.reason}).")
    return served_model(name), {"content_hash": adapter_hash(adapter), "served": proof.weights, "reason": proof.reason}


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
