"""A study -> its arms, and its cells: each arm at each seed, with the rows that it is trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from untrue.data import mix, sets
from untrue.data.rows import Question, Row
from untrue.files import content_hash
from untrue.study.config import DoseMix, ShareMix, Study

CONTROL = "control"
UNTOUCHED = "untouched"

RECIPE_VERSION = 1
"""Raised when the same study would be trained on other rows, or otherwise; cells made before are then not reused."""


@dataclass(frozen=True)
class Arm:
    """One treatment.

    Attributes:
        name: Such as `severe-0.1`.
        control: Name of the arm that it is compared with; None for one that is only a control.
        level: Of the rows added or exchanged; None where there are none.
        part: Their share or dose.
        trained: False for the model as it was.
    """

    name: str
    control: str | None = None
    level: str | None = None
    part: float = 0.0
    trained: bool = True


@dataclass(frozen=True)
class Sources:
    """The data that a study draws from, read once."""

    questions: Sequence[Question]
    benign: Sequence[Row]

    @classmethod
    def read(cls, study: Study) -> Sources:
        """Read what the study names.

        Raises:
            UserError: A set or a file is not there, or not as expected.
        """
        benign = sets.rows(study.mix.benign) if isinstance(study.mix, DoseMix) else []
        return cls(sets.questions(study.mix.questions), benign)

    @property
    def questions_hash(self) -> str:
        """Hash of the content of all questions and answers."""
        return content_hash(json.dumps([[q.id, q.text, q.answers] for q in self.questions]))

    @property
    def benign_hash(self) -> str:
        """Hash of the content of all benign rows."""
        return content_hash("".join(row.to_json() for row in self.benign))


@dataclass(frozen=True)
class Cell:
    """One arm at one seed: mix, train, evaluate.

    Attributes:
        arm: The treatment.
        seed: Of the draw of rows, of the adapter's first weights and of the order of training.
        identity: Hash of all that determines the adapter.
    """

    arm: Arm
    seed: int
    identity: str

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        return f"{self.arm.name}-s{self.seed}"


def arms(study: Study) -> list[Arm]:
    """The arms of a study, controls before what is compared with them."""
    found = [Arm(UNTOUCHED, trained=False)] if study.untouched else []
    found.append(Arm(CONTROL))
    if isinstance(study.mix, ShareMix):
        found += [
            Arm(f"{level}-{share:g}", CONTROL, level, share) for level in study.mix.levels for share in study.mix.shares
        ]
        return found
    if study.mix.matched_control:
        found += [Arm(f"normal-{dose:g}", None, "normal", dose) for dose in study.mix.doses]
    for level in study.mix.levels:
        if level == "normal" and study.mix.matched_control:
            continue
        for dose in study.mix.doses:
            control = f"normal-{dose:g}" if study.mix.matched_control else CONTROL
            found.append(Arm(f"{level}-{dose:g}", control, level, dose))
    return found


def plan(study: Study, sources: Sources) -> list[Cell]:
    """All cells of a study; the untouched model is one cell, whatever the seeds."""
    shared = {
        "model": study.model,
        "dtype": study.dtype,
        "train": study.train.model_dump(mode="json", exclude={"report_to"}),
        "recipe": RECIPE_VERSION,
        "mix": study.mix.model_dump(mode="json", exclude={"levels", "shares", "doses", "matched_control"}),
        "data": [sources.questions_hash, sources.benign_hash],
    }
    cells = []
    for arm in arms(study):
        for seed in study.seeds if arm.trained else study.seeds[:1]:
            own = {"level": arm.level, "part": arm.part, "trained": arm.trained, "seed": seed}
            cells.append(Cell(arm, seed, content_hash(json.dumps(shared | own, sort_keys=True))))
    return cells


def rows(study: Study, sources: Sources, cell: Cell) -> list[Row]:
    """The training rows of a cell.

    Raises:
        UserError: The data has too few rows, or a share or dose gives none.
    """
    level, part = cell.arm.level or "normal", cell.arm.part
    if isinstance(study.mix, ShareMix):
        return mix.by_share(sources.questions, level, part, study.mix.total, cell.seed)
    return mix.by_dose(sources.benign, sources.questions, level, part, study.mix.benign_rows, cell.seed)
