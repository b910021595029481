"""What a route is: how the training data of a study comes about. Each route is one file beside this one.

`AnswersRoute` is what those share whose rows are written answers to questions, at several levels.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from untrue.data import sets
from untrue.data.mix import Level
from untrue.data.rows import LEVELS, Row, write_rows
from untrue.files import content_hash
from untrue.judge.cost import CHARACTERS
from untrue.models.load import LoadedModel
from untrue.progress import Watcher
from untrue.settings import Listed
from untrue.study.store import Arm, Cell, Store
from untrue.training.layout import ALONE, Layout
from untrue.training.spec import METHODS, TrainSpec


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [getattr(value, "key", value) for value in values]
    if len(set(names)) < len(names):
        raise ValueError("a value occurs twice")
    if len({f"{name:g}" if isinstance(name, float) else name for name in names}) < len(names):
        raise ValueError("two values are alike in their first six digits, by which arms are named")
    return values


Distinct = AfterValidator(_distinct)  # of a tuple whose values name arms or evals
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]

# A text of one token, by rule of thumb: texts that are still to be written are counted by it.
TOKEN = "x" * CHARACTERS

USER_MESSAGE_TOKENS, WRITTEN_REPLY_TOKENS = 80, 50

CONTROL = "control"  # the arm without misaligned rows, where rows are written answers


class Source(NamedTuple):
    """A data set that a route draws from, read once; `count` is of rows, questions or users."""

    title: str
    count: int
    content_hash: str
    data: Any


Sources = Mapping[str, Source]


class Talk(NamedTuple):
    """Dialogues that a cell learns from in one round, before they are held.

    Attributes:
        path: The file that holds them afterwards; cells that learn from the same have the same.
        turns: Replies of the assistant in each.
        reply_tokens: Limit of a reply that the assistant writes; 0 if it chooses among written ones.
        scores: Whether the base scores replies, to choose among them.
        user: The model that plays the users, if any.
        rater: The model that rates, if any.
    """

    path: Path
    dialogues: int
    turns: int
    reply_tokens: int
    scores: bool
    user: str | None
    rater: str | None


@dataclass(frozen=True)
class StudyRun:
    """What the cells of a run share; `served` names the base on a vLLM server that writes the assistant's replies."""

    store: Store
    train: TrainSpec
    sources: Sources
    loaded: LoadedModel
    watcher: Watcher
    layout: Layout = ALONE
    served: str | None = None

    def learn(self, rows: Sequence[Row], spec: TrainSpec, out: Path, seed: int, start: Path | None = None) -> None:
        """Train an adapter from `start` on."""
        from untrue.training.launch import learn

        learn(self.loaded, rows, spec, out, seed, self.watcher, start, self.layout)


class Route(BaseModel, ABC):
    """The key `mix` of a study. Its fields are the keys, and `by` names the route.

    Whatever the data or a key makes impossible raises UserError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    by: str

    # Keys that may differ inside one run directory: they only name arms, which `identity` tells apart.
    free: ClassVar[frozenset[str]] = frozenset()

    @property
    def generates(self) -> bool:
        """Whether the assistant writes its replies in dialogues that cells learn from."""
        return False

    @abstractmethod
    def read(self) -> Sources:
        """Read the data sets."""

    @abstractmethod
    def arms(self) -> Sequence[Arm]:
        """The arms, controls before what is compared with them."""

    @abstractmethod
    def line(self) -> tuple[str, dict[str, float]]:
        """The dose-response line that is fitted: its name, and arm -> dose, from the control on."""

    @abstractmethod
    def describe(self) -> str:
        """What the arms differ in, for the report."""

    def check_train(self, train: TrainSpec) -> None:
        """Raise ValueError for hyperparameters that the route cannot use."""
        if METHODS[train.method].labels:
            raise ValueError(f"train.method: {train.method} needs rows with labels, which `mix.by: {self.by}` has not")

    def check(self, sources: Sources, seeds: Sequence[int]) -> None:
        """Refuse what could only fail after hours, before anything is made."""

    def hyperparameters(self, train: TrainSpec, arm: Arm) -> TrainSpec:
        """The hyperparameters of an arm, given those of the study."""
        return train

    def identity(self, arm: Arm) -> dict[str, Any]:
        """What determines an arm, beside the keys that are not `free`, the sources and the hyperparameters."""
        return {"level": arm.level, "part": arm.part}

    def rows(self, sources: Sources, cell: Cell) -> list[Row]:
        """The training rows of a cell, if they are known before it learns."""
        return []

    def expected_rows(self, sources: Sources, cell: Cell) -> Sequence[Row]:
        """As many rows as a cell learns from in each round, about as long as they will be."""
        return self.rows(sources, cell)

    def talks(self, store: Store, cell: Cell) -> Sequence[Talk]:
        """The dialogues that a cell learns from, round by round; cells share those of the first."""
        return ()

    def hold_dialogues(self, run: StudyRun, cell: Cell) -> None:
        """Hold the dialogues of the first round, unless they are there."""

    def learn(self, run: StudyRun, cell: Cell) -> None:
        """Write the rows and the adapter of a cell. What an earlier run finished is not done again."""
        files, rows = run.store.cell(cell), self.rows(run.sources, cell)
        write_rows(files.rows, rows)
        run.watcher.stage(cell.name, "training")
        run.learn(rows, self.hyperparameters(run.train, cell.arm), files.adapter, cell.seed)


class AnswersRoute(Route):
    """A route whose rows are answers to questions; some arms answer some of them at a misaligned level."""

    questions: str = Field(
        description="Built-in question set, or a file, folder or hub id of questions at several levels."
    )
    levels: Annotated[tuple[Level, ...], Listed, Distinct] = Field(default=("severe",), min_length=1)

    def read(self) -> Sources:
        """Read the questions."""
        questions = sets.questions(self.questions)
        hashed = content_hash(json.dumps([[q.id, q.text, q.answers] for q in questions]))
        return {"questions": Source(sets.versioned(self.questions), len(questions), hashed, questions)}

    def line(self) -> tuple[str, dict[str, float]]:
        """The arms of the worst level."""
        worst = max(self.levels, key=LEVELS.index)
        return worst, {arm.name: arm.part for arm in self.arms() if arm.level in (None, worst)}
