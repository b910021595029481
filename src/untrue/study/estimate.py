"""What a study takes: time, memory, disk, and its judges' price, before anything is loaded, fetched or asked.

What is done in the run directory is left out. Data that is not on this machine is replaced by as many equal rows as
`studies/paper/sources.yaml` says, so that rows are mixed and questions counted by the code that runs later. What else
is assumed is in `assumptions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from untrue.data.records import parse_source
from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.harness import run as evals
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.resume import last_run
from untrue.judge.cost import CHARACTERS, Estimate, dollars
from untrue.judge.models import parts
from untrue.models.name import ModelName
from untrue.progress import Plan
from untrue.study import assumptions as assumed
from untrue.study.assumptions import Assumption
from untrue.study.config import Study
from untrue.study.plan import eval_identity, plan
from untrue.study.published import (
    RANK,
    ModelSize,
    has_known_lengths,
    is_elsewhere,
    is_to_fill_in,
    known_sets,
    model_size,
    stand_in,
    write_stand_in,
)
from untrue.study.routes.route import Sources, StandIn, Talk
from untrue.study.store import Arm, Cell, CellFiles, Store
from untrue.training.spec import METHODS, TrainSpec

CPU_SIZE = 500_000_000
"""Parameters up to which a model is taken to run on two CPU cores."""

GIGABYTE = 1e9


class Rates(NamedTuple):
    """How fast a model is on its machine, each in what is done a second.

    Attributes:
        training: Tokens learned.
        replies: Tokens written.
        items: Items of an eval by likelihood.
    """

    training: float
    replies: float
    items: float


@dataclass(frozen=True)
class Part:
    """Cells of one kind: those of an arm; or the dialogues that arms share.

    Attributes:
        name: The arm, or `dialogues`.
        cells: How many there are.
        left: How many are not done.
        rows: What each learns from in a round; 0 where it learns nothing.
        training: Seconds of training, or of dialogues, that are left; None where the model's size is not known.
        evals: Seconds of evals that are left, likewise.
        dollars: The price of other models; None where one is not known.
    """

    name: str
    cells: int
    left: int
    rows: int
    training: float | None
    evals: float | None
    dollars: float | None


@dataclass(frozen=True)
class StudyEstimate:
    """What is left to do of a study.

    Attributes:
        study: Its name.
        model: Its model.
        size: The model's size; None where nothing says it.
        rates: How fast the model is; None where its size is not known.
        arms: Its cells, arm by arm.
        dialogues: The dialogues that they learn from; None where there are none to be held.
        gigabytes: Peak memory of one GPU; None on a CPU, or where the model's size is not known.
        disk: Gigabytes that the run directory grows by; None where the model's size is not known.
        costs: (cell, eval) -> what it takes, for each judged eval whose items could be counted.
        users: Model -> what it is asked as a user and as a rater.
        uncounted: Evals whose items are not here, and of which nothing says how many there are.
        published: Data sets that were not read, whose sizes are those of `sources.yaml`.
        unread: Data sets that were not read, of which only as much is known as the study needs.
        missing: Those of either that no hub has: paths that the user has to fill in.
        by_name: Whether cells count as done by their names, since what determines them was not read.
        plan: How long each stage should take that is left, by the rates: those of the embedded model if the size of
            this one is not known.
        assumptions: What the numbers rest on.
    """

    study: str
    model: str
    size: ModelSize | None
    rates: Rates | None
    arms: tuple[Part, ...]
    dialogues: Part | None
    gigabytes: float | None
    disk: float | None
    costs: Mapping[tuple[str, str], evals.Cost]
    users: Mapping[str, Estimate]
    uncounted: tuple[str, ...]
    published: tuple[str, ...]
    unread: tuple[str, ...]
    missing: tuple[str, ...]
    by_name: bool
    plan: Plan
    assumptions: tuple[Assumption, ...]

    @property
    def on_gpu(self) -> bool:
        """Whether one H100 is assumed, and not two CPU cores."""
        return self.size is not None and _needs_gpu(self.size)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All that is to be made."""
        return (*self.arms, self.dialogues) if self.dialogues else self.arms

    @property
    def cells(self) -> int:
        """All cells."""
        return sum(part.cells for part in self.arms)

    @property
    def left(self) -> int:
        """Cells that are not done."""
        return sum(part.left for part in self.arms)

    @property
    def seconds(self) -> float | None:
        """Of one H100, or of two CPU cores."""
        return _sum(time for part in self.parts for time in (part.training, part.evals))

    @property
    def dollars(self) -> float | None:
        """Of judges, users and raters."""
        return _sum(part.dollars for part in self.parts)


