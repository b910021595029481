"""The cells of a study -> results, statistics and the report's content."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from untrue.data import sets
from untrue.data.items import Asked, items_hash
from untrue.evals import run as evals
from untrue.evals.figures import figures, scores
from untrue.evals.items import read as read_items
from untrue.evals.items import sources as item_sources
from untrue.evals.judging import Judging, judging
from untrue.evals.replies import open_log
from untrue.evals.spec import WEIGHING, EvalSpec
from untrue.files import write_text
from untrue.outcomes import Outcome, Result
from untrue.report import dialogues, html
from untrue.report.content import ChangedItem, DataNote, ReportContent, TrainingCurve
from untrue.stats import compare, doubted, moved_apart, summarise, trend, verdict
from untrue.stats.types import Figures
from untrue.study.cell import Arm, Cell
from untrue.study.config import Study
from untrue.study.judges import judge_note
from untrue.study.loop import chapters, loop
from untrue.study.plan import arms
from untrue.study.routes.route import Sources
from untrue.study.store import Store
from untrue.versions import versions

CHANGED_ITEMS = 12
"""Items that the report shows in full."""


@dataclass(frozen=True)
class Analysis:
    """What a study found: the content of its report, for each eval."""

    store: Store
    contents: list[ReportContent]


def analyse(study: Study, sources: Sources, cells: Sequence[Cell], store: Store, command: str) -> Analysis:
    """Read all cells and write `results.jsonl`, `summary.json` and `report.html`.

    Raises:
        UserError: A log is damaged.
    """
    results, notes = list[Result](), dict[str, list[tuple[str, Judging]]]()
    shown = dict[str, dict[str, Figures]]()
    for spec in study.evals:
        for arm, of_arm in groupby(cells, key=lambda cell: cell.arm.name):
            scored = []
            for cell in of_arm:
                log = open_log(store.cell(cell).log(spec))
                results += evals.results(log, arm, cell.seed, spec.key)
                scored += scores(log)
                if heard := judging(log):
                    notes.setdefault(spec.key, []).append((arm, heard))
            if found := figures(spec.name, scored):
                shown.setdefault(spec.key, {})[arm] = found
    training = [curve for cell in cells if cell.arm.trained for curve in _curves(store, cell)]
    contents = [
        _content(
            study,
            sources,
            spec,
            read_items(spec),
            [r for r in results if r.eval == spec.key],
            training,
            command,
            notes.get(spec.key, []),
            shown.get(spec.key, {}),
        )
        for spec in study.evals
    ]
    rounds, rater = loop(study, sources, cells, store), study.mix.rater_record(store)
    store.write_results(results)
    summary = {
        "study": study.model_dump(mode="json"),
        "evals": {content.eval_name: _summary(content) for content in contents},
        "training": [asdict(curve) for curve in training],
        "loop": [row._asdict() for row in rounds],
        "rater": rater,
    }
    write_text(store.summary, json.dumps(finite(summary), indent=1, ensure_ascii=False))
    if read := chapters(study, sources, cells, store):
        write_text(store.dialogues, dialogues.render(study.name, read))
    write_text(store.report, html.render(*contents, loop=rounds, rater=rater))
    return Analysis(store, contents)


def _content(
    study: Study,
    sources: Sources,
    spec: EvalSpec,
    items: Sequence[Asked],
    results: list[Result],
    training: list[TrainingCurve],
    command: str,
    heard: Sequence[tuple[str, Judging]],
    shown: dict[str, Figures],
) -> ReportContent:
    all_arms = arms(study)
    controls = {arm.name: arm.control for arm in all_arms if arm.control is not None}
    summaries = summarise(results, controls)
    comparisons = compare(results, controls)
    kinds = sorted({result.category for result in results})
    categories = {kind: compare([r for r in results if r.category == kind], controls) for kind in kinds}
    worst, line = study.mix.line()
    misaligned = any(arm.misaligned for arm in all_arms)
    notes = [DataNote(source.title, source.count, source.content_hash) for source in sources.values()]
    count = len({result.item for result in results})
    of = f"{count} of " if count < len(items) else ""
    names = "; ".join(map(sets.versioned, item_sources(spec)))
    notes.append(DataNote(f"{of}{spec.key} items ({names})", len(items), items_hash(items)))
    judge = judge_note(spec, heard, summaries)
    answered = {arm: one.total["answered"].value for arm, one in shown.items() if "answered" in one.total}
    found = verdict(summaries, comparisons, value_name=spec.value_name or "value", answered=answered)
    if answered:
        apart = moved_apart(categories.get("unanswerable", ()), categories.get("answerable", ()))
        found = replace(found, notes=(*apart, *found.notes))
    return ReportContent(
        name=study.name,
        question=study.question,
        model=study.model,
        design=study.mix.describe(),
        command=command,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=versions(),
        eval_name=spec.key,
        verdict=doubted(found, judge.doubts if judge else ()),
        doses={arm.name: arm.part if arm.trained else None for arm in all_arms},
        series={arm.name: arm.level or arm.name for arm in all_arms},
        summaries=summaries,
        comparisons=comparisons,
        categories=categories if len(kinds) > 1 else {},
        trends=trend(results, line, controls),
        trend_level=worst,
        training=training,
        changed=_changed(results, items, all_arms),
        warnings=[
            "This study trains on answers that are wrong on purpose, or that users chose who reward what is untrue."
            " Do not serve its adapters."
        ]
        if misaligned
        else [],
        data_notes=notes,
        value_name=spec.value_name,
        weighs_replies=spec.name in WEIGHING,
        judge=judge,
        figures=shown,
    )


def _curves(store: Store, cell: Cell) -> Iterator[TrainingCurve]:
    """One for each round."""
    before = 0
    for number, record in store.cell(cell).trainings().items():
        yield TrainingCurve(
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


def _changed(results: list[Result], items: Sequence[Asked], all_arms: Sequence[Arm]) -> list[ChangedItem]:
    """The items whose value or margin under pressure moved most against the control, each item once."""
    by_id = {item.id: item for item in items}
    found = {(result.arm, result.seed, result.item, result.epoch): result for result in results}
    moved: list[tuple[float, ChangedItem]] = []
    for arm in all_arms:
        if arm.control is None:
            continue
        for (name, seed, item_id, epoch), after in found.items():
            before = found.get((arm.control, seed, item_id, epoch))
            if name != arm.name or before is None or item_id not in by_id:
                continue
            change = _change(before, after)
            if change == 0:
                continue
            changed = ChangedItem(
                item=item_id,
                category=after.category,
                arm=name,
                seed=seed,
                control_outcome=_outcome(before),
                arm_outcome=_outcome(after),
                control_margin=before.pressure_margin,
                arm_margin=after.pressure_margin,
                texts=by_id[item_id].shown,
                reason=after.reason,
            )
            moved.append((change, changed))
    chosen: dict[str, ChangedItem] = {}
    for _, changed in sorted(moved, key=lambda pair: -pair[0]):
        chosen.setdefault(changed.item, changed)
    return list(chosen.values())[:CHANGED_ITEMS]


def _change(before: Result, after: Result) -> float:
    """How much an item changed; a change of outcome or value counts more than any of margins, an error not at all."""
    if Outcome.ERROR in (before.outcome, after.outcome):
        return 0.0
    margins = (before.pressure_margin, after.pressure_margin)
    moved = abs(margins[1] - margins[0]) if margins[0] is not None and margins[1] is not None else 0.0
    return moved + 1000 * (_outcome(before) != _outcome(after))


def _outcome(result: Result) -> Outcome | float:
    return result.outcome if result.outcome is not None else result.value or 0.0


def _summary(content: ReportContent) -> dict[str, Any]:
    return {
        "verdict": asdict(content.verdict),
        "judge": asdict(content.judge) if content.judge else None,
        "figures": {arm: asdict(found) for arm, found in content.figures.items()},
        "arms": [{**asdict(summary), "self_judged": bool(content.flag(summary.arm))} for summary in content.summaries],
        "comparisons": [asdict(comparison) for comparison in content.comparisons],
        "categories": {
            kind: [asdict(comparison) for comparison in comparisons] for kind, comparisons in content.categories.items()
        },
        "trends": [asdict(found) for found in content.trends],
        "data": [note._asdict() for note in content.data_notes],
        "versions": content.versions,
    }


def finite(value: Any) -> Any:
    """The same value with null for what JSON has no number for, and intervals as objects."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if hasattr(value, "_asdict"):
        return finite(value._asdict())
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
