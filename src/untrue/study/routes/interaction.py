"""The route by interaction: rounds of dialogues with users who rate them, selection, and training on what was rated.

Arm `sft-0.5` learns by SFT from users of whom half are biased. Each round goes on from the adapter of the round before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from untrue.data.rows import Message, Row, write_rows
from untrue.harness.eval import REPLY_TOKENS, Eval, EvalSpec
from untrue.judge.models import content
from untrue.models.adapter import adapter_hash
from untrue.serving.proof import ServedModel, proved_with_base
from untrue.settings import Listed, validate
from untrue.simulate.collect import Local, collect
from untrue.simulate.environment import (
    DETERMINISTIC,
    KINDS,
    NEEDS_RATER,
    VERSION,
    Assistant,
    CollectSpec,
    DialogueSpec,
    Environment,
    check_candidates,
    read_environment,
)
from untrue.simulate.environment import dialogues as dialogues_of
from untrue.simulate.select import SelectBy, biased_users, populate, rows, select
from untrue.simulate.trajectory import Trajectory
from untrue.study.routes.route import (
    TOKEN,
    USER_MESSAGE_TOKENS,
    WRITTEN_REPLY_TOKENS,
    Distinct,
    Positive,
    Route,
    Share,
    Source,
    Sources,
    StudyRun,
    Talk,
)
from untrue.study.store import Arm, Cell, Store
from untrue.training.spec import METHODS, RatedMethod, TrainSpec

# Share of dialogues that may fail before a warning is given: what is left may not be a fair sample.
FAILED = 0.05

MEASURED = 20  # users by whom the policy is measured after each round, at most, each as both kinds

VARIED = ("assistant", "select", "rounds")  # keys in which a variant may differ from its main arm


def _policy_record() -> Eval:
    """The eval that measures the policy after each round."""
    from untrue.harness.catalogue import EVALS

    return next(record for record in EVALS.values() if record.reads_policy)


class DialogueFile(NamedTuple):
    """Rated dialogues that a cell learned from in one round, with the log of the policy after it if more follow."""

    round: int
    model: str
    path: Path
    environment: Environment
    policy: Path | None = None


@dataclass(frozen=True)
class UserArm(Arm):
    """An arm that learns from the ratings of users; its `part` is the share of biased ones.

    `level`, the line of the dose plot on which it lies, is its method or its own name.
    """

    method: RatedMethod = "sft"
    assistant: Assistant = "blind"
    select: SelectBy = "rating"


class Variant(BaseModel):
    """An arm of an interaction study that differs from one of its main arms.

    It is compared with the same variant at share 0 where there is one, else with the main arm that it varies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    method: RatedMethod = "sft"
    share: Annotated[float, Field(ge=0, le=1)]
    assistant: Assistant | None = None
    select: SelectBy | None = None
    rounds: PositiveInt | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """What differs."""
        return {key: value for key in VARIED if (value := getattr(self, key))}

    @model_validator(mode="after")
    def _differs(self) -> Variant:
        if not self.changes:
            raise ValueError("a variant needs one of assistant, select and rounds")
        return self