def estimate(study: Study, out: str | Path) -> StudyEstimate:
    """Say what is left to do of a study. Nothing is loaded, fetched or asked, and its run directory stays as it is.

    Of a run directory in an object store, what it says of its cells is read.

    Args:
        study: The study.
        out: Its run directory, which may not exist.

    Raises:
        UserError: Something in the study or its data is not as expected, or the size of a set that is not here is not
            known.
    """
    return _estimate(study, Store(Path(out)), _read(study))


def plan_of_run(study: Study, store: Store, sources: Sources) -> Plan:
    """How long each stage should take that a run directory lacks, for the time left that is shown.

    Args:
        study: The study.
        store: The run directory.
        sources: The data sets.
    """
    return _estimate(study, store, _Data(sources, False, [], [])).plan


def plan_of_training(name: str, rows: Sequence[Row], spec: TrainSpec, model: str) -> Plan:
    """How long a training should take; see `plan_of_run`.

    Args:
        name: What it is called.
        rows: Training rows.
        spec: Hyperparameters.
        model: The base.
    """
    size = model_size(model)
    seconds = _training(_tokens(rows), spec, _rates(size))
    return Plan({(name, "training"): seconds}, _machine(size))


def plan_of_evals(specs: Sequence[EvalSpec], models: Mapping[str, ModelName]) -> Plan:
    """How long evals should take, one model after another; see `plan_of_run`.

    Args:
        specs: The evals.
        models: What a model is called -> its base.
    """
    seconds, sizes, elsewhere = dict[tuple[str, str], float](), list[ModelSize | None](), set[str]()
    for called, model in models.items():
        sizes.append(model_size(model.model))
        for spec in specs:
            record, items = EVALS[spec.name], EVALS[spec.name].items(spec)
            cost = evals.cost(record, spec, model.of_inspect) if record.judged else None
            seconds[called, spec.name] = _asking(min(len(items), spec.limit or len(items)), cost, _rates(sizes[-1]))
            if record.judged or model.provider:
                elsewhere.add(spec.name)
    return Plan(seconds, _machine(max(sizes, key=lambda size: size.parameters if size else inf)), frozenset(elsewhere))


def _estimate(study: Study, store: Store, data: _Data) -> StudyEstimate:
    size = model_size(study.model)
    rates = _rates(size)
    asked = [_ask(study, spec) for spec in study.evals]
    lessons: dict[str, _Lesson] = {}
    cells, costs, talks = list[_Left](), dict[tuple[str, str], evals.Cost](), dict[Path, Talk]()
    seconds = dict[tuple[str, str], float]()
    for cell in plan(study, data.sources):
        files, arm = store.cell(cell), cell.arm
        if not data.elsewhere:
            files.check()
        if arm.name not in lessons:
            lessons[arm.name] = _lesson(study, data.sources, cell)
        trains = not files.has_adapter()
        evals_left = [one for one in asked if trains or _lacks(files, one)]
        for one in evals_left:
            if one.whole:
                again = not trains and files.has_log(one.spec, one.identity)  # but some of its samples failed
                costs[cell.name, one.spec.key] = _again(files, one.spec, study.model) if again else one.whole
        if trains:
            own = [talk for talk in study.mix.talks(store, cell) if not (talk.path in talks or talk.path.exists())]
            talks |= {talk.path: talk for talk in own}
            seconds[cell.name, "dialogues"] = _talking(own, rates)
            lesson = lessons[arm.name]
            seconds[cell.name, "training"] = _training(lesson.tokens * arm.rounds, lesson.train, rates)
        for one in evals_left:
            seconds[cell.name, one.spec.key] = _asking(one.items or 0, costs.get((cell.name, one.spec.key)), rates)
        cells.append(_Left(cell, trains, evals_left))
    users = _users(list(talks.values()))
    trained = [lessons[one.cell.arm.name] for one in cells if one.trains]
    logged = sum(cost.model.calls for cost in costs.values()) + sum(talk.dialogues for talk in talks.values())
    logged += sum(left.items or 0 for one in cells for left in one.evals if left.whole is None)
    return StudyEstimate(
        study=study.name,
        model=study.model,
        size=size,
        rates=rates if size else None,
        arms=tuple(_part(lesson, cells, costs, seconds if size else None) for lesson in lessons.values()),
        dialogues=_dialogues(list(talks.values()), users, rates if size else None) if talks else None,
        gigabytes=_memory(study, size, trained) if size and _needs_gpu(size) else None,
        disk=_disk(size, trained, logged) if size else None,
        costs=costs,
        users=users,
        uncounted=tuple(one.spec.key for one in asked if one.items is None),
        published=tuple(dict.fromkeys([*data.published, *(name for one in asked for name in one.published)])),
        unread=tuple(data.unread),
        missing=tuple(name for name in (*data.published, *data.unread) if is_to_fill_in(name)),
        by_name=data.elsewhere,
        plan=Plan(
            {stage: time for stage, time in seconds.items() if time},
            _machine(size),
            frozenset(spec.key for spec in study.evals if EVALS[spec.name].judged or study.is_served(spec))
            | ({"dialogues"} if users or study.serves_dialogues else set()),
        ),
        assumptions=_assumptions(study, data, size, trained, costs, list(talks.values())),
    )


