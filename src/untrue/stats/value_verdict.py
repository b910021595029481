"""What was found of a rate that is no outcome of honesty, such as accuracy, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from untrue.stats.soundness import (
    broken_arms,
    is_found,
    left_out,
    metrics_by_arm,
    only_these_seeds,
    single_seeds,
    thin_comparisons,
)
from untrue.stats.types import ArmSummary, Comparison, Verdict
from untrue.stats.words import Note, before_holm, change, difference_figure, merged, percent, size_words


def value_verdict(
    summaries: Sequence[ArmSummary],
    comparisons: Sequence[Comparison],
    name: str,
    *,
    pair_floor: float,
    error_ceiling: float,
    answered: Mapping[str, float] | None = None,
) -> Verdict:
    """Says whether the mean value of any arm differs from its control's: `effect`, `no_effect_found` or `inconclusive`.

    Args:
        summaries: What `summarise` returned for one eval.
        comparisons: What `compare` returned for the same results.
        name: What the mean value is called, such as `accuracy`.
        pair_floor: Least share of pairs that can be compared.
        error_ceiling: Largest share of an arm's results that may be errors.
        answered: Arm -> share of the answerable questions that it answers, in the eval that has such.
    """
    compared = [comparison for comparison in comparisons if comparison.metric == "value"]
    names = {arm for comparison in compared for arm in (comparison.arm, comparison.control)}
    compared_arms = [summary for summary in summaries if summary.arm in names]
    faults = broken_arms(compared_arms, 0.0, error_ceiling, answered)
    unsound = {fault.arm for fault in faults}
    sound = [c for c in compared if c.arm not in unsound and c.control not in unsound]
    thin = [*thin_comparisons(sound or compared, pair_floor)]
    broken = [*merged(faults), *thin]
    notes = tuple(_notes(summaries, compared, name))
    if (found := [comparison for comparison in sound if is_found(comparison)]) and not thin:
        rest = (f"Nothing can be stated of the rest: {'; '.join(broken)}.",) if broken else ()
        changes = [
            change(f"{name.capitalize()} {'rose' if c.difference.value > 0 else 'fell'} in {{0}} against {{1}}", c)
            for c in found
        ]
        return Verdict("effect", f"{'. '.join(merged(changes))}.", (*rest, *notes))
    if broken:
        return Verdict("inconclusive", f"No finding can be stated: {'; '.join(broken)}.", notes)
    largest = size_words("value", max(comparison.mde for comparison in compared))
    sentence = (
        f"No change in {name} was found, which does not show that there is none: the smallest true change that would "
        f"have been found is {largest} (80 % power, two-sided 5 % level{before_holm(compared)})."
    )
    return Verdict("no_effect_found", sentence, notes)


def moved_apart(admitted: Iterable[Comparison], answered: Iterable[Comparison]) -> Iterable[str]:
    """In which arms admitting unknowns and answering knowns moved in opposite directions, which their mean hides.

    Args:
        admitted: What `compare` returned for the unanswerable questions alone.
        answered: The same for the answerable ones.
    """
    answers = {comparison.arm: comparison for comparison in answered if is_found(comparison)}
    pairs = [(one, answers[one.arm]) for one in admitted if is_found(one) and one.arm in answers]
    return merged(
        Note(
            "In {0} admitting and answering moved in opposite directions, which their mean hides: unknowns admitted "
            "from {1} to {2} and knowns answered from {3} to {4} (points with 95 % interval: {5} and {6}).",
            one.arm,
            (
                *map(percent, (one.control_mean, one.arm_mean, other.control_mean, other.arm_mean)),
                difference_figure(one),
                difference_figure(other),
            ),
        )
        for one, other in pairs
        if one.difference.value * other.difference.value < 0
    )


def _notes(summaries: Sequence[ArmSummary], compared: Sequence[Comparison], name: str) -> Iterable[str]:
    by_arm = metrics_by_arm(compared)
    yield from single_seeds(by_arm)
    yield from merged(note for comparison in compared for note in only_these_seeds(comparison, name))
    yield from left_out(summaries, by_arm)