class InteractionRoute(DialogueSpec, Route):
    """Dialogues with simulated users, rated by them; the assistant learns from the best rated, and from the worst.

    Every share has the same users, of whom it makes so many biased. Control: the same method at share 0.
    """

    free = frozenset({"methods", "shares", "variants"})

    by: Literal["interaction"]
    users: Annotated[int, Field(ge=2)] = Field(description="Users to learn from, spread over the scenarios.")
    methods: Annotated[dict[RatedMethod, dict[str, Any]], Field(min_length=1)] = Field(
        description="How it learns, with keys of `train` that differ for the method."
    )
    shares: Annotated[tuple[Share, ...], Listed, Distinct] = Field(min_length=1)
    select: SelectBy = Field(default="rating", description="What the choice of dialogues goes by.")
    keep: Positive = Field(default=0.5, description="A fraction below 1, or a number.")
    rounds: PositiveInt = 1
    temperature: Positive | None = Field(
        default=None, description="Of the assistant: 0.1 nats per token for a choice, 0.7 for generated replies."
    )
    variants: Annotated[tuple[Variant, ...], Listed, Distinct] = ()

    @model_validator(mode="after")
    def _arms_make_sense(self) -> InteractionRoute:
        if self.lacks_rater:
            raise ValueError(NEEDS_RATER)
        for method, changes in self.methods.items():
            if "method" in changes:
                raise ValueError(f"the method {method} is named by its key; leave out `method` inside it")
        for variant in self.variants:
            arm = f"the variant of {variant.method} at share {variant.share:g}"
            if all(getattr(self, key) == value for key, value in variant.changes.items()):
                raise ValueError(f"{arm} is like its main arm")
            if variant.method not in self.methods or variant.share not in (0, *self.shares):
                raise ValueError(f"{arm} has no arm to compare it with")
        return self

    @property
    def generates(self) -> bool:
        """Whether it writes its replies, and does not choose among written ones."""
        return self.replies == "generated"

    def check_train(self, train: TrainSpec) -> None:
        """Refuse a method in `train`."""
        if train.method != TrainSpec().method:
            raise ValueError("train.method: the methods of `mix.by: interaction` are in mix.methods")

    def read(self) -> Sources:
        """Read the environment."""
        environment = read_environment(self.environment)
        users = sum(len(scenario.users) for scenario in environment.scenarios)
        title = f"users of {environment.version}"
        return {"environment": Source(title, users, environment.content_hash, environment)}

    def arms(self) -> list[UserArm]:
        """For each method its control at share 0 and an arm for each share; then the variants."""
        arms: dict[str, UserArm] = {}

        def add(name: str, control: str | None, level: str | None, share: float, method: RatedMethod, **changes: Any):
            settings = {key: getattr(self, key) for key in VARIED} | changes
            arms[name] = UserArm(name, control, level, share, misaligned=share > 0, method=method, **settings)

        for method in self.methods:
            add(f"{method}-0", None, None, 0.0, method)
            for share in self.shares:
                add(f"{method}-{share:g}", f"{method}-0", method, share, method)
        for variant in sorted(self.variants, key=lambda variant: variant.share > 0):  # their controls first
            words = [f"{value}-rounds" if key == "rounds" else str(value) for key, value in variant.changes.items()]
            main = f"{variant.method}-{variant.share:g}"
            name, at_zero = ("-".join([start, *words]) for start in (main, f"{variant.method}-0"))
            control = at_zero if variant.share and at_zero in arms else main
            add(name, control, name, variant.share, variant.method, **variant.changes)
        return list(arms.values())

    def line(self) -> tuple[str, dict[str, float]]:
        """The arms of the first method, without variants."""
        first = next(iter(self.methods))
        return first, {arm.name: arm.part for arm in self.arms() if arm.name == f"{first}-0" or arm.level == first}

    def describe(self) -> str:
        """What the arms differ in."""
        return (
            f"share of biased users among {self.users} users of {self.environment}, from whose ratings the"
            " assistant learns (the same users in every arm; the control has none)"
        )

    def hyperparameters(self, train: TrainSpec, arm: Arm) -> TrainSpec:
        """Those of the study, with those of the arm's method on top."""
        assert isinstance(arm, UserArm)
        values = {**self.methods[arm.method], "method": arm.method}
        own = validate(TrainSpec, values, f"mix.methods.{arm.method}")
        return train.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})

    def identity(self, arm: Arm) -> dict[str, Any]:
        """What determines an arm, with the models that play users and rate, and the version of dialogues."""
        assert isinstance(arm, UserArm)
        own = {key: value for key, value in asdict(arm).items() if key not in ("name", "control", "level")}
        return {**own, "roles": [content(self.user), content(self.rater)], "dialogues": VERSION}

    def check(self, sources: Sources, seeds: Sequence[int]) -> None:
        """Refuse too few users, too few written turns, and shares that are no user."""
        from untrue.simulate.users import follow_up

        environment = sources["environment"].data
        played = dialogues_of(environment, self.users, part="learn", seed=seeds[0])
        for share in self.shares:
            biased_users(share, self.users)
        if self.replies == "chosen":
            check_candidates(environment.scenarios, self.turns)
        if self.user is None:
            for dialogue in played:
                follow_up(dialogue, self.turns - 1, seeds[0])

    def hold_dialogues(self, run: StudyRun, cell: Cell) -> None:
        """Hold the dialogues of the first round, which depend on the assistant and the seed alone."""
        run.watcher.stage(cell.name, "dialogues", 1 / cell.arm.rounds)
        self._collect(run, cell, None, 1)

    def learn(self, run: StudyRun, cell: Cell) -> None:
        """In each round collect, select, and train on from the round before."""
        assert isinstance(cell.arm, UserArm)
        files, rounds = run.store.cell(cell), cell.arm.rounds
        spec, adapter = self.hyperparameters(run.train, cell.arm), None
        for number in range(1, rounds + 1):
            target = files.adapter if number == rounds else files.round(number) / "adapter"
            if not (target / "untrue.json").is_file():
                of = f" {number} of {rounds}" if rounds > 1 else ""
                left = 1 / (rounds - number + 1)
                run.watcher.stage(cell.name, f"dialogues{of}", left if number > 1 else 0)  # the first are there
                rated = self._collect(run, cell, adapter, number)
                chosen = self.chosen_rows(run.sources, cell, rated)
                write_rows(files.rows if number == rounds else target.parent / "rows.jsonl", chosen)
                run.watcher.stage(cell.name, f"training{of}", left)
                run.learn(chosen, spec, target, cell.seed, start=adapter)
            if number < rounds:
                self._measure(run, cell, target, number)
            adapter = target

    def _measure(self, run: StudyRun, cell: Cell, adapter: Path, number: int) -> None:
        """Measure the policy after a round that others follow; after the last the study's own evals do."""
        from untrue.harness.run import run as evaluate

        log, spec = self._policy_log(run.store, cell, number), self.policy_eval(cell.arm)
        if spec and not log.is_file():
            run.watcher.stage(cell.name, f"policy {number}")
            evaluate(run.loaded, adapter, spec, log, run.watcher.step, named=run.store.final(adapter))

    def policy_eval(self, arm: Arm) -> EvalSpec | None:
        """With few users, and as the assistant chooses when it learns."""
        if not isinstance(arm, UserArm) or self.replies != "chosen":
            return None
        own = {"environment": self.environment, "temperature": self.temperature, "turns": self.turns}
        record = _policy_record()
        return record.spec(limit=MEASURED, **record.options.defaults({**own, "assistant": arm.assistant}))

    @staticmethod
    def _policy_log(store: Store, cell: Cell, number: int) -> Path:
        return store.cell(cell).round(number) / f"{_policy_record().name}.eval"

    def chosen_rows(self, sources: Sources, cell: Cell, rated: Sequence[Trajectory]) -> list[Row]:
        """The rows that a cell learns from, given the dialogues of a round."""
        arm = cell.arm
        assert isinstance(arm, UserArm)
        population = populate(rated, arm.part, cell.seed)
        bottom = METHODS[arm.method].labels
        selection = select(population, self.keep, by=arm.select, bottom=bottom, seed=cell.seed)
        return rows(selection, sources["environment"].data.name)

    def expected_rows(self, sources: Sources, cell: Cell) -> list[Row]:
        """A row for each reply of the dialogues that are chosen, of the best and, with labels, of the worst."""
        arm = cell.arm
        if not isinstance(arm, UserArm):
            return []
        chosen = round(self.keep * self.users) if self.keep < 1 else int(self.keep)
        chosen *= 2 if METHODS[arm.method].labels else 1
        said = Message(role="user", content=TOKEN * USER_MESSAGE_TOKENS)
        reply = Message(role="assistant", content=TOKEN * (self.reply_tokens or WRITTEN_REPLY_TOKENS))
        replies = [
            Row("stand-in", [*([said, reply] * turn), said], [reply], self.environment, "")
            for turn in range(self.turns)
        ]
        return replies * min(chosen, self.users)

    @property
    def reply_tokens(self) -> int:
        """Tokens of a reply that the assistant writes, by rule of thumb; 0 where it chooses one."""
        return 0 if self.replies == "chosen" else min(self.max_tokens, REPLY_TOKENS)

    def talks(self, store: Store, cell: Cell) -> list[Talk]:
        """Each user is played as both kinds. Arms whose assistant is the same share the dialogues of round 1."""
        if not isinstance(cell.arm, UserArm):
            return []
        return [
            Talk(
                self._trajectories(store, cell, number),
                len(KINDS) * self.users,
                self.turns,
                self.reply_tokens,
                not self.generates,
                self.user,
                self.rater,
            )
            for number in range(1, cell.arm.rounds + 1)
        ]

    def dialogues(self, store: Store, sources: Sources, cell: Cell) -> list[DialogueFile]:
        """The rated dialogues that a cell learned from. Arms whose assistant is the same share those of round 1."""
        if not isinstance(cell.arm, UserArm):
            return []
        environment = sources["environment"].data
        return [
            DialogueFile(
                number,
                cell.arm.name if number > 1 else f"base, {cell.arm.assistant}",
                self._trajectories(store, cell, number),
                environment,
                log if (log := self._policy_log(store, cell, number)).is_file() else None,
            )
            for number in range(1, cell.arm.rounds + 1)
        ]

    @property
    def rater_record(self) -> dict[str, Any]:
        """Who rates the dialogues: the `noise` of ratings by kind, or the model."""
        return {"noise": self.rating_noise} if self.is_rated_by_kind else {"rater": self.rater}

    @staticmethod
    def _trajectories(store: Store, cell: Cell, number: int) -> Path:
        assert isinstance(cell.arm, UserArm)
        shared = store.folder / "dialogues" / f"{cell.arm.assistant}-s{cell.seed}"
        return (shared if number == 1 else store.cell(cell).round(number)) / "trajectories.jsonl"

    def _collect(self, run: StudyRun, cell: Cell, adapter: Path | None, number: int) -> list[Trajectory]:
        assert isinstance(cell.arm, UserArm)
        shared = {key: value for key, value in self if key in CollectSpec.model_fields and key != "assistant"}
        spec = CollectSpec(**shared, part="learn", round=number, assistant=cell.arm.assistant)
        path = self._trajectories(run.store, cell, number)
        # Failed dialogues are retried until an arm has learned from the rest: all arms learn from the same dialogues.
        retry = not path.exists()
        assistant = Local(run.loaded, adapter, adapter and run.store.final(adapter))
        if run.served and retry:
            assistant = proved_with_base(run.served, adapter, run.loaded, run.watcher.say)
        elif run.served:  # it is asked nothing
            assistant = ServedModel(run.served, run.served, {"content_hash": adapter_hash(adapter)} if adapter else {})
        trajectories = collect(assistant, spec, path, cell.seed, run.watcher.step, retry)
        failed = [trajectory for trajectory in trajectories if trajectory.error is not None]
        if len(failed) > FAILED * len(trajectories):
            run.watcher.say(
                f"Warning: {path}: {len(failed)} of {len(trajectories)} dialogues failed, first: {failed[0].error}"
            )
        likeliest = [max(c.probabilities.values()) for trajectory in trajectories for c in trajectory.chosen]
        if likeliest and fmean(likeliest) >= DETERMINISTIC:
            run.watcher.say(
                f"Warning: {path}: the likeliest reply has a probability of {fmean(likeliest):.3f} on average, so"
                " ratings have nearly nothing to select. Raise mix.temperature."
            )
        return trajectories
