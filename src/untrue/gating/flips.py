"""Flips: the items to which two subjects gave different answers. They say where to look, and decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from untrue.gating.pairing import sides
from untrue.harness.eval import Eval
from untrue.outcomes import Outcome, Result


class Flip(NamedTuple):
    """An item that two subjects answered differently.

    Attributes:
        item: Its id.
        category: Its kind.
        seed: Of the cell; 0 outside a study.
        epoch: Which of the samples of this item it is, from 1.
        baseline: What the first answered: an outcome, such as `lie`, or a value.
        candidate: What the second answered.
    """

    item: str
    category: str
    seed: int
    epoch: int
    baseline: str
    candidate: str


class Flips(NamedTuple):
    """All of one eval.

    Attributes:
        n_answers: Answers of both that were compared.
        flips: Those that differ, in the order of the items.
    """

    n_answers: int
    flips: tuple[Flip, ...]


def flips(record: Eval, results: Sequence[Result]) -> Flips:
    """Compare the answers of the arms `baseline` and `candidate` in one eval, those that failed included.

    Probabilities and the margins of second witnesses are no answers, and do not flip.
    """
    if record.graded or not record.decides:
        return Flips(0, ())
    baseline, candidate = sides(results)
    answers = {result.slot: _answer(result) for result in baseline}
    flipped = [
        Flip(result.item, result.category, result.seed, result.epoch, before, after)
        for result in candidate
        if (before := answers.get(result.slot)) and before != (after := _answer(result))
    ]
    return Flips(sum(result.slot in answers for result in candidate), tuple(flipped))


def _answer(result: Result) -> str:
    """The outcome, and whether what is believed is untrue; or the value."""
    if result.outcome is None:
        return f"{result.value:.3g}"
    believes_untruth = result.belief_is_true is False and result.outcome not in (Outcome.NO_BELIEF, Outcome.ERROR)
    return result.outcome.value.replace("_", " ") + " (untrue belief)" * believes_untruth
