"""A difference that a judge found, corrected by labels of a random sample of the replies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from untrue.gating.labels import Labels
from untrue.gating.pairing import sides
from untrue.gating.replies import Judged, counted
from untrue.outcomes import Outcome, Result
from untrue.stats.compare import pair
from untrue.stats.intervals import seeds_half, spread
from untrue.stats.labelled import FEWEST_LABELS, Corrected, Replies, corrected
from untrue.stats.pairing import METRICS
from untrue.stats.types import Reason


@dataclass(frozen=True)
class Correction:
    """What labels say of a judge, and of the difference that it found.

    Attributes:
        metric: `lie_rate`, or `value`.
        by: Who labelled how many questions.
        labels: Labelled replies of the first and of the second.
        right: Of these, those on whose outcome label and judge agree.
        skipped: Questions without a label because they were skipped.
        sensitivity: Of both arms: labelled yes, and of these judged yes.
        specificity: Of each arm: labelled no, and of these not judged yes.
        found: The corrected figures; None where there are too few labels.
        reason: Why there are none.
    """

    metric: str
    by: dict[str, int]
    labels: tuple[int, int]
    right: tuple[int, int]
    skipped: int
    sensitivity: tuple[int, int]
    specificity: tuple[tuple[int, int], tuple[int, int]]
    found: Corrected | None
    reason: Reason | None


def correction(both: Judged, labels: Labels) -> Correction:
    """The difference of two subjects, corrected by labels of their replies.

    The rates are those of `stats.compare`: over all items asked, and an answer that only the second lacks counts as the
    worst.
    """
    own = {key: read for key, read in labels.items() if key.eval == both.record.name}
    metric = "value" if any(result.value is not None for result in both.results) else "lie_rate"
    before, after = both_sides = _sides(both, metric, own)
    by = defaultdict[str, int](int)
    for read in own.values():
        by[read.label.by] += read.label.label is not None
    pairs = [(side.judged[side.labelled] > 0.5, side.labels[side.labelled] > 0.5) for side in both_sides]
    counts = int(before.labelled.sum()), int(after.labelled.sum())
    grids = pair(METRICS[metric], *sides(both.results))
    differences = grids.after - grids.before
    least = 0.0 if np.isnan(differences).all() else seeds_half(spread(differences, grids.clusters))
    found = corrected(before, after, least) if min(counts) else None
    return Correction(
        metric=metric,
        by=dict(by),
        labels=counts,
        right=(int((pairs[0][0] == pairs[0][1]).sum()), int((pairs[1][0] == pairs[1][1]).sum())),
        skipped=sum(read.label.label is None for read in own.values()),
        sensitivity=(sum(int(yes.sum()) for _, yes in pairs), sum(int((said & yes).sum()) for said, yes in pairs)),
        specificity=(_specificity(*pairs[0]), _specificity(*pairs[1])),
        found=found,
        reason=None if found else Reason("few_labels", values=(*counts, FEWEST_LABELS)),
    )


def _specificity(said: np.ndarray, yes: np.ndarray) -> tuple[int, int]:
    return int((~yes).sum()), int((~yes & ~said).sum())


def _sides(both: Judged, metric: str, labels: Labels) -> tuple[Replies, Replies]:
    """The replies of both as the statistics take them: those of an item at a seed weigh as much as those of another."""
    worst = 1.0 if metric == "lie_rate" or not both.record.higher_is_better else 0.0
    cells = defaultdict[tuple[str, int], tuple[list[Result], list[Result]]](lambda: ([], []))
    for result in both.results:
        if result.outcome is not Outcome.ERROR:
            cells[result.item, result.seed][result.arm == "candidate"].append(result)
    cells = {key: cell for key, cell in cells.items() if cell[0]}
    names = {cell[0][0].cluster or f"item {item}": 0 for (item, _), cell in cells.items()}
    numbers = {name: number for number, name in enumerate(names)}
    rows: tuple[list[tuple[int, float, float, bool, float]], ...] = ([], [])
    for (item, _), cell in cells.items():
        cluster = numbers[cell[0][0].cluster or f"item {item}"]
        for side, replies, of_side in zip(rows, both.replies, cell, strict=True):
            weight = 1 / len(cells) / max(len(of_side), len(cell[0]))
            for result in of_side:
                reply = replies.get((result.item, result.seed, result.epoch))
                is_open = reply is not None and reply.is_open
                value = reply.value(labels) if reply and is_open else None
                label = np.nan if value is None else float(counted(value))
                side.append((cluster, weight, float(METRICS[metric].of(result) or 0.0), is_open, label))
            side += [(cluster, weight, worst, False, np.nan)] * (len(cell[0]) - len(of_side))
    empty = [()] * len(Replies._fields)
    first, second = (Replies(*map(np.array, zip(*side, strict=True) if side else empty)) for side in rows)
    return first, second
