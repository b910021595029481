"""Run evals on a model in memory and read their logs back as results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from untrue.engine.task import inspect_model, run_task
from untrue.errors import UntrueError, UserError
from untrue.evals.spec import EvalSpec
from untrue.models.load import LoadedModel
from untrue.outcomes import Outcome, Result

Progress = Callable[[int, int, str], None]
"""Called with the number of items done, the number of all, and an empty note."""


def run(
    loaded: LoadedModel,
    adapter: Path | None,
    spec: EvalSpec,
    log: Path,
    progress: Progress = lambda done, total, note: None,
) -> None:
    """Run one eval and write its Inspect log.

    Args:
        loaded: The base model.
        adapter: Folder of an adapter, or None for the base itself.
        spec: The eval.
        log: The `.eval` file; it appears whole or not at all.
        progress: Called as items are answered.

    Raises:
        UserError: The items or the adapter are not as expected, or the eval failed as a whole.
        KeyboardInterrupt: The user stopped it.
    """
    from inspect_ai import Epochs

    from untrue.evals.registry import TASKS

    task = TASKS[spec.name](**spec.arguments)
    sampling = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    total = len(task.dataset) * (spec.epochs or 1)
    model = inspect_model(loaded, adapter, on_scored=lambda done: progress(done, total, ""))
    try:
        failed = run_task(
            task,
            model,
            log,
            f"the eval {spec.name}",
            roles={"judge": spec.judge} if spec.judge else None,
            epochs=Epochs(spec.epochs, "mode") if spec.epochs else None,
            **{name: value for name, value in sampling.items() if value is not None},
        )
        if len(failed) == total:
            raise UserError(f"the eval {spec.name} failed on all {total} items, first: {failed[0]}")
    finally:
        model.api.close()


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
    from inspect_ai.log import read_eval_log

    try:
        content = read_eval_log(str(log))
    except Exception as error:  # the reader lets the errors of zip, JSON and pydantic through
        if isinstance(error, UntrueError):
            raise
        raise UserError(
            f"{log}: cannot be read as an Inspect log ({type(error).__name__}). Delete it and run again."
        ) from None
    name = label or content.eval.task.rpartition("/")[2]
    results = []
    for sample in content.samples or []:
        score = next(iter((sample.scores or {}).values()), None)
        archetype = str(sample.metadata.get("archetype", ""))
        if sample.error is not None or score is None:
            reason = sample.error.message if sample.error else "the item has no score"
            results.append(
                Result(arm, seed, name, str(sample.id), archetype, Outcome.ERROR, reason=reason, epoch=sample.epoch)
            )
            continue
        details = score.metadata or {}
        is_value = isinstance(score.value, int | float)
        results.append(
            Result(
                arm=arm,
                seed=seed,
                eval=name,
                item=str(sample.id),
                archetype=archetype,
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
    return results
