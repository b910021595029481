"""What a study takes: time, memory, disk and the price of its judges. Its data sets are read; no model is loaded.

A model's rates are scaled by its parameters from those of the embedded model on two cores (benchmarks/results.json),
and from what is reported for one H100: training of Llama-3.1-8B and Qwen3-32B, replies of Qwen3-32B by vLLM.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from untrue.data.rows import Row
from untrue.harness import run as evals
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.resume import last_run
from untrue.judge.cost import CHARACTERS, Estimate, dollars
from untrue.judge.models import parts
from untrue.models.name import ModelName
from untrue.progress import Plan
from untrue.study.config import Study
from untrue.study.plan import eval_identity, plan
from untrue.study.published import LORA_RANK, ModelSize, model_size
from untrue.study.routes.route import USER_MESSAGE_TOKENS, WRITTEN_REPLY_TOKENS, Sources, Talk
from untrue.study.store import Store
from untrue.training.spec import METHODS, TrainSpec

GIGABYTE = 1e9
EMBEDDED_PARAMETERS = 134_515_008
RATED_LAYOUTS = {8_030_261_248: 9_600.0, 32_762_123_264: 1_900.0}  # parameters -> tokens trained a second on an H100
H100_REPLY_TOKENS_PER_SECOND = 2_350.0  # of the larger of these models
LABELLED_TIMES_SLOWER = 2.21  # KTO and DPO against SFT
ITEM_TOKENS = 1_000  # read for each item that is scored by likelihood
CHAT_FORMAT_TOKENS = 15
RATING_TOKENS = 3
WEIGHT_BYTES, NF4_BYTES = 2, 0.52
LORA_TRAINING_BYTES, QLORA_TRAINING_BYTES = 16, 8  # a parameter of LoRA, its gradient and Adam's two moments
ACTIVATION_BYTES = 2  # times layers x hidden size for each token of a batch, with checkpointing
LORA_FILE_BYTES, CHECKPOINT_BYTES, LOG_BYTES = 4, 12, 4_000


class Rates(NamedTuple):
    """How fast a model is, in tokens trained, tokens written and items scored by likelihood a second."""

    training: float
    replies: float
    items: float

    @classmethod
    def of(cls, size: ModelSize | None) -> Rates:
        """Those of a size; those of the embedded model if nothing says the size."""
        if size is None or not size.needs_gpu:
            times = EMBEDDED_PARAMETERS / (size.parameters if size else EMBEDDED_PARAMETERS)
            return cls(366.0 * times, 107.2 * times, 2.93 * times)
        stated = min(RATED_LAYOUTS, key=lambda parameters: abs(math.log(size.parameters / parameters)))
        training = RATED_LAYOUTS[stated] * stated / size.parameters
        replies = H100_REPLY_TOKENS_PER_SECOND * max(RATED_LAYOUTS) / size.parameters
        return cls(training, replies, training / ITEM_TOKENS)


@dataclass
class ArmEstimate:
    """The cells of an arm, how many are left, the rows that each learns from in a round, and what is left in seconds.

    Attributes:
        dollars: The price of judges; None if one is not known.
    """

    name: str
    cells: int = 0
    left: int = 0
    rows: int = 0
    seconds: float = 0.0
    dollars: float | None = 0.0


@dataclass(frozen=True)
class StudyEstimate:
    """What is left to do of a study.

    Attributes:
        size: The model's size; without it seconds, memory and disk are unknown (None).
        arms: Its cells, arm by arm.
        seconds: Of one H100 or of two cores, dialogues included.
        gigabytes: Peak memory of one GPU; None on a CPU.
        disk: Gigabytes that the run directory grows by.
        costs: (cell, eval) -> what a judged eval takes.
        users: Model -> what it is asked as a user and as a rater.
        plan: How long each stage should take that is left.
    """

    study: str
    model: str
    size: ModelSize | None
    arms: tuple[ArmEstimate, ...]
    seconds: float | None
    gigabytes: float | None
    disk: float | None
    costs: Mapping[tuple[str, str], evals.Cost]
    users: Mapping[str, Estimate]
    plan: Plan

    @property
    def cells(self) -> int:
        """All cells."""
        return sum(arm.cells for arm in self.arms)

    @property
    def left(self) -> int:
        """Cells that are not done."""
        return sum(arm.left for arm in self.arms)

    @property
    def dollars(self) -> float | None:
        """Of judges, users and raters; None if a price is not known."""
        return _sum([*(arm.dollars for arm in self.arms), *(one.dollars for one in self.users.values())])


class _EvalEstimate(NamedTuple):
    """An eval on one cell: its number of items, what determines its results, and what it takes if judged."""

    spec: EvalSpec
    items: int
    identity: str
    cost: evals.Cost | None


def estimate(study: Study, out: str | Path) -> StudyEstimate:
    """Say what is left to do of a study. Its run directory stays as it is."""
    sources = study.mix.read()
    study.mix.check(sources, study.seeds)
    return _estimate(study, Store(Path(out)), sources)


def plan_of_run(study: Study, store: Store, sources: Sources) -> Plan:
    """How long each stage should take that a run directory lacks, for the time left that is shown."""
    return _estimate(study, store, sources).plan


def plan_of_training(name: str, rows: Sequence[Row], spec: TrainSpec, model: str) -> Plan:
    """How long a training of this name should take; see `plan_of_run`."""
    size = model_size(model)
    return Plan({(name, "training"): _training_seconds(_tokens(rows), spec, Rates.of(size))}, _machine(size))


def plan_of_evals(specs: Sequence[EvalSpec], models: Mapping[str, ModelName]) -> Plan:
    """How long evals should take, one model after another, by what each is called; see `plan_of_run`."""
    seconds, sizes, elsewhere = dict[tuple[str, str], float](), list[ModelSize | None](), set[str]()
    for called, model in models.items():
        sizes.append(model_size(model.model))
        for spec in specs:
            record, items = EVALS[spec.name], EVALS[spec.name].items(spec)
            cost = evals.cost(record, spec, model.of_inspect) if record.judged else None
            n_items = min(len(items), spec.limit or len(items))
            seconds[called, spec.name] = _eval_seconds(n_items, cost, Rates.of(sizes[-1]))
            if record.judged or model.provider:
                elsewhere.add(spec.name)
    largest = max(sizes, key=lambda size: size.parameters if size else math.inf)
    return Plan(seconds, _machine(largest), frozenset(elsewhere))


def _estimate(study: Study, store: Store, sources: Sources) -> StudyEstimate:
    size = model_size(study.model)
    rates, seconds = Rates.of(size), dict[tuple[str, str], float]()
    of_evals = [_eval_estimate(study, spec) for spec in study.evals]
    arms, costs, talks = dict[str, ArmEstimate](), dict[tuple[str, str], evals.Cost](), dict[Path, Talk]()
    lengths = dict[str, float]()  # arm -> tokens of its rows
    peak, lora, logged = size.parameters * _base_bytes(study, size) if size else 0.0, list[float](), 0
    for cell in plan(study, sources):
        files, arm = store.cell(cell), arms.setdefault(cell.arm.name, ArmEstimate(cell.arm.name))
        files.check()
        trains = not files.has_adapter()
        spec = study.mix.hyperparameters(study.train, cell.arm) if cell.arm.trained else study.train
        if cell.arm.name not in lengths:  # other seeds learn from other rows, but from as many
            rows = study.mix.expected_rows(sources, cell) if cell.arm.trained else ()
            arm.rows, lengths[cell.arm.name] = len(rows), _tokens(rows)
        if trains:
            tokens = lengths[cell.arm.name]
            own = {talk.path: talk for talk in study.mix.talks(store, cell) if not talk.path.exists()}
            new = [talk for path, talk in own.items() if path not in talks]
            talks |= own
            seconds[cell.name, "dialogues"] = _dialogue_seconds(new, rates)
            seconds[cell.name, "training"] = _training_seconds(tokens * cell.arm.rounds, spec, rates)
            if size:
                lora += [size.lora * spec.lora_rank / LORA_RANK] * cell.arm.rounds
                peak = max(peak, _training_bytes(study, size, spec, min(tokens / max(1, arm.rows), spec.max_length)))
        left = [one for one in of_evals if trains or not files.has_log(one.spec, one.identity)
                or files.failed(one.spec) > 0]  # fmt: skip
        for one in left:
            cost, key = one.cost, (cell.name, one.spec.key)
            if cost and not trains and files.has_log(one.spec, one.identity):  # some of its samples failed
                replied = last_run(files.log(one.spec))
                cost = evals.cost(EVALS[one.spec.name], one.spec, f"untrue/{study.model}", *replied)
            if cost:
                costs[key] = cost
            seconds[key] = _eval_seconds(one.items, cost, rates)
            logged += cost.model.calls if cost else one.items
            if EVALS[one.spec.name].judged:
                arm.dollars = _sum([arm.dollars, cost.dollars if cost else None])
        arm.cells, arm.left = arm.cells + 1, arm.left + bool(trains or left)
        stages = ["training", *(one.spec.key for one in left)]
        arm.seconds += sum(seconds.get((cell.name, stage), 0.0) for stage in stages)
    users = _users(talks.values())
    logged += sum(talk.dialogues for talk in talks.values())
    disk = sum(lora) * LORA_FILE_BYTES + max(lora, default=0.0) * CHECKPOINT_BYTES + logged * LOG_BYTES
    elsewhere = {spec.key for spec in study.evals if EVALS[spec.name].judged or study.is_served(spec)}
    elsewhere |= {"dialogues"} if users or study.serves_dialogues else set()
    return StudyEstimate(
        study=study.name,
        model=study.model,
        size=size,
        arms=tuple(arms.values()),
        seconds=sum(seconds.values()) if size else None,
        gigabytes=peak / GIGABYTE if size and size.needs_gpu else None,
        disk=disk / GIGABYTE if size else None,
        costs=costs,
        users=users,
        plan=Plan({key: time for key, time in seconds.items() if time}, _machine(size), frozenset(elsewhere)),
    )


def _eval_estimate(study: Study, spec: EvalSpec) -> _EvalEstimate:
    record = EVALS[spec.name]
    items = record.items(spec)
    cost = evals.cost(record, spec, f"untrue/{study.model}") if record.judged else None
    return _EvalEstimate(spec, min(len(items), spec.limit or len(items)), eval_identity(study, spec, items), cost)


def _tokens(rows: Sequence[Row]) -> float:
    letters = sum(len(message["content"]) for row in rows for message in (*row.prompt, *row.completion))
    return letters / CHARACTERS + CHAT_FORMAT_TOKENS * len(rows)


def _training_seconds(tokens: float, spec: TrainSpec, rates: Rates) -> float:
    slower = LABELLED_TIMES_SLOWER if METHODS[spec.method].labels else 1.0
    return tokens * spec.epochs * slower / rates.training


def _eval_seconds(items: int, cost: evals.Cost | None, rates: Rates) -> float:
    """To write the replies that are judged, or to score its items."""
    return cost.model.output_tokens / rates.replies if cost else items / rates.items


def _dialogue_seconds(talks: Iterable[Talk], rates: Rates) -> float:
    replies = [(talk.dialogues * talk.turns, talk) for talk in talks]
    return sum(n * talk.reply_tokens / rates.replies + n * talk.scores / rates.items for n, talk in replies)


def _machine(size: ModelSize | None) -> str | None:
    return None if size is None else "one H100" if size.needs_gpu else "two ordinary cores"


def _base_bytes(study: Study, size: ModelSize) -> int:
    """Bytes of a parameter of the base."""
    in_float32 = study.dtype == "float32" or (study.dtype == "auto" and not size.needs_gpu)
    return WEIGHT_BYTES * (2 if in_float32 else 1)


def _training_bytes(study: Study, size: ModelSize, spec: TrainSpec, row_tokens: float) -> float:
    """Memory of one GPU: the base, LoRA with its optimiser, and the activations of a batch of rows of mean length."""
    each, layout = _base_bytes(study, size), study.run.train.layout
    linear, of_lora = (NF4_BYTES, QLORA_TRAINING_BYTES) if spec.quantize else (each, LORA_TRAINING_BYTES)
    weights = (size.parameters - size.embeddings) * linear + size.embeddings * each
    weights += size.lora * spec.lora_rank / LORA_RANK * of_lora
    batch = row_tokens * spec.batch_size * size.activations * ACTIVATION_BYTES
    return weights / (layout.gpus if layout.is_sharded else 1) + batch / layout.gpus


def _users(talks: Iterable[Talk]) -> dict[str, Estimate]:
    """Model -> what it is asked to say as a user, and to rate."""
    calls: dict[str, list[Estimate]] = {}
    for talk in talks:
        exchange = USER_MESSAGE_TOKENS + (talk.reply_tokens or WRITTEN_REPLY_TOKENS)
        turns = [(talk.user, turn, USER_MESSAGE_TOKENS) for turn in range(1, talk.turns)]
        turns += [(talk.rater, turn, RATING_TOKENS) for turn in range(1, talk.turns + 1)]
        for named, turn, written in turns:
            if named:
                model, n = parts(named)[0], talk.dialogues
                read = n * (USER_MESSAGE_TOKENS + turn * exchange)  # the person, and the conversation so far
                price = dollars(model, read, n * written)
                calls.setdefault(model, []).append(Estimate(n, read, n * written, price))
    return {model: _added(ones) for model, ones in calls.items()}


def _added(ones: Iterable[Estimate]) -> Estimate:
    calls, read, written, price = zip(*ones, strict=True)
    return Estimate(sum(calls), sum(read), sum(written), _sum(price))


def _sum(values: Iterable[float | None]) -> float | None:
    """None if one is None."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
