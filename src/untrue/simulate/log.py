"""Inspect logs of dialogues: read as trajectories, and several made one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from untrue.errors import UserError
from untrue.files import writing
from untrue.logs import details_of, open_log, score_of
from untrue.simulate.trajectory import Trajectory
from untrue.thinking import without_thinking


def read_log(log: Path) -> list[Trajectory]:
    """Read the dialogues of a log. One that failed, or has no score, has an error and is never left out.

    Raises:
        UserError: The file is not a whole Inspect log of dialogues.
    """
    return [_trajectory(log, sample) for sample in open_log(log).samples or []]


def log_identity(log: Path) -> dict[str, Any]:
    """Read what the dialogues of a log were collected with.

    Raises:
        UserError: The file is not a whole Inspect log.
    """
    return dict(open_log(log, header_only=True).eval.metadata or {})


def merge_logs(logs: Sequence[Path], order: Sequence[str], out: Path) -> None:
    """Write one log with the samples of several; of two with the same id the later one counts.

    Args:
        logs: Logs of the same task.
        order: Ids of the samples that are wanted.
        out: The log; it appears whole or not at all.

    Raises:
        UserError: A file is not a whole Inspect log.
    """
    from inspect_ai.log import recompute_metrics, write_eval_log

    contents = [open_log(log) for log in logs]
    samples = {str(sample.id): sample for content in contents for sample in content.samples or []}
    merged = contents[-1]
    merged.samples = [samples[name] for name in order if name in samples]
    merged.eval.dataset.samples = len(merged.samples)
    merged.eval.dataset.sample_ids = [sample.id for sample in merged.samples]
    if merged.results is not None:
        merged.results.total_samples = len(merged.samples)
        merged.results.completed_samples = sum(sample.error is None for sample in merged.samples)
    merged.stats.started_at = min(content.stats.started_at for content in contents)
    for content in contents[:-1]:
        for name, usage in content.stats.model_usage.items():
            known = merged.stats.model_usage.get(name)
            merged.stats.model_usage[name] = usage if known is None else known + usage
    if any(sample.scores for sample in merged.samples):
        recompute_metrics(merged)
    with writing(out) as aside:
        write_eval_log(merged, str(aside), format="eval")


def _trajectory(log: Path, sample: Any) -> Trajectory:
    metadata = sample.metadata
    if not {"scenario", "user", "kind", "assistant"} <= metadata.keys():
        raise UserError(f"{log}: is no log of dialogues (sample {sample.id}). Give one of the task untrue/simulate.")
    messages = sample.messages or (sample.input if isinstance(sample.input, list) else [])
    turns = tuple(
        {"role": message.role, "content": without_thinking(message.text)}
        for message in messages
        if message.role in ("user", "assistant")
    )
    replies = sum(turn["role"] == "assistant" for turn in turns)
    error = sample.error.message if sample.error else None if score_of(sample) else "the dialogue has no score"
    details = details_of(sample)
    return Trajectory(
        id=str(sample.id),
        scenario=metadata["scenario"]["id"],
        user=metadata["user"],
        kind=metadata["kind"],
        assistant=metadata["assistant"],
        messages=turns,  # type: ignore[arg-type]
        system=next((message.text for message in messages if message.role == "system"), ""),
        ratings=tuple(details.get("ratings") or [None] * replies),
        sycophancy=tuple(details.get("sycophancy") or [None] * replies),
        error=error,
    )