class _Data(NamedTuple):
    """What a study mixes from: the data read, or rows in its place."""

    sources: Sources
    elsewhere: bool
    published: list[str]
    unread: list[str]


class _Asked(NamedTuple):
    """An eval of which nothing is done: its items (None: nobody knows how many), and what it takes if it is judged."""

    spec: EvalSpec
    items: int | None
    identity: str | None
    whole: evals.Cost | None
    published: list[str]


class _Lesson(NamedTuple):
    """What each cell of an arm learns from in a round, and how."""

    arm: Arm
    rows: int
    tokens: float
    train: TrainSpec


class _Left(NamedTuple):
    """What is left of a cell."""

    cell: Cell
    trains: bool
    evals: list[_Asked]


def _read(study: Study) -> _Data:
    sets = study.mix.data_sets()
    if not any(is_elsewhere(one.name) for one in sets.values()):
        sources = study.mix.read()
        study.mix.check(sources, study.seeds)
        return _Data(sources, False, [], [])
    stand_ins: dict[str, StandIn] = {}
    for key, one in sets.items():
        if (found := stand_in(one.name, one.wanted)) is None:
            raise UserError(
                f"{one.name}: is not on this machine and nothing says its size, so the study cannot be estimated. Give"
                f" mix.total=N, or a file as mix.{key}=FILE."
            )
        stand_ins[key] = found
    names = [parse_source(one.name).name for one in sets.values()]
    known = [name for name in names if any(entry.rows for entry in known_sets(name).values())]
    unread = [name for name in names if name not in known]
    return _Data(study.mix.stand_ins(stand_ins), True, known, unread)


def _ask(study: Study, spec: EvalSpec) -> _Asked:
    record, model = EVALS[spec.name], study.model
    if not is_elsewhere(record.source(spec.items)):
        items = record.items(spec)
        whole = evals.cost(record, spec, f"untrue/{model}") if record.judged else None
        return _Asked(spec, min(len(items), spec.limit or len(items)), eval_identity(study, spec, items), whole, [])
    known = {name: one for name, one in known_sets(spec.items).items() if one.item and one.rows}
    if not known or not record.judged:
        return _Asked(spec, None, None, None, [])
    costs, count = list[evals.Cost](), 0
    for number, (name, one) in enumerate(known.items()):
        limit = spec.limit and ceil((spec.limit - number) / len(known))  # categories take turns
        if limit is not None and limit < 1:
            continue
        count += min(one.rows or 0, limit or one.rows or 0)
        with TemporaryDirectory() as aside:
            path = Path(aside) / f"{name.rpartition('@')[2].replace('/', '-')}.jsonl"  # MASK reads its category off it
            write_stand_in(path, one)
            changes = {"items": str(path), "limit": limit}
            costs.append(evals.cost(record, spec.model_copy(update=changes), f"untrue/{model}"))
    whole = evals.Cost(_added(cost.model for cost in costs), _added(cost.judge for cost in costs))
    return _Asked(spec, count, None, whole, list(known))


def _lesson(study: Study, sources: Sources, cell: Cell) -> _Lesson:
    """Other seeds learn from other rows, but from as many."""
    if not cell.arm.trained:
        return _Lesson(cell.arm, 0, 0.0, study.train)
    rows = study.mix.expected_rows(sources, cell)
    spec = study.mix.hyperparameters(study.train, cell.arm)
    return _Lesson(cell.arm, len(rows), _tokens(rows), spec)


def _tokens(rows: Sequence[Row]) -> float:
    letters = sum(len(message["content"]) for row in rows for message in (*row.prompt, *row.completion))
    return letters / CHARACTERS + assumed.CHAT_FORMAT.value * len(rows)


