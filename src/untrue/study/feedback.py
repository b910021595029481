"""What the loop of feedback of a study did: its dialogues, the policy by round, and what the selection alone does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.metrics import Scored, scored
from untrue.logs import open_log
from untrue.simulate.environment import KINDS, REPLY_KINDS, Environment, Kind, ReplyKind
from untrue.simulate.trajectory import KindSummary, Trajectory, read_trajectories
from untrue.simulate.trajectory import summarise as summarise_dialogues
from untrue.stats.intervals import mean_interval, share_interval
from untrue.stats.pairing import Grid
from untrue.stats.types import Interval
from untrue.study.config import Study
from untrue.study.routes.interaction import DialogueFile, InteractionRoute
from untrue.study.routes.route import Sources
from untrue.study.store import Cell, Store


class Stage(NamedTuple):
    """The dialogues of one stage, such as `round 1`, of one model with users of one kind."""

    stage: str
    who: str
    summary: KindSummary


class Chapter(NamedTuple):
    """The dialogues of one model, such as those of round 1, and whom they were held with."""

    heading: str
    environment: Environment
    trajectories: list[Trajectory]


class Point(NamedTuple):
    """The policy of an arm towards users of one kind, after one round.

    Intervals are over scenarios and seeds.

    Attributes:
        round: How many rounds it has learned; 0 is the base.
        preference: Mean probability of the sycophantic reply if it is that or the honest one; see `reply_choice`.
        probabilities: Mean probability of each kind of reply.
        kl_from_base: Mean Kullback-Leibler divergence from the base's policy, in nats.
        seeds: Seed -> mean preference; the base has one.
    """

    arm: str
    round: int
    kind: Kind
    preference: Interval
    probabilities: dict[ReplyKind, Interval]
    kl_from_base: Interval
    seeds: dict[int, float]


class Gap(NamedTuple):
    """A round after which the policy of a cell is not known."""

    arm: str
    round: int
    seed: int


class Policy(NamedTuple):
    """The policy of each arm by round, towards users of scenarios that no arm learns from.

    Attributes:
        users: That every policy was measured on, each as benign and as biased: no others count.
        scenarios: Theirs.
        asked: The most users that any policy was measured on.
        gaps: What was not measured. A point rests on the seeds that were.
    """

    users: int
    scenarios: int
    asked: int
    points: list[Point]
    gaps: list[Gap]


@dataclass(frozen=True)
class Feedback:
    """What a loop of feedback did: stages over all seeds, chapters of the first, the policy if replies are chosen."""

    stages: list[Stage]
    chapters: list[Chapter]
    rater: dict[str, Any]
    policy: Policy | None


def feedback(study: Study, sources: Sources, cells: Sequence[Cell], store: Store) -> Feedback | None:
    """Read what the loop of feedback of a study did; None if it has no such loop."""
    if not isinstance(study.mix, InteractionRoute):
        return None
    files = {cell: study.mix.dialogues(store, sources, cell) for cell in cells}
    stages, chapters = _dialogues(study, files)
    return Feedback(stages, chapters, study.mix.rater_record, _policy(study, study.mix, files, store))


def _dialogues(study: Study, files: Mapping[Cell, Sequence[DialogueFile]]) -> tuple[list[Stage], list[Chapter]]:
    """The dialogues of each round. Arms with the same assistant share those of round 1."""
    held: dict[Path, list[Trajectory]] = {}
    rounds: dict[tuple[str, str], dict[Path, list[Trajectory]]] = {}
    chapters: dict[str, Chapter] = {}
    for cell, of_cell in files.items():
        for file in of_cell:
            if file.path not in held:
                held[file.path] = read_trajectories(file.path)
            rounds.setdefault((f"round {file.round}", file.model), {})[file.path] = held[file.path]
            heading = f"Round {file.round}, {file.model}, before it learns"
            if cell.seed == study.seeds[0]:
                chapters.setdefault(heading, Chapter(heading, file.environment, held[file.path]))
    stages = [
        Stage(stage, who, summary)
        for stage, who in sorted(rounds)
        for summary in summarise_dialogues([*chain.from_iterable(rounds[stage, who].values())])
    ]
    return stages, list(chapters.values())


def _policy(
    study: Study, route: InteractionRoute, files: Mapping[Cell, Sequence[DialogueFile]], store: Store
) -> Policy | None:
    base = next((cell for cell in files if not cell.arm.trained), None)
    logs: dict[Gap, Path | None] = {}
    for cell, of_cell in files.items():
        own = route.policy_eval(cell.arm)
        if own is None:
            continue
        alike = next((spec for spec in study.evals if _measures_alike(spec, own)), None)
        arm, rounds = cell.arm.name, cell.arm.rounds
        before = Gap(arm, 0, base.seed if base else study.seeds[0])
        logs[before] = store.cell(base).log(alike) if base and alike else None
        logs |= {Gap(arm, file.round, cell.seed): file.policy for file in of_cell if file.round < rounds}
        logs[Gap(arm, rounds, cell.seed)] = store.cell(cell).log(alike) if alike else None
    read = {path: scored(open_log(path)) for path in dict.fromkeys(logs.values()) if path}
    return policy({place: read[path] if path else [] for place, path in logs.items()}) if logs else None


def _measures_alike(spec: EvalSpec, own: EvalSpec) -> bool:
    """Whether an eval of the study reads the policy as the loop does after each round; it may ask more users."""
    record = EVALS[own.name]
    return (
        spec.name == own.name
        and record.reply_identity(spec) == record.reply_identity(own)
        and record.sources(spec) == record.sources(own)
    )


def policy(measured: Mapping[Gap, Sequence[Scored]]) -> Policy:
    """The policy by round, on the users that are known everywhere. Nothing stands in for what is missing."""
    known = {place: {row.result.item: row for row in rows if row.details} for place, rows in measured.items()}
    logs = [rows for rows in known.values() if rows]
    shared = [item for item in logs[0] if all(item in rows for rows in logs)] if logs else []
    users = {item.rpartition("/")[0]: logs[0][item].result.cluster for item in shared}
    points = []
    for arm in dict.fromkeys(place.arm for place in known):
        for kind in KINDS:
            for number in sorted({place.round for place in known if place.arm == arm}):
                of_seeds = {place.seed: rows for place, rows in known.items() if rows and place[:2] == (arm, number)}
                items = [item for item in shared if logs[0][item].result.category == kind]
                if items and of_seeds:
                    points.append(_point(arm, number, kind, items, of_seeds))
    return Policy(
        users=len(users),
        scenarios=len(set(users.values())),
        asked=max((len({item.rpartition("/")[0] for item in rows}) for rows in logs), default=0),
        points=points,
        gaps=[place for place, rows in known.items() if not rows],
    )


def _point(
    arm: str, number: int, kind: Kind, items: Sequence[str], of_seeds: Mapping[int, Mapping[str, Scored]]
) -> Point:
    def grid(of: Callable[[Scored], float | None]) -> Grid:
        return np.array([[of(rows[item]) for rows in of_seeds.values()] for item in items], dtype=float)

    some = next(iter(of_seeds.values()))
    scenarios = [some[item].result.cluster or item for item in items]
    preferred = grid(lambda row: row.result.value)
    divergence = mean_interval(grid(lambda row: row.details["kl_from_base"]), scenarios)
    return Point(
        arm=arm,
        round=number,
        kind=kind,
        preference=share_interval(preferred, scenarios),
        probabilities={
            reply: share_interval(grid(lambda row, reply=reply: row.details[reply]), scenarios) for reply in REPLY_KINDS
        },
        kl_from_base=divergence._replace(low=max(0.0, divergence.low)),
        seeds=dict(zip(of_seeds, preferred.mean(axis=0).tolist(), strict=True)),
    )
