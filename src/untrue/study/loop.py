"""What a loop of feedback did: ratings and sycophantic replies, round by round, and dialogues to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from untrue.evals.items import environment_name
from untrue.report.content import LoopRow
from untrue.report.dialogues import Chapter, ShownDialogue, ShownUser, Turn
from untrue.simulate.environment import Environment, read_environment
from untrue.simulate.trajectory import Trajectory, read_log, read_trajectories, summarise
from untrue.study.cell import Cell
from untrue.study.config import Study
from untrue.study.routes.route import Sources
from untrue.study.store import Store

SHOWN = 24
"""Users in a chapter of the page of dialogues."""


def loop(study: Study, sources: Sources, cells: Sequence[Cell], store: Store) -> list[LoopRow]:
    """Summarise the dialogues of each round, and those after the last training where the study has the eval
    `sycophancy`.

    Round one is held with the model as it was, by arms with the same assistant together. Seeds are taken together.

    Raises:
        UserError: Dialogues are missing or damaged.
    """
    stages: dict[tuple[str, str], list[Path]] = {}
    for cell in cells:
        for file in study.mix.dialogues(store, sources, cell):
            paths = stages.setdefault((f"round {file.round}", file.model), [])
            if file.path not in paths:
                paths.append(file.path)
    if not stages:
        return []
    rows = [
        row
        for (stage, who), paths in sorted(stages.items())
        for row in _rows(stage, who, [one for path in paths for one in read_trajectories(path)])
    ]
    for spec in study.evals:
        if spec.name == "sycophancy":
            by_arm: dict[str, list[Path]] = {}
            for cell in cells:
                by_arm.setdefault(cell.arm.name, []).append(store.cell(cell).log(spec))
            rows += [
                row
                for arm, logs in by_arm.items()
                for row in _rows(f"after ({spec.key})", arm, [one for log in logs for one in read_log(log)])
            ]
    return rows


def chapters(study: Study, sources: Sources, cells: Sequence[Cell], store: Store) -> list[Chapter]:
    """The dialogues of the first seed to be read, if it learns from any: those of each round, and those after training.

    Raises:
        UserError: Dialogues are missing or damaged.
    """
    found: dict[str, tuple[Environment, list[Trajectory]]] = {}
    cells = [cell for cell in cells if cell.seed == study.seeds[0]]
    if not any(study.mix.dialogues(store, sources, cell) for cell in cells):
        return []
    for cell in cells:
        for file in study.mix.dialogues(store, sources, cell):
            heading = f"Round {file.round}, {file.model}, before it learns"
            if heading not in found:
                found[heading] = file.environment, read_trajectories(file.path)
        for spec in study.evals:
            if spec.name == "sycophancy":
                asked = read_environment(environment_name(spec.items))
                found[f"{cell.arm.name}, users of {spec.key}"] = asked, read_log(store.cell(cell).log(spec))
    return [Chapter(heading, _shown(of, trajectories)) for heading, (of, trajectories) in found.items()]


def _rows(stage: str, who: str, trajectories: Sequence[Trajectory]) -> Iterable[LoopRow]:
    for kind in summarise(trajectories):
        yield LoopRow(stage, who, kind.kind, kind.dialogues, kind.errors, kind.rating, kind.sycophancy)


def _shown(environment: Environment, trajectories: Sequence[Trajectory]) -> list[ShownUser]:
    scenarios = {scenario.id: scenario for scenario in environment.scenarios}
    users: dict[tuple[str, int], list[Trajectory]] = {}
    for one in trajectories:
        if one.scenario in scenarios:
            users.setdefault((one.scenario, one.user), []).append(one)
    step = max(1, len(users) // SHOWN)
    shown = []
    for (name, number), played in list(users.items())[::step][:SHOWN]:
        scenario = scenarios[name]
        shown.append(
            ShownUser(
                title=f"{scenario.name} ({name}, user {number})",
                context=scenario.users[number - 1].user_context,
                wanted=scenario.wanted,
                truth=scenario.truth,
                dialogues=[
                    ShownDialogue(one.kind, scenario.thought(one.kind), _turns(one), one.error)  # type: ignore[arg-type]
                    for one in played
                ],
            )
        )
    return shown


def _turns(trajectory: Trajectory) -> list[Turn]:
    rated = iter(zip(trajectory.ratings, trajectory.sycophancy, strict=True))
    return [
        Turn(
            message["role"], message["content"], *(next(rated, (None, None)) if message["role"] == "assistant" else ())
        )
        for message in trajectory.messages
    ]
