"""Run evals on a model and read their logs back as results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.engine.task import inspect_model, run_task
from untrue.errors import UserError, one_line
from untrue.evals.journal import journal
from untrue.evals.replies import (
    MARK,
    Count,
    Round,
    failed,
    log_id,
    open_log,
    read_earlier,
    refuse_to_replace,
    replies_mark,
    running,
)
from untrue.evals.spec import JUDGED, EvalSpec
from untrue.models.adapter import adapter_hash
from untrue.models.load import LoadedModel
from untrue.outcomes import Outcome, Result

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog
    from inspect_ai.model import Model

ADAPTER = "untrue_adapter"
"""Where a log's metadata says which adapter the model has."""

Progress = Callable[[int, int, str], None]
"""Called with how much is done, how much there is, and a note: items; of a judged eval replies and judgements."""


def run(
    loaded: LoadedModel,
    adapter: Path | None,
    spec: EvalSpec,
    log: Path,
    progress: Progress = lambda done, total, note: None,
    seed: int = 0,
) -> None:
    """Run one eval on a model in memory and write its Inspect log.

    Args:
        loaded: The base model.
        adapter: Folder of an adapter, or None for the base itself.
        spec: The eval.
        log: The `.eval` file; it appears whole or not at all. Of a judged eval, one that is there and has replies by
            the same model with the same settings is completed: what failed or is new is asked, and nothing else. Until
            the log is written, the replies to a judged eval lie in a hidden file beside it, whence a later run takes
            them.
        progress: Called as items are answered.
        seed: Of the model's replies; each item, epoch and draw has a seed of its own that is made from it.

    Raises:
        UserError: The items or the adapter are not as expected, the log holds other replies to a judged eval, or the
            eval failed as a whole.
        KeyboardInterrupt: The user stopped it.
    """
    told: list[Callable[[int], None]] = []
    model = inspect_model(loaded, adapter, seed, on_scored=lambda done: [tell(done) for tell in told])
    weights = {"content_hash": adapter_hash(adapter)} if adapter else None
    try:
        run_model(model, spec, log, progress, told.append, weights)
    finally:
        model.api.close()


def run_model(
    model: Model,
    spec: EvalSpec,
    log: Path,
    progress: Progress = lambda done, total, note: None,
    on_scored: Callable[[Callable[[int], None]], None] = lambda tell: None,
    adapter: Mapping[str, str] | None = None,
) -> None:
    """Run one eval on any of Inspect's models; see `run`.

    Args:
        model: The model under study.
        spec: The eval.
        log: The `.eval` file.
        progress: Called as items are answered.
        on_scored: Takes what shall be called with the number of items whose likelihoods are there.
        adapter: What the log says of the adapter that the model has, its `content_hash` above all.

    Raises:
        UserError: The items are not as expected, the log holds other replies to a judged eval, or the eval failed as a
            whole.
        KeyboardInterrupt: The user stopped it.
    """
    from untrue.evals.registry import TASKS

    task = TASKS[spec.name](**spec.arguments)
    if spec.name in JUDGED:
        _run_judged(task, model, spec, log, progress, adapter)
        return
    refuse_to_replace(log)
    total = len(task.dataset) * (spec.epochs or 1)
    on_scored(lambda done: progress(done, total, ""))
    _run(task, model, spec, log, metadata={ADAPTER: dict(adapter)} if adapter else None)


def _run(task: Any, model: Model, spec: EvalSpec, log: Path, **settings: Any) -> None:
    from inspect_ai import Epochs

    sampling = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    total = len(task.dataset) * (spec.epochs or 1)
    errors = run_task(
        task,
        model,
        log,
        f"the eval {spec.name}",
        epochs=Epochs(spec.epochs, "mode") if spec.epochs else None,
        **{name: value for name, value in sampling.items() if value is not None},
        **settings,
    )
    if len(errors) == total:
        raise UserError(f"the eval {spec.name} failed on all {total} items, first: {one_line(errors[0])}.")