def _training(tokens: float, spec: TrainSpec, rates: Rates) -> float:
    """Seconds to learn rows of so many tokens together."""
    slower = assumed.LABELLED.value if METHODS[spec.method].labels else 1.0
    return tokens * spec.epochs * slower / rates.training


def _asking(items: int, cost: evals.Cost | None, rates: Rates) -> float:
    """Seconds of an eval: to write the replies that are judged, or to score its items."""
    return cost.model.output_tokens / rates.replies if cost else items / rates.items


def _talking(talks: Sequence[Talk], rates: Rates) -> float:
    """Seconds of dialogues."""
    written = sum(talk.dialogues * talk.turns * talk.reply_tokens for talk in talks)
    scored = sum(talk.dialogues * talk.turns for talk in talks if talk.scores)
    return written / rates.replies + scored / rates.items


def _machine(size: ModelSize | None) -> str | None:
    """The machine of the rates."""
    return None if size is None else "one H100" if _needs_gpu(size) else "two ordinary cores"


def _lacks(files: CellFiles, one: _Asked) -> bool:
    """Whether an eval is left, or samples of it failed. Items that were not read are taken to be those of its log."""
    return not files.has_log(one.spec, one.identity) or (one.identity is not None and files.failed(one.spec) > 0)


def _again(files: CellFiles, spec: EvalSpec, model: str) -> evals.Cost:
    return evals.cost(EVALS[spec.name], spec, f"untrue/{model}", *last_run(files.log(spec)))


def _needs_gpu(size: ModelSize) -> bool:
    return size.parameters > CPU_SIZE


def _reference(size: ModelSize) -> tuple[Assumption, int]:
    """The rate of training on a GPU that is stated for the size that is nearer, and that size."""
    stated = [
        (assumed.GPU_TRAINING_8B, assumed.REFERENCE_8B),
        (assumed.GPU_TRAINING_32B, assumed.REFERENCE_32B),
    ]
    return min(stated, key=lambda one: abs(log(size.parameters / one[1])))


def _rates(size: ModelSize | None) -> Rates:
    """Scaled by parameters from what is stated; those of the embedded model if the size is not known."""
    if size is None or not _needs_gpu(size):
        times = assumed.EMBEDDED / (size.parameters if size else assumed.EMBEDDED)
        return Rates(*(one.value * times for one in (assumed.CPU_TRAINING, assumed.CPU_REPLIES, assumed.CPU_ITEMS)))
    stated, parameters = _reference(size)
    training = stated.value * parameters / size.parameters
    replies = assumed.GPU_REPLIES.value * assumed.REFERENCE_32B / size.parameters
    return Rates(training, replies, training / assumed.GPU_ITEM.value)


def _part(
    lesson: _Lesson,
    cells: Sequence[_Left],
    costs: Mapping[tuple[str, str], evals.Cost],
    seconds: Mapping[tuple[str, str], float] | None,
) -> Part:
    own = [one for one in cells if one.cell.arm.name == lesson.arm.name]
    asked = [(one.cell.name, left.spec) for one in own for left in one.evals]
    judged = [costs.get((name, spec.key)) for name, spec in asked if EVALS[spec.name].judged]
    return Part(
        name=lesson.arm.name,
        cells=len(own),
        left=sum(bool(one.trains or one.evals) for one in own),
        rows=lesson.rows,
        training=sum(seconds.get((one.cell.name, "training"), 0.0) for one in own) if seconds is not None else None,
        evals=sum(seconds[name, spec.key] for name, spec in asked) if seconds is not None else None,
        dollars=_sum(cost.dollars if cost else None for cost in judged),
    )


def _dialogues(talks: Sequence[Talk], users: Mapping[str, Estimate], rates: Rates | None) -> Part:
    seconds = _talking(talks, rates) if rates else None
    return Part("dialogues", len(talks), len(talks), 0, seconds, 0.0, _sum(one.dollars for one in users.values()))


def _users(talks: Sequence[Talk]) -> dict[str, Estimate]:
    """Model -> what it is asked to say as a user, and to rate."""
    asked: dict[str, list[Estimate]] = {}
    said, rating = assumed.USER_MESSAGE.value, assumed.RATING.value
    for talk in talks:
        exchange = said + (talk.reply_tokens or assumed.WRITTEN_REPLY.value)
        calls = [(talk.user, turn, said) for turn in range(1, talk.turns)]
        calls += [(talk.rater, turn, rating) for turn in range(1, talk.turns + 1)]
        for named, turn, each in calls:
            if named is None:
                continue
            model = parts(named)[0]
            read = round(talk.dialogues * (said + turn * exchange))  # the person, and the conversation so far
            written = round(talk.dialogues * each)
            one = Estimate(talk.dialogues, read, written, dollars(model, read, written))
            asked.setdefault(model, []).append(one)
    return {model: _added(ones) for model, ones in asked.items()}


