"""What a feedback loop did: ratings and sycophantic replies, round by round, and the dialogues themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from untrue.evals.items import environment_name
from untrue.simulate.environment import Environment, read_environment
from untrue.simulate.log import read_log
from untrue.simulate.summary import KindSummary, summarise
from untrue.simulate.trajectory import Trajectory, read_trajectories
from untrue.study.config import InteractionMix, Study
from untrue.study.feedback import dialogues
from untrue.study.plan import Cell
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


def loop(study: Study, cells: Sequence[Cell], store: Store) -> list[Stage]:
    """Summarise the dialogues of each round, and those after the last training where the study has the eval
    `sycophancy`.

    Round one is held with the model as it was, by arms with the same assistant together. Seeds are taken together.

    Raises:
        UserError: Dialogues are missing or damaged.
    """
    if not isinstance(study.mix, InteractionMix):
        return []
    paths: dict[tuple[str, str], dict[Path, None]] = {}
    for cell in cells:
        for number in range(1, cell.arm.feedback.rounds + 1 if cell.arm.feedback else 1):
            assert cell.arm.feedback
            who = f"base, {cell.arm.feedback.assistant}" if number == 1 else cell.arm.name
            paths.setdefault((f"round {number}", who), {})[dialogues(store, cell, number)] = None
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


def chapters(study: Study, environment: Environment, cells: Sequence[Cell], store: Store) -> list[Chapter]:
    """The dialogues of the first seed to be read: those of each round, and those after training.

    Raises:
        UserError: Dialogues are missing or damaged.
    """
    by_heading: dict[str, Chapter] = {}
    for cell in cells:
        if cell.seed != study.seeds[0]:
            continue
        for number in range(1, cell.arm.feedback.rounds + 1 if cell.arm.feedback else 1):
            assert cell.arm.feedback
            who = f"{cell.arm.feedback.assistant} assistant" if number == 1 else cell.arm.name
            heading = f"Round {number}, {who}, before it learns"
            if heading not in by_heading:
                trajectories = read_trajectories(dialogues(store, cell, number))
                by_heading[heading] = Chapter(heading, environment, trajectories)
        for spec in study.evals:
            if spec.name == "sycophancy":
                heading = f"{cell.arm.name}, users of {spec.key}"
                users = read_environment(environment_name(spec.items))
                by_heading[heading] = Chapter(heading, users, read_log(store.cell(cell).log(spec)))
    return list(by_heading.values())