def _run_judged(
    task: Any, model: Model, spec: EvalSpec, log: Path, progress: Progress, adapter: Mapping[str, str] | None
) -> None:
    from untrue.evals.cost import planned
    from untrue.judge.judge import Judge
    from untrue.judge.models import check_answers, judge_model

    if spec.judge is None:
        raise UserError(f"{spec.name} needs a judge. Name one, such as openai/gpt-5-mini.")
    judge = judge_model(spec.judge)
    mark, epochs = replies_mark(spec, model, task.config, adapter), spec.epochs or 1
    earlier = read_earlier(log, mark, task.dataset, epochs, Judge(judge).id)
    calls = planned(spec, task)
    if all((item, epoch) in earlier.settled for item in calls for epoch in range(1, epochs + 1)):
        return
    check_answers(spec.judge)
    replies = sum(len(one.once) for item, one in calls.items() if item not in earlier.beliefs)
    replies += sum(len(one.each) for one in calls.values()) * epochs - len(earlier.samples)
    judgements = sum(len(one.judged_once) + len(one.judged_each) for one in calls.values()) * epochs

    def tell(done: Count) -> None:
        note = f"{done.replies} of {replies} replies, {done.judgements} of {judgements} judgements"
        progress(min(sum(done), replies + judgements), replies + judgements, note)

    about = {MARK: mark, **({ADAPTER: dict(adapter)} if adapter else {})}
    # The identity holds the log too: when a new one is in its place, what the journal has is in there, and counts once.
    with (
        journal(log, lambda: f"{mark} {log_id(log)}") as kept,
        running(Round(earlier.samples, earlier.beliefs, calls, kept, tell)),
    ):
        _run(task, model, spec, log, roles={"judge": judge}, metadata=about)


def failures(log: Path) -> list[str]:
    """Why samples of a judged eval failed, one text for each; the same command asks again for these.

    Raises:
        UserError: The file is not a whole Inspect log.
    """
    return [_reason(sample) for sample in open_log(log).samples or [] if failed(sample)]


def read_log(log: Path, arm: str, seed: int, label: str | None = None) -> list[Result]:
    """Read a log back: one result for each item and epoch, ordered by their ids.

    A sample that failed, or that has no score, is an `error` with its reason; it is never left out.

    Args:
        log: The `.eval` file.
        arm: Name of the arm.
        seed: Seed of the cell.
        label: What the eval is called in its study; by default its own name.

    Raises:
        UserError: The file is not a whole Inspect log.
    """
    return results(open_log(log), arm, seed, label)


def results(content: EvalLog, arm: str, seed: int, label: str | None = None) -> list[Result]:
    """The results of a log that is read; see `read_log`."""
    name = label or content.eval.task.rpartition("/")[2]
    found = []
    for sample in content.samples or []:
        score = next(iter((sample.scores or {}).values()), None)
        category = str(sample.metadata.get("category", ""))
        if sample.error is not None or score is None:
            error = Outcome.ERROR
            found.append(
                Result(arm, seed, name, str(sample.id), category, error, reason=_reason(sample), epoch=sample.epoch)
            )
            continue
        details = score.metadata or {}
        is_value = isinstance(score.value, int | float)
        found.append(
            Result(
                arm=arm,
                seed=seed,
                eval=name,
                item=str(sample.id),
                category=category,
                outcome=None if is_value else Outcome(score.as_str()),
                belief=details.get("belief"),
                statement=score.answer,
                pressure_margin=details.get("pressure_margin"),
                neutral_margin=details.get("neutral_margin"),
                evasion_margin=details.get("evasion_margin"),
                reason=score.explanation or "",
                value=score.as_float() if is_value else None,
                epoch=sample.epoch,
            )
        )
    return found


def _reason(sample: Any) -> str:
    score = next(iter((sample.scores or {}).values()), None)
    if sample.error is not None:
        return one_line(sample.error.message)
    return (score.explanation or "") if score else "the item has no score"
