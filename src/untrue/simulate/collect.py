"""Collect rated dialogues with a model, in chunks, so that a collection that was stopped can resume."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from untrue.engine.served import Served
from untrue.engine.task import inspect_model, run_task
from untrue.errors import UserError
from untrue.judge.models import content
from untrue.logs import open_log
from untrue.models.adapter import adapter_hash, check_adapter, in_format_of
from untrue.models.load import LoadedModel
from untrue.progress import Step
from untrue.simulate.environment import VERSION, CollectSpec, read_environment
from untrue.simulate.trajectory import (
    Trajectory,
    merge_logs,
    read_identity,
    read_log,
    read_trajectories,
    write_trajectories,
)


def identity(
    assistant: LoadedModel | Served,
    adapter: Path | None,
    spec: CollectSpec,
    seed: int,
    base: LoadedModel | None = None,
) -> dict[str, Any]:
    """Everything that determines the dialogues of a collection; two collections with equal identities are the same.

    The arguments are those of `collect`.

    Raises:
        UserError: The environment or the adapter cannot be read.
    """
    environment = read_environment(spec.environment)
    if isinstance(assistant, Served):
        name, content_hash = assistant.model, assistant.adapter.get("content_hash")
        about = base.about if base and spec.rater is None else {}
    else:
        if adapter:
            check_adapter(assistant, adapter)
        name, about = assistant.name, in_format_of(assistant, adapter).about
        content_hash = adapter_hash(adapter) if adapter else None
    return {
        **spec.model_dump(mode="json"),
        "version": VERSION,
        "environment": environment.version,
        "environment_hash": environment.content_hash,
        "seed": seed,
        "model": name,
        "base": about,
        "roles": [content(spec.user), content(spec.rater)],
        "adapter_hash": content_hash,
    }


def collect(
    assistant: LoadedModel | Served,
    adapter: Path | None,
    spec: CollectSpec,
    out: Path,
    log: Path,
    seed: int = 0,
    progress: Step = lambda done, total, note: None,
    retry: bool = True,
    base: LoadedModel | None = None,
    named: Path | None = None,
) -> list[Trajectory]:
    """Hold dialogues with a model, and write them and their Inspect log.

    It resumes: dialogues in `out`, or of a collection that was stopped, are kept; failed ones are retried.

    Args:
        assistant: The base model in memory, or a served model that has its adapter.
        adapter: Folder of an adapter to put on a model in memory, or None for the base itself.
        spec: Which dialogues.
        out: JSON Lines of trajectories; it appears whole or not at all.
        log: The `.eval` file, likewise. Until it is complete, finished chunks lie in a folder beside it.
        seed: Of the choice of users, of their turns and of the assistant's sampling.
        progress: Called after each reply; its note says how many dialogues failed.
        retry: Whether to retry failed dialogues of an `out` that exists.
        base: The base in memory, which rates what a served model says where `spec` names no rater.
        named: What the log calls the adapter, where its folder is about to be moved.

    Returns:
        A trajectory for each dialogue, failed ones included, in the order of the environment.

    Raises:
        UserError: `spec` is invalid or asks for likelihoods of a served model, the files there were collected with
            other settings, or every dialogue of the first chunk failed.
        KeyboardInterrupt: The user stopped it.
    """
    from inspect_ai.dataset import MemoryDataset

    from untrue.engine.generation import ROWS
    from untrue.simulate.dialogue import dialogue_task

    if isinstance(assistant, Served):
        refuse_likelihoods(assistant.model, spec, base)
    own = identity(assistant, adapter, spec, seed, base)
    done, failed = 0, 0

    def on_reply() -> None:
        nonlocal done
        done += 1
        progress(min(done, total), total, f"{failed} failed" if failed else "")

    task = dialogue_task(spec, seed, on_reply)
    task.metadata = own
    samples = {str(sample.id): sample for sample in task.dataset}
    total = len(samples) * spec.turns
    parts = log.with_name(f".{log.name}.parts")
    collected = _collected(out, parts, own)
    again = retry or not out.exists()
    kept = {name for name, trajectory in collected.items() if trajectory.error is None or not again}
    missing = [sample for name, sample in samples.items() if name not in kept]
    if not missing and not (again and parts.exists()):
        return [collected[name] for name in samples]
    done = (len(samples) - len(missing)) * spec.turns
    progress(done, total, "")
    rater = inspect_model(base, None) if base and isinstance(assistant, Served) else None
    roles = {role: one for role, one in (("user", spec.user), ("rater", spec.rater or rater)) if one}
    local = None if isinstance(assistant, Served) else inspect_model(assistant, adapter, named=named)
    try:
        # A chunk is as many dialogues as can advance together. A kill loses no more than one.
        size = ROWS["cuda"] if isinstance(assistant, Served) else ROWS.get(assistant.model.device.type, ROWS["cpu"])
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            task.dataset = MemoryDataset(chunk, name=task.dataset.name)
            part = parts / f"{len(list(parts.glob('*.eval'))):04}.eval"
            model = assistant.connect() if isinstance(assistant, Served) else local
            errors = run_task(task, model, part, "the dialogues", roles, keep_failed=True)
            failed += len(errors)
            collected |= {trajectory.id: trajectory for trajectory in read_log(part)}
            if all(trajectory.error is not None for trajectory in collected.values()):  # so would the rest
                shutil.rmtree(parts)
                raise UserError(f"all {len(chunk)} dialogues failed, first: {errors[0]}")
            done = (len(samples) - len(missing) + start + len(chunk)) * spec.turns - 1
            on_reply()  # counts the replies that failed dialogues never gave
    finally:
        if local:
            local.api.close()
    trajectories = [collected[name] for name in samples]
    merge_logs([*([log] if log.is_file() else []), *sorted(parts.glob("*.eval"))], list(samples), log)
    write_trajectories(out, trajectories, own)
    shutil.rmtree(parts)
    return trajectories


def refuse_likelihoods(model: str, spec: CollectSpec, base: LoadedModel | None = None) -> None:
    """Refuse dialogues with a served model for which its likelihoods would be needed.

    Args:
        model: Its name.
        spec: The dialogues.
        base: The base in memory, which can rate.

    Raises:
        UserError: It would have to choose or to rate.
    """
    if spec.replies == "chosen":
        raise UserError(
            f"{model}: replies=chosen needs likelihoods, which are computed in this process. Leave it out, or give a"
            " folder or a hub id as the model."
        )
    if spec.rater is None and base is None:
        raise UserError(
            f"{model}: ratings need likelihoods, which are computed in this process, or another model's words. Add"
            " rater=untrue/BASE, with the base as a folder or hub id, or another rater."
        )


def _collected(out: Path, parts: Path, own: Mapping[str, Any]) -> dict[str, Trajectory]:
    """Id -> trajectory that an earlier run collected."""
    collected: list[Trajectory] = []
    if out.exists():
        _refuse_others(out, read_identity(out), own)
        collected += read_trajectories(out)
    for part in sorted(parts.glob("*.eval")):
        _refuse_others(part, open_log(part, header_only=True).eval.metadata or {}, own)
        collected += read_log(part)
    return {trajectory.id: trajectory for trajectory in collected}


def _refuse_others(path: Path, theirs: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    differing = [key for key in own if key not in theirs or theirs[key] != own[key]]
    if differing:
        shown = "; ".join(f"{key} {theirs.get(key)!r}, here {own[key]!r}" for key in differing[:3])
        raise UserError(
            f"{path}: its dialogues were collected with other settings ({shown}). Choose another place, or delete it."
        )
