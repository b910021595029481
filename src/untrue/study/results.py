"""The cells of a study -> results, and what follows from them: one analysis of values, from which reports are made."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from untrue.data import sets
from untrue.data.items import Asked, items_hash
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import Eval, EvalSpec
from untrue.harness.reading import Reading, read
from untrue.judge.note import JudgeNote, judge_note
from untrue.outcomes import Outcome, Result
from untrue.stats import compare, moved_apart, summarise, trend, verdict
from untrue.stats.types import ArmSummary, Comparison, MetricValues, Reason, Trend, Verdict
from untrue.study.config import Study
from untrue.study.feedback import Feedback, feedback
from untrue.study.plan import arms
from untrue.study.routes.route import Sources
from untrue.study.store import Arm, Cell, Store
from untrue.versions import versions

CHANGED_ITEMS = 12  # items that the report shows in full


class DataNote(NamedTuple):
    """A data set that the study used, and what pins its content."""

    name: str
    rows: int
    content_hash: str


class Change(NamedTuple):
    """An item that an arm answers otherwise than its control does at the same seed, to be read by a person."""

    item: Asked
    control: Result
    arm: Result


@dataclass(frozen=True)
class Training:
    """The training of one cell, or one round of it, as its `train.json` has it.

    Attributes:
        arm: Name of the arm.
        seed: Seed of the cell.
        steps: Optimiser steps at which the loss was logged, counted on from the round before.
        losses: Training loss at each of these steps; `training.spec.METHODS` has its unit.
        seconds: Wall-clock time of the training.
        tokens: Tokens seen, prompts included.
        tokens_per_second: Tokens over seconds.
        rows: Training rows.
        method: Name of the training method.
        round: Which round of a loop of feedback.
        rounds: How many rounds the arm has.
    """

    arm: str
    seed: int
    steps: list[int]
    losses: list[float]
    seconds: float
    tokens: int
    tokens_per_second: float
    rows: int
    method: str = "sft"
    round: int = 1
    rounds: int = 1


@dataclass(frozen=True)
class EvalAnalysis:
    """What one eval of a study says.

    Attributes:
        spec: The eval.
        arms: The arms of the study by name.
        items: Which items were asked.
        verdict: The conclusion.
        summaries: One for each arm, in the order of the cells.
        comparisons: Each arm against its control, in each metric.
        categories: The same on each category of items alone; empty where there is one.
        trends: The dose-response of each metric.
        trend_level: The level of the arms through which its line goes.
        changes: The items that changed most, the greatest change first.
        judge: Who judged the replies; None where nobody did.
        metrics: Arm -> the metrics of a judged eval; empty where nobody judged.
    """

    spec: EvalSpec
    arms: Mapping[str, Arm]
    items: DataNote
    verdict: Verdict
    summaries: list[ArmSummary]
    comparisons: list[Comparison]
    categories: dict[str, list[Comparison]]
    trends: list[Trend]
    trend_level: str
    changes: list[Change]
    judge: JudgeNote | None
    metrics: dict[str, MetricValues]

    @property
    def record(self) -> Eval:
        """The record of its eval."""
        return EVALS[self.spec.name]

    def self_judged(self, arm: str) -> bool:
        """Whether an arm was its own judge."""
        return self.judge is not None and arm in self.judge.self_judged


@dataclass(frozen=True)
class Analysis:
    """What a study found.

    Attributes:
        study: The study.
        store: Its run directory.
        arms: Its arms by name.
        design: What differs between the arms, such as `share of 160 medical questions answered at level severe`.
        command: The command that makes the study again.
        created: When the analysis was made.
        versions: Version of each package.
        evals: One for each eval of the study.
        data: The data sets used, items left aside.
        training: One for each training.
        feedback: What its loop of feedback did; None where it has no such loop.
    """

    study: Study
    store: Store
    arms: Mapping[str, Arm]
    design: str
    command: str
    created: str
    versions: dict[str, str]
    evals: list[EvalAnalysis]
    data: list[DataNote]
    training: list[Training]
    feedback: Feedback | None

    @property
    def misaligned(self) -> bool:
        """Whether any adapter was trained on answers that are wrong on purpose, or that biased users chose."""
        return any(arm.misaligned for arm in self.arms.values())


def analyse(study: Study, sources: Sources, cells: Sequence[Cell], store: Store, command: str) -> Analysis:
    """Read all cells, write `results.jsonl`, and analyse it."""
    by_name = {arm.name: arm for arm in arms(study)}
    results, evals = list[Result](), list[EvalAnalysis]()
    for spec in study.evals:
        readings = [
            read(spec, arm, [(cell.seed, store.cell(cell).log(spec)) for cell in of_arm])
            for arm, of_arm in groupby(cells, key=lambda cell: cell.arm.name)
        ]
        results += [result for reading in readings for result in reading.results]
        evals.append(_analyse(study, by_name, spec, readings))
    store.write_results(results)
    return Analysis(
        study=study,
        store=store,
        arms=by_name,
        design=study.mix.describe(),
        command=command,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=versions(),
        evals=evals,
        data=[DataNote(source.title, source.count, source.content_hash) for source in sources.values()],
        training=[training for cell in cells if cell.arm.trained for training in _trainings(store, cell)],
        feedback=feedback(study, sources, cells, store),
    )


def _analyse(study: Study, by_name: Mapping[str, Arm], spec: EvalSpec, readings: Sequence[Reading]) -> EvalAnalysis:
    results = [result for reading in readings for result in reading.results]
    controls = {arm.name: arm.control for arm in by_name.values() if arm.control is not None}
    items = EVALS[spec.name].items(spec)
    better, graded = EVALS[spec.name].higher_is_better, EVALS[spec.name].graded
    summaries = summarise(results, controls, graded=graded)
    comparisons = compare(results, controls, higher_is_better=better, graded=graded)
    names = sorted({result.category for result in results})
    categories = {
        name: compare([r for r in results if r.category == name], controls, higher_is_better=better, graded=graded)
        for name in names
    }
    judge = judge_note(
        spec.judge_name, spec.key, [judging for reading in readings for judging in reading.judgings], summaries
    )
    unproved = [
        Reason("adapter_unproved", values=(f"{reading.arm}: {reading.adapter['reason']}",))
        for reading in readings
        if reading.adapter.get("served") == "unknown"
    ]
    answered = {reading.arm: reading.answered for reading in readings if reading.answered is not None}
    opposed = EVALS[spec.name].opposed if answered else None
    notes = moved_apart(*(categories.get(side, ()) for side in opposed)) if opposed else []
    level, line = study.mix.line()
    return EvalAnalysis(
        spec=spec,
        arms=by_name,
        items=_items_note(spec, items, len({result.item for result in results})),
        verdict=verdict(
            summaries,
            comparisons,
            answered=answered,
            lower=EVALS[spec.name].lower,
            doubts=[*unproved, *(judge.doubts if judge else ())],
            notes=notes,
        ),
        summaries=summaries,
        comparisons=comparisons,
        categories=categories if len(names) > 1 else {},
        trends=trend(results, line, controls, graded=graded),
        trend_level=level,
        changes=_changes(results, items, controls),
        judge=judge,
        metrics={reading.arm: reading.metrics for reading in readings if reading.metrics},
    )


def _items_note(spec: EvalSpec, items: Sequence[Asked], asked: int) -> DataNote:
    part = f"{asked} of " if asked < len(items) else ""
    names = "; ".join(map(sets.versioned, EVALS[spec.name].sources(spec)))
    return DataNote(f"{part}{spec.key} items ({names})", len(items), items_hash(items))


def _trainings(store: Store, cell: Cell) -> Iterator[Training]:
    """One for each round; none for an adapter whose weights were written by hand."""
    before = 0
    for number, record in store.cell(cell).trainings().items():
        if "loss" not in record:
            continue
        yield Training(
            arm=cell.arm.name,
            seed=cell.seed,
            steps=[before + entry["step"] for entry in record["loss"]],
            losses=[entry["loss"] for entry in record["loss"]],
            seconds=record["seconds"],
            tokens=record["tokens"],
            tokens_per_second=record["tokens_per_second"],
            rows=record["rows"]["total"],
            method=record["spec"]["method"],
            round=number,
            rounds=cell.arm.rounds,
        )
        before += record["steps"]


def _changes(results: Sequence[Result], items: Sequence[Asked], controls: Mapping[str, str]) -> list[Change]:
    """The items whose value or margin under pressure moved most against the control, each item once."""
    by_id = {item.id: item for item in items}
    by_key = {(result.arm, result.seed, result.item, result.epoch): result for result in results}
    moved: list[tuple[float, Change]] = []
    for arm, control in controls.items():
        for after in results:
            before = by_key.get((control, after.seed, after.item, after.epoch))
            if after.arm == arm and before and after.item in by_id and (size := _size(before, after)):
                moved.append((size, Change(by_id[after.item], before, after)))
    chosen: dict[str, Change] = {}
    for _, change in sorted(moved, key=lambda pair: -pair[0]):
        chosen.setdefault(change.item.id, change)
    return list(chosen.values())[:CHANGED_ITEMS]


def _size(before: Result, after: Result) -> float:
    """How much an item changed; a change of outcome or value counts more than any of margins, an error not at all."""
    if Outcome.ERROR in (before.outcome, after.outcome):
        return 0.0
    margins = (before.pressure_margin, after.pressure_margin)
    moved = abs(margins[1] - margins[0]) if margins[0] is not None and margins[1] is not None else 0.0
    values = abs((after.value or 0.0) - (before.value or 0.0))
    return moved + 1000 * (values + (before.outcome != after.outcome))
