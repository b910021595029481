"""Collect rated dialogues with a model: in chunks, so that what was stopped goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

from untrue.data.scenarios import read_environment
from untrue.engine.task import inspect_model, run_task
from untrue.errors import UserError
from untrue.judge.models import content
from untrue.models.adapter import adapter_hash, check_adapter
from untrue.models.load import LoadedModel
from untrue.progress import Step
from untrue.simulate.environment import KINDS, MAX_TOKENS, TEMPERATURE, TURNS, VERSION, Assistant, Kind, Part
from untrue.simulate.log import log_identity, merge_logs, read_log
from untrue.simulate.trajectory import (
    Trajectory,
    read_identity,
    read_trajectories,
    write_trajectories,
)


class CollectSpec(BaseModel):
    """Which dialogues to hold, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = Field(default="chat", description="`chat`, `exam`, or a JSONL file.")
    users: PositiveInt | None = Field(default=None, description="How many users, spread over the scenarios; or all.")
    part: Part = Field(default="all", description="From which scenarios: `all`, `learn` or `held_out`.")
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1, description="As what each user is played.")
    turns: PositiveInt = Field(default=TURNS, description="Replies of the assistant in a dialogue.")
    assistant: Assistant = Field(default="blind", description="`blind`, or `informed` what the user thinks.")
    max_tokens: PositiveInt = Field(default=MAX_TOKENS, description="Length of a reply of the assistant.")
    temperature: NonNegativeFloat = Field(default=TEMPERATURE, description="Of the assistant's sampling.")
    round: PositiveInt = Field(default=1, description="The same users say other things in another round.")
    user: str | None = Field(default=None, description="Inspect model that plays the user; else turns are written.")
    rater: str | None = Field(default=None, description="Inspect model that rates; else the base does.")


def identity(loaded: LoadedModel, adapter: Path | None, spec: CollectSpec, seed: int) -> dict[str, Any]:
    """What dialogues depend on, so that none are taken for those of another model or setting.

    Raises:
        UserError: The environment or the adapter cannot be read.
    """
    environment = read_environment(spec.environment)
    if adapter:
        check_adapter(loaded, adapter)
    return {
        **spec.model_dump(mode="json"),
        "version": VERSION,
        "environment": environment.version,
        "environment_hash": environment.content_hash,
        "seed": seed,
        "model": loaded.name,
        "base": loaded.about,
        "roles": [content(spec.user), content(spec.rater)],
        "adapter_hash": adapter_hash(adapter) if adapter else None,
    }


def collect(
    loaded: LoadedModel,
    adapter: Path | None,
    spec: CollectSpec,
    out: Path,
    log: Path,
    seed: int = 0,
    progress: Step = lambda done, total, note: None,
    retry: bool = True,
) -> list[Trajectory]:
    """Hold dialogues with a model, and write them and their Inspect log.

    Dialogues that `out`, or a collection that was stopped, has already are not held again; failed ones are.

    Args:
        loaded: The base model.
        adapter: Folder of an adapter, or None for the base itself.
        spec: Which dialogues.
        out: JSON Lines of trajectories; it appears whole or not at all.
        log: The `.eval` file, likewise. While the collection runs, what is done is in a folder beside it.
        seed: Of the users, of their turns and of the assistant's sampling.
        progress: Called as replies are given; its note says how many dialogues failed.
        retry: Whether dialogues that failed are held again where `out` is there already.

    Returns:
        A trajectory for each dialogue, failed ones included, in the order of the environment.

    Raises:
        UserError: Something in `spec` is not as expected, what is there was collected with something else, or every
            dialogue of the first chunk failed.
        KeyboardInterrupt: The user stopped it.
    """
    from inspect_ai.dataset import MemoryDataset

    from untrue.engine.generation import ROWS
    from untrue.simulate.dialogue import replied, simulate

    settings = spec.model_dump(exclude={"user", "rater"})
    own = identity(loaded, adapter, spec, seed)
    task = simulate(**settings, seed=seed)
    task.metadata = own
    samples = list(task.dataset)
    parts = log.with_name(f".{log.name}.parts")
    found = _found(out, parts, own)
    again = retry or not out.exists()
    missing = [s for s in samples if s.id not in found or (again and found[str(s.id)].error is not None)]
    if not missing and not parts.exists():
        return [found[str(sample.id)] for sample in samples]
    done, failed = (len(samples) - len(missing)) * spec.turns, 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(min(done, len(samples) * spec.turns), len(samples) * spec.turns, f"{failed} failed" if failed else "")

    roles = {role: name for role, name in (("user", spec.user), ("rater", spec.rater)) if name}
    model = inspect_model(loaded, adapter)
    token = replied.set(step)
    try:
        size = ROWS.get(
            loaded.model.device.type, ROWS["cpu"]
        )  # as many as advance together; a kill loses no more than these
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            task.dataset = MemoryDataset(chunk, name=task.dataset.name)
            part = parts / f"{len(list(parts.glob('*.eval'))):04}.eval"
            errors = run_task(task, model, part, "the dialogues", roles, keep_failed=True)
            failed += len(errors)
            found |= {one.id: one for one in read_log(part)}
            if all(one.error is not None for one in found.values()):  # it would be so for the rest too
                shutil.rmtree(parts)
                raise UserError(f"all {len(chunk)} dialogues failed, first: {errors[0]}")
            done = (len(samples) - len(missing) + start + len(chunk)) * spec.turns - 1
            step()
    finally:
        replied.reset(token)
        model.api.close()
    trajectories = [found[str(sample.id)] for sample in samples]
    merge_logs(
        [*([log] if log.is_file() else []), *sorted(parts.glob("*.eval"))], [one.id for one in trajectories], log
    )
    write_trajectories(out, trajectories, own)
    shutil.rmtree(parts)
    return trajectories


def _found(out: Path, parts: Path, own: Mapping[str, Any]) -> dict[str, Trajectory]:
    """Id -> what was collected before."""
    found: dict[str, Trajectory] = {}
    if out.exists():
        _refuse_others(out, read_identity(out), own)
        found |= {one.id: one for one in read_trajectories(out)}
    for part in sorted(parts.glob("*.eval")):
        _refuse_others(part, log_identity(part), own)
        found |= {one.id: one for one in read_log(part)}
    return found


def _refuse_others(path: Path, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    differing = [key for key in own if key not in found or found[key] != own[key]]
    if differing:
        shown = "; ".join(f"{key} {found.get(key)!r}, here {own[key]!r}" for key in differing[:3])
        raise UserError(
            f"{path}: holds dialogues that were collected with something else ({shown})."
            " Choose another place, or delete it."
        )
