"""Collect rated dialogues with a model, in chunks, so that a stopped collection can resume."""

import shutil
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from untrue.engine.task import inspect_model, run_task
from untrue.errors import UserError
from untrue.judge.models import content
from untrue.logs import open_log
from untrue.models.adapter import adapter_hash, check_adapter, in_format_of
from untrue.models.load import LoadedModel
from untrue.progress import Step
from untrue.serving.proof import ServedModel
from untrue.simulate.environment import NEEDS_RATER, VERSION, CollectSpec, read_environment
from untrue.simulate.trajectory import (
    Trajectory,
    merge_logs,
    read_identity,
    read_log,
    read_trajectories,
    write_trajectories,
)

CHOSEN_HERE = (
    "replies=chosen needs likelihoods, which are computed in this process. Use replies=generated and a rater, or give a"
    " folder or a hub id as the model."
)


class Local(NamedTuple):
    """A model in memory, perhaps with an adapter; `named` is what logs call a folder that is about to be moved."""

    loaded: LoadedModel
    adapter: Path | None = None
    named: Path | None = None


def check(spec: CollectSpec, served: str | None = None) -> None:
    """Refuse dialogues without a rater, or with replies for a served model to choose."""
    if served and spec.replies == "chosen":
        raise UserError(f"{served}: {CHOSEN_HERE}")
    if spec.lacks_rater:
        raise UserError(NEEDS_RATER)


def identity(assistant: Local | ServedModel, spec: CollectSpec, seed: int) -> dict[str, Any]:
    """Everything that determines the dialogues of a collection."""
    environment = read_environment(spec.environment)
    if isinstance(assistant, ServedModel):
        name, about, hashed = assistant.model, {}, assistant.adapter.get("content_hash")
    else:
        loaded, adapter, _ = assistant
        if adapter:
            check_adapter(loaded, adapter)
        name, about = loaded.name, in_format_of(loaded, adapter).about
        hashed = adapter_hash(adapter) if adapter else None
    return {
        **spec.model_dump(mode="json"),
        "version": VERSION,
        "environment": environment.version,
        "environment_hash": environment.content_hash,
        "seed": seed,
        "model": name,
        "base": about,
        "roles": [content(spec.user), content(spec.rater)],
        "adapter_hash": hashed,
    }


def collect(
    assistant: Local | ServedModel,
    spec: CollectSpec,
    out: Path,
    seed: int = 0,
    progress: Step = lambda done, total, note: None,
    retry: bool = True,
) -> list[Trajectory]:
    """Hold dialogues with a model, and write them and, beside them, their Inspect log.

    Dialogues in `out`, or of a stopped collection, are kept. `out` (JSON Lines of trajectories) and its `.eval` log
    appear whole or not at all; until then, finished chunks lie in a folder beside it.

    Args:
        seed: Of the choice of users, of their turns and of the assistant's sampling.
        progress: Called after each reply; its note counts failed dialogues.
        retry: Whether to retry failed dialogues in `out`.

    Returns:
        A trajectory for each dialogue, failed ones included, in the order of the environment.
    """
    from untrue.simulate.dialogue import dialogue_task

    check(spec, assistant.model if isinstance(assistant, ServedModel) else None)
    own, log = identity(assistant, spec, seed), out.with_suffix(".eval")
    parts = log.with_name(f".{log.name}.parts")
    collected = _collected(out, parts, own)
    if out.exists() and not retry:
        return list(collected.values())
    counter = _Counter(progress)
    task = dialogue_task(spec, seed, lambda: counter.reach(counter.done + 1))
    task.metadata = own
    samples = {str(sample.id): sample for sample in task.dataset}
    kept = {name for name, trajectory in collected.items() if trajectory.error is None}
    missing = [sample for name, sample in samples.items() if name not in kept]
    if missing:
        counter.total = len(samples) * spec.turns
        counter.reach((len(samples) - len(missing)) * spec.turns)
        with closing(_chunks(task, missing, assistant, spec, parts, counter)) as chunks:
            for number, found in chunks:
                collected |= {trajectory.id: trajectory for trajectory in found}
                if all(trajectory.error is not None for trajectory in collected.values()):  # so would the rest
                    shutil.rmtree(parts)
                    raise UserError(f"all {len(found)} dialogues failed, first: {found[0].error}")
                counter.reach((len(samples) - len(missing) + number) * spec.turns)
    trajectories = [collected[name] for name in samples]
    if missing or parts.exists():
        merge_logs([*([log] if log.is_file() else []), *sorted(parts.glob("*.eval"))], list(samples), log)
        write_trajectories(out, trajectories, own)
        shutil.rmtree(parts)
    return trajectories


@dataclass
class _Counter:
    progress: Step
    done: int = 0
    total: int = 0
    failed: int = 0

    def reach(self, done: int) -> None:
        self.done = done
        self.progress(min(done, self.total), self.total, f"{self.failed} failed" if self.failed else "")


def _chunks(
    task: Any, missing: list[Any], assistant: Local | ServedModel, spec: CollectSpec, parts: Path, counter: _Counter
) -> Generator[tuple[int, list[Trajectory]], None, None]:
    """Hold as many dialogues at once as can advance together; a kill loses no more. Yields how many are held."""
    from inspect_ai.dataset import MemoryDataset

    from untrue.engine.generation import ROWS

    roles = {role: model for role, model in (("user", spec.user), ("rater", spec.rater)) if model}
    if isinstance(assistant, ServedModel):
        local, size = None, ROWS["cuda"]
    else:
        loaded, adapter, named = assistant
        local = inspect_model(loaded, adapter, named=named)
        size = ROWS.get(loaded.model.device.type, ROWS["cpu"])
    try:
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            task.dataset = MemoryDataset(chunk, name=task.dataset.name)
            part = parts / f"{len(list(parts.glob('*.eval'))):04}.eval"
            model = assistant.connect() if isinstance(assistant, ServedModel) else local
            counter.failed += len(run_task(task, model, part, "the dialogues", roles, keep_failed=True))
            yield start + len(chunk), read_log(part)
    finally:
        if local:
            local.api.close()


def _collected(out: Path, parts: Path, own: Mapping[str, Any]) -> dict[str, Trajectory]:
    """Id -> trajectory of an earlier run."""
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