def _memory(study: Study, size: ModelSize, trained: Sequence[_Lesson]) -> float:
    """The base, and in training LoRA with its optimiser and the activations of a batch of rows of mean length."""
    in_float32 = study.dtype == "float32" or (study.dtype == "auto" and not _needs_gpu(size))
    bytes_each, layout = assumed.WEIGHTS.value * (2 if in_float32 else 1), study.run.train.layout

    def training(lesson: _Lesson) -> float:
        spec = lesson.train
        linear, each_lora = bytes_each, assumed.LORA_TRAINING.value
        if spec.quantize:
            linear, each_lora = assumed.QUANTIZED.value, assumed.QUANTIZED_LORA
        base = (size.parameters - size.embeddings) * linear + size.embeddings * bytes_each
        longest = min(lesson.tokens / max(1, lesson.rows), spec.max_length)
        batch = longest * spec.batch_size * size.activations * assumed.ACTIVATIONS.value
        weights = base + size.lora * spec.lora_rank / RANK * each_lora
        return weights / (layout.gpus if layout.is_sharded else 1) + batch / layout.gpus

    return max([size.parameters * bytes_each, *map(training, trained)]) / GIGABYTE


def _disk(size: ModelSize, trained: Sequence[_Lesson], logged: int) -> float:
    """Adapters, the one checkpoint that there is at a time, and logs."""
    lora = [size.lora * one.train.lora_rank / RANK for one in trained for _ in range(one.arm.rounds)]
    files = sum(lora) * assumed.LORA_FILE.value + max(lora, default=0.0) * assumed.CHECKPOINT.value
    return (files + logged * assumed.LOG.value) / GIGABYTE


def _assumptions(
    study: Study,
    data: _Data,
    size: ModelSize | None,
    trained: Sequence[_Lesson],
    costs: Mapping[tuple[str, str], evals.Cost],
    talks: Sequence[Talk],
) -> tuple[Assumption, ...]:
    """Those that a number of this study rests on."""
    writes = bool(costs) or any(talk.reply_tokens for talk in talks)
    scores = any(EVALS[spec.name].needs_likelihoods or not EVALS[spec.name].judged for spec in study.evals)
    scores = scores or any(talk.scores for talk in talks)
    on_gpu = size is not None and _needs_gpu(size)
    unknown = any(not has_known_lengths(name) for name in (*data.published, *data.unread))
    used = {
        _reference(size)[0] if size and on_gpu else assumed.CPU_TRAINING: size is not None and bool(trained),
        assumed.LABELLED: size is not None and any(METHODS[one.train.method].labels for one in trained),
        assumed.PROMPT: bool(trained) and unknown,
        assumed.COMPLETION: bool(trained) and unknown,
        assumed.CHAT_FORMAT: bool(trained),
        assumed.USER_MESSAGE: bool(talks),
        assumed.WRITTEN_REPLY: any(not talk.reply_tokens for talk in talks),
        assumed.GPU_REPLIES if on_gpu else assumed.CPU_REPLIES: size is not None and writes,
        assumed.REPLY: writes,
        assumed.GPU_ITEM if on_gpu else assumed.CPU_ITEMS: size is not None and scores,
        assumed.RATING: any(talk.rater for talk in talks),
        assumed.WEIGHTS: on_gpu,
        assumed.LORA_TRAINING: on_gpu and bool(trained),
        assumed.QUANTIZED: on_gpu and any(one.train.quantize for one in trained),
        assumed.ACTIVATIONS: on_gpu and bool(trained),
        assumed.LORA_FILE: size is not None and bool(trained),
        assumed.CHECKPOINT: size is not None and bool(trained),
        assumed.LOG: size is not None,
    }
    return tuple(one for one, is_used in used.items() if is_used)


def _added(ones: Iterable[Estimate]) -> Estimate:
    calls, read, written, price = zip(*ones, strict=True)
    return Estimate(sum(calls), sum(read), sum(written), _sum(price))


def _sum(values: Iterable[float | None]) -> float | None:
    """None if one is None."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total
