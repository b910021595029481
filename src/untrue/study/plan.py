"""A study -> its arms, and its cells: each arm at each seed, with the rows that it is trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import ValidationError

from untrue import secrets
from untrue.data import mix, sets
from untrue.data.rows import LEVELS, Question, Row
from untrue.errors import UserError
from untrue.files import content_hash
from untrue.judge.models import content
from untrue.simulate.environment import VERSION as DIALOGUE_VERSION
from untrue.simulate.environment import Assistant, Environment, read_environment
from untrue.simulate.select import SelectBy
from untrue.study.config import DoseMix, InteractionMix, ShareMix, Study
from untrue.train.spec import Method, TrainSpec

CONTROL = "control"
BASE = "base"

RECIPE_VERSION = 2
"""Raised when the same study would be trained on other rows, or otherwise; cells made before are then not reused."""


@dataclass(frozen=True)
class Feedback:
    """How an arm learns from the ratings of its users."""

    method: Method
    assistant: Assistant
    select: SelectBy
    rounds: int


@dataclass(frozen=True)
class Arm:
    """One treatment.

    Attributes:
        name: Such as `severe-0.1`.
        control: Name of the arm that it is compared with; None for one that is only a control.
        level: Of the rows added or exchanged; None where there are none. Of an arm with feedback, the line of the dose
            plot on which it lies: its method, or its own name.
        part: Their share or dose; of an arm with feedback, the share of biased users.
        trained: False for the model as it was.
        feedback: How it learns from users; None where it learns from given answers.
    """

    name: str
    control: str | None = None
    level: str | None = None
    part: float = 0.0
    trained: bool = True
    feedback: Feedback | None = None

    @property
    def rounds(self) -> int:
        """How often it is trained, each time going on from the time before."""
        return self.feedback.rounds if self.feedback else int(self.trained)


@dataclass(frozen=True)
class Sources:
    """The data that a study draws from, read once."""

    questions: Sequence[Question] = ()
    benign: Sequence[Row] = ()
    environment: Environment | None = None

    @classmethod
    def read(cls, study: Study) -> Sources:
        """Read what the study names.

        Raises:
            UserError: A set or a file is not there, or not as expected.
        """
        if isinstance(study.mix, InteractionMix):
            return cls(environment=read_environment(study.mix.environment))
        benign = sets.rows(study.mix.benign) if isinstance(study.mix, DoseMix) else []
        return cls(sets.questions(study.mix.questions), benign)

    @property
    def hashes(self) -> list[str]:
        """Hashes of all that the rows are made from."""
        return [self.environment.content_hash] if self.environment else [self.questions_hash, self.benign_hash]

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
    found = [Arm(BASE, trained=False)] if study.base else []
    if isinstance(study.mix, InteractionMix):
        return found + _feedback_arms(study.mix)
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


def _feedback_arms(mix: InteractionMix) -> list[Arm]:
    found = []
    for method in mix.methods:
        main = Feedback(method, mix.assistant, mix.select, mix.rounds)
        found.append(Arm(f"{method}-0", feedback=main))
        found += [Arm(f"{method}-{share:g}", f"{method}-0", method, share, feedback=main) for share in mix.shares]
    variants = sorted(mix.variants, key=lambda variant: variant.share > 0)  # their controls first
    for variant in variants:
        main = next(arm for arm in found if arm.name == f"{variant.method}-{variant.share:g}")
        assert main.feedback is not None
        differs = {key: value for key in ("assistant", "select", "rounds") if (value := getattr(variant, key))}
        words = [f"{value}-rounds" if key == "rounds" else str(value) for key, value in differs.items()]
        name, at_zero = ("-".join([base, *words]) for base in (main.name, f"{variant.method}-0"))
        names = {arm.name for arm in found}
        against = at_zero if variant.share and at_zero in names else main.name
        found.append(Arm(name, against, name, variant.share, feedback=replace(main.feedback, **differs)))
    return found


def dose_line(study: Study) -> tuple[str, dict[str, float]]:
    """The arms through which a straight dose-response is fitted, from the control on: their name, and their doses.

    By share and by dose they are the arms of the worst level, by interaction those of the first method.
    """
    if isinstance(study.mix, InteractionMix):
        name = next(iter(study.mix.methods))
        found = [arm for arm in arms(study) if arm.name == f"{name}-0" or arm.level == name]
    else:
        name = max(study.mix.levels, key=LEVELS.index)
        found = [arm for arm in arms(study) if arm.trained and arm.level in (None, name)]
    return name, {arm.name: arm.part for arm in found}


def hyperparameters(study: Study, arm: Arm) -> TrainSpec:
    """The hyperparameters of an arm: the study's, with those of its method on top.

    Raises:
        UserError: A key of the method is not one of `train`.
    """
    if not isinstance(study.mix, InteractionMix) or arm.feedback is None:
        return study.train
    method = arm.feedback.method
    try:
        return TrainSpec.model_validate({**study.train.model_dump(), **study.mix.methods[method], "method": method})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        value = secrets.shown(first["input"], key)
        found = f", found {value}" if value else ""
        raise UserError(f"mix.methods.{method}.{key}: {first['msg'].lower()}{found}.") from None


def plan(study: Study, sources: Sources) -> list[Cell]:
    """All cells of a study; the base model is one cell, whatever the seeds."""
    per_arm = {"levels", "shares", "doses", "matched_control", "methods", "variants", "assistant", "select", "rounds"}
    shared = {
        "model": study.model,
        "dtype": study.dtype,
        "recipe": RECIPE_VERSION,
        "mix": study.mix.model_dump(mode="json", exclude={*per_arm, "accept_weak_rater"}),
        "data": sources.hashes,
    }
    if isinstance(study.mix, InteractionMix):
        shared["roles"] = [content(study.mix.user), content(study.mix.rater)]
    cells = []
    for arm in arms(study):
        spec = hyperparameters(study, arm).model_dump(mode="json", exclude={"report_to"})
        for seed in study.seeds if arm.trained else study.seeds[:1]:
            own = {"level": arm.level, "part": arm.part, "trained": arm.trained, "seed": seed, "train": spec}
            if arm.feedback:
                own |= {"level": None, "feedback": [DIALOGUE_VERSION, asdict(arm.feedback)]}
            cells.append(Cell(arm, seed, content_hash(json.dumps(shared | own, sort_keys=True))))
    return cells


def rows(study: Study, sources: Sources, cell: Cell) -> list[Row]:
    """The training rows of a cell that learns from given answers.

    Raises:
        UserError: The data has too few rows, or a share or dose gives none.
    """
    level, part = cell.arm.level or "normal", cell.arm.part
    if isinstance(study.mix, ShareMix):
        return mix.by_share(sources.questions, level, part, study.mix.total, cell.seed)
    assert isinstance(study.mix, DoseMix)
    return mix.by_dose(sources.benign, sources.questions, level, part, study.mix.benign_rows, cell.seed)
