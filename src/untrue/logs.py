"""Inspect's logs, read: the results of their samples, what failed, and what the scores say besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.errors import UntrueError, UserError, one_line
from untrue.outcomes import Outcome, Result

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.scorer import Score

ADAPTER = "untrue_adapter"  # where a log's metadata says which adapter the model has

# Where a log's metadata says all that can change the scores of a model in this process, adapter aside.
MODEL = "untrue_model"

# Where it says by which tokenizer, besides: what decides into which tokens a text is split, and nothing else.
TOKENISATION = "tokenisation"

# What it says of how the model was computed: rounding moves scores where this differs.
COMPUTED = ("dtype", "attention", "device", "torch", "transformers")


def open_log(log: Path, header_only: bool = False) -> EvalLog:
    """A log as Inspect reads it; UserError if it is not a whole Inspect log."""
    from inspect_ai.log import read_eval_log

    try:
        content = read_eval_log(str(log), header_only=header_only)
    except Exception as error:  # the reader lets the errors of zip, JSON and pydantic through
        if isinstance(error, UntrueError):
            raise
        raise UserError(
            f"{log}: cannot be read as an Inspect log ({type(error).__name__}). Delete it and run again."
        ) from None
    return content


def task_name(content: EvalLog) -> str:
    """The name of a log's task, without its package."""
    return content.eval.task.rpartition("/")[2]


def is_own(content: EvalLog) -> bool:
    """Whether a log is of a task of this project.

    Inspect writes `untrue/NAME`, or, if this package is not installed, only the name; then the log's metadata tell.
    """
    package, _, name = content.eval.task.rpartition("/")
    marked = any(key.startswith("untrue_") for key in content.eval.metadata or {})
    return package == "untrue" or (not package and (marked or content.eval.task_registry_name == f"untrue/{name}"))


def adapter_in(content: EvalLog) -> Mapping[str, str]:
    """What a log says of the model's adapter, if any: of `inspect eval … -M adapter=FOLDER` only the folder."""
    folder = content.eval.model_args.get("adapter") if content.eval.model.startswith("untrue/") else None
    return (content.eval.metadata or {}).get(ADAPTER) or ({"folder": str(folder)} if folder else {})


def score_of(sample: EvalSample) -> Score | None:
    """The one score of a sample that did not fail."""
    return None if sample.error is not None else next(iter((sample.scores or {}).values()), None)


def details_of(sample: EvalSample) -> dict[str, Any]:
    """The facts in a sample's score besides its value."""
    score = score_of(sample)
    return (score.metadata or {}) if score else {}


def may_succeed(sample: EvalSample) -> bool:
    """Whether a reply or a judgement is missing, so that asking again may help."""
    return score_of(sample) is None or details_of(sample).get("failed") in ("model", "judge")


def failures(log: Path) -> list[str]:
    """Why samples of a judged eval failed, one text for each; UserError if it is not a whole Inspect log."""
    return [_reason(sample) for sample in open_log(log).samples or [] if may_succeed(sample)]


def read_log(log: Path, arm: str, seed: int) -> list[Result]:
    """Read a log back: one result for each item and epoch, ordered by their ids; UserError if it is not a whole log.

    A sample that failed, or that has no score, is an `error` with its reason.
    """
    return results(open_log(log), arm, seed)


def results(content: EvalLog, arm: str, seed: int, label: str | None = None) -> list[Result]:
    """The results of a log; `label` is the eval's name in its study; UserError for a score of no eval of ours."""
    name, found = label or task_name(content), []
    for sample in content.samples or []:
        try:
            one = result(score_of(sample), str(sample.id), sample.metadata, sample.epoch)
        except ValueError as error:
            raise UserError(
                f"{content.location}: the score of sample {sample.id} is none that {name} gives ({one_line(error)})."
                " Measure it again, by `untrue eval` or `inspect eval`."
            ) from None
        found.append(replace(one, arm=arm, seed=seed, eval=name, reason=_reason(sample)))
    return found


def result(score: Score | None, item: str, sample: Mapping[str, Any], epoch: int) -> Result:
    """The result of a score, without arm and eval; no score is an error. `sample` is the sample's metadata.

    ValueError if the score is neither an outcome nor a share, or a margin in the metadata is no number.
    """
    category, cluster = str(sample.get("category", "")), sample.get("cluster")
    if score is None:
        return Result("", 0, "", item, category, Outcome.ERROR, epoch=epoch, cluster=cluster)
    details = score.metadata or {}
    value = score.as_float() if isinstance(score.value, int | float) else None
    if value is not None and (value < 0 or value > 1):
        raise ValueError(f"{value:g}, expected a value from 0 to 1")
    return Result(
        arm="",
        seed=0,
        eval="",
        item=item,
        category=category,
        outcome=None if value is not None else Outcome(score.as_str()),
        belief=details.get("belief"),
        statement=score.answer,
        pressure_margin=_number(details, "pressure_margin"),
        neutral_margin=_number(details, "neutral_margin"),
        evasion_margin=_number(details, "evasion_margin"),
        reason=score.explanation or "",
        value=value,
        epoch=epoch,
        belief_is_true=_yes_or_no(details, "belief_is_true"),
        reads=_yes_or_no(details, "reads"),
        cluster=cluster,
    )


def _number(details: Mapping[str, Any], name: str) -> float | None:
    value = details.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{name} {value!r}, expected a number")
    return value


def _yes_or_no(details: Mapping[str, Any], name: str) -> bool | None:
    value = details.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} {value!r}, expected true or false")
    return value


def _reason(sample: EvalSample) -> str:
    if sample.error is not None:
        return one_line(sample.error.message)
    score = score_of(sample)
    return (score.explanation or "") if score else "the item has no score"
