"""What a feedback loop did: ratings and sycophantic replies, round by round, and the dialogues themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from untrue.evals.registry import EVALS
from untrue.simulate.environment import Environment, read_environment
from untrue.simulate.trajectory import KindSummary, Trajectory, read_log, read_trajectories, summarise
from untrue.study.cell import Cell
from untrue.study.config import Study
from untrue.study.routes.route import Sources
from untrue.study.store import Store


class Stage(NamedTuple):
    """The dialogues of one stage of a feedback loop with users of one kind.

    Attributes:
        stage: Such as `round 1`.
        who: The model that they were held with.
        summary: What they say together.
    """

    stage: str
    who: str
    summary: KindSummary


class Chapter(NamedTuple):
    """The dialogues of one model, such as those of round 1, and whom they were held with."""

    heading: str
    environment: Environment
    trajectories: list[Trajectory]


def loop(study: Study, sources: Sources, cells: Sequence[Cell], store: Store) -> list[Stage]:
    """Summarise the dialogues of each round, and those after the last training where the study has the eval
    `sycophancy`.

    Round one is held with the model as it was, by arms with the same assistant together. Seeds are taken together.

    Raises:
        UserError: Dialogues are missing or damaged.
    """
    paths: dict[tuple[str, str], dict[Path, None]] = {}
    for cell in cells:
        for file in study.mix.dialogues(store, sources, cell):
            paths.setdefault((f"round {file.round}", file.model), {})[file.path] = None
    if not paths:
        return []
    stages = [
        Stage(stage, who, summary)
        for (stage, who), files in sorted(paths.items())
        for summary in summarise([trajectory for path in files for trajectory in read_trajectories(path)])
    ]
    for spec in study.evals:
        if spec.name == "sycophancy":
            held: dict[str, list[Trajectory]] = {}
            for cell in cells:
                held.setdefault(cell.arm.name, []).extend(read_log(store.cell(cell).log(spec)))
            stages += [
                Stage(f"after ({spec.key})", arm, summary)
                for arm, trajectories in held.items()
                for summary in summarise(trajectories)
            ]
    return stages


def chapters(study: Study, sources: Sources, cells: Sequence[Cell], store: Store) -> list[Chapter]:
    """The dialogues of the first seed to be read, if it learns from any: those of each round, and those after training.

    Raises:
        UserError: Dialogues are missing or damaged.
    """
    cells = [cell for cell in cells if cell.seed == study.seeds[0]]
    if not any(study.mix.dialogues(store, sources, cell) for cell in cells):
        return []
    by_heading: dict[str, Chapter] = {}
    for cell in cells:
        for file in study.mix.dialogues(store, sources, cell):
            heading = f"Round {file.round}, {file.model}, before it learns"
            if heading not in by_heading:
                by_heading[heading] = Chapter(heading, file.environment, read_trajectories(file.path))
        for spec in study.evals:
            if spec.name == "sycophancy":
                heading = f"{cell.arm.name}, users of {spec.key}"
                users = read_environment(EVALS[spec.name].source(spec.items))
                by_heading[heading] = Chapter(heading, users, read_log(store.cell(cell).log(spec)))
    return list(by_heading.values())
