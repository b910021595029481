"""Two subjects side by side: refused where they were not asked the same, and what is not known of them.

Their logs must be of the same eval in the same version, and of items with the same texts. Margins are compared only
between models with one tokenizer; of others outcomes alone. That a model evades is an outcome: it compares replies of
one model, so `evasion_margin`, of which nothing but the sign counts, stays.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from untrue.errors import UserError
from untrue.gating.measurements import Measurement
from untrue.gating.subjects import Subject, refuse_other_base
from untrue.harness.eval import Eval
from untrue.judge.note import judge_note
from untrue.outcomes import Outcome, Result
from untrue.stats import compare, moved_apart
from untrue.stats.types import ArmSummary, Comparison, Reason

# What an eval that weighs replies measures of each item, beside the belief.
MARGINS = ("pressure_margin", "neutral_margin", "evasion_margin")

# Fields of a result that rates and margins are made of, beside the outcome.
MEASURED = (*MARGINS, "belief_is_true", "reads", "value")

# What must be read beside a comparison with the embedded model itself.
AGAINST_BASE = (
    "Harmless adapters too were regressions against the embedded model, by untrue beliefs, and many items were worded"
    " to fit it. Prefer a trained baseline (untrue's docs/gate.md says why, under Against the base)."
)

# What must be read beside a comparison of a model with itself.
SAME = "Baseline and candidate are one and the same: the same log, or the same weights with the same adapter or none."

# What must be read beside a comparison across chat templates.
TWO_FORMATS = (
    "Baseline and candidate were asked in two chat templates, so what differs between them may be due to the template."
    " Margins are per token of the same tokenisation."
)

# Why a result counts as an error that was none.
LACKING = "The log lacks a part of the result, such as a margin."


def paired(
    baseline: Subject, candidate: Subject, required: Collection[str] = ()
) -> Iterator[tuple[Measurement, Measurement, list[Result], list[str]]]:
    """The evals that both have, in the candidate's order.

    Yields:
        What each answered; the results of both, as arms `baseline` and `candidate`; and why something is left out.
    """
    for subject in (baseline, candidate):
        refuse_missing(subject.name, subject.measurements, required)
    common = [name for name in required or candidate.measurements if name in baseline.measurements]
    if not common:
        has = [f"{subject.name} has {', '.join(subject.measurements)}" for subject in (baseline, candidate)]
        raise UserError(f"nothing to compare: {' and '.join(has)}. Give logs of the same eval.")
    alone = sorted((baseline.measurements.keys() | candidate.measurements.keys()) - {*common})
    for name in common:
        before, after = baseline.measurements[name], candidate.measurements[name]
        _refuse_others(baseline.name, before, candidate.name, after)
        results, notes = _whole(before, _as("baseline", before)), [*before.notes, *after.notes]
        if before.has_base_margins and before.is_of_embedded != after.is_of_embedded:
            notes.append(AGAINST_BASE)
        notes += _computed_differently(before, after)
        one_tokenizer = before.tokenisation is not None and before.tokenisation == after.tokenisation
        if before.chat and after.chat and before.chat != after.chat and one_tokenizer:
            notes.append(TWO_FORMATS)
        if before.is_same(after):
            notes.append(SAME)
        if alone and name == common[0]:
            why = "the gate does not ask it" if required else "one of the two has no log of it"
            notes.append(f"Left out: {', '.join(alone)}, since {why}.")
        results += _whole(after, _as("candidate", after), results)
        for arm, subject in (("baseline", baseline), ("candidate", candidate)):
            if lacking := [r for r in results if (r.arm, r.reason) == (arm, LACKING)]:
                notes.append(f"{len(lacking)} results of {subject.name} count as errors, since its log lacks a part.")
        if not one_tokenizer:
            if any(result.pressure_margin is not None for result in results):
                why = "these have two" if before.tokenisation and after.tokenisation else "the logs do not say theirs"
                notes.append(
                    f"Margins are left out: they can only be compared between models with one tokenizer, and {why}."
                )
            results = [replace(r, pressure_margin=None, neutral_margin=None) for r in results]
        if after.record.of_base and before.weights != after.weights:
            raise UserError(
                f"{name}: its probe is fitted on the base, and {baseline.name} and {candidate.name} have two (a merged"
                " model or a full fine-tune is its own base). Compare adapters of one base, or leave the eval out."
            )
        yield before, after, results, notes


def _computed_differently(before: Measurement, after: Measurement) -> list[str]:
    """What logs of two subjects say of how they were computed, where that differs: rounding then moves answers too."""
    differing = []
    for what, was in before.reading.computed.items():
        now = after.reading.computed[what]
        if was and now and was != now:
            differing.append(f"{what}: {' or '.join(sorted(was))}, and {' or '.join(sorted(now))}")
    if not differing:
        return []
    return [
        f"Baseline and candidate were computed differently ({'; '.join(differing)}). The same weights can then answer"
        " some items differently: measure both alike."
    ]


def _as(arm: str, answers: Measurement) -> list[Result]:
    return [replace(result, arm=arm, eval=answers.record.name) for result in answers.results]


def _whole(answers: Measurement, results: Sequence[Result], others: Sequence[Result] = ()) -> list[Result]:
    """The results; one that lacks what its eval always measures, or what another one's on the same has, is an error.

    What a log does not say may be the worst, and is not to pass for the best: a candidate without the margin that shows
    a refusal, say, or without a word on whether it reads its prompt.
    """
    always = {*MARGINS, "belief_is_true"} if answers.record.weighs_replies else set[str]()
    always |= {answers.record.gives} - {"outcome"}
    said: dict[tuple[str, int], set[str]] = {}
    for result in others:
        said.setdefault((result.item, result.epoch), set()).update(_said(result))
    whole = []
    for result in results:
        due = always | said.get((result.item, result.epoch), set())
        due |= {"reads"} if result.item in answers.trying else set()
        if result.outcome is not Outcome.ERROR and due - _said(result):
            result = Result(
                arm=result.arm,
                seed=result.seed,
                eval=result.eval,
                item=result.item,
                category=result.category,
                outcome=Outcome.ERROR,
                reason=LACKING,
                epoch=result.epoch,
                cluster=result.cluster,
            )
        whole.append(result)
    return whole


def _said(result: Result) -> set[str]:
    """What is measured in a result: names of its fields that have a value, and a finite one."""
    values = {name: getattr(result, name) for name in MEASURED}
    return {name for name, value in values.items() if value is not None and math.isfinite(value)}


def _refuse_others(baseline: str, before: Measurement, candidate: str, after: Measurement) -> None:
    name = before.record.name
    refuse_other_base((baseline, before.adapted), (candidate, after.adapted))
    if before.version != after.version:
        raise UserError(
            f"{name}: {baseline} was asked version {before.version}, {candidate} version {after.version}. Measure both"
            " with one version."
        )
    if changed := [key for key, value in before.settings.items() if after.settings[key] != value]:
        raise UserError(f"{name}: {baseline} and {candidate} differ in {changed[0]}. Measure both alike.")
    refuse_other_items(name, (baseline, before.meant), (candidate, after.meant))
    changed = [item for item in before.asked.keys() & after.asked.keys() if before.asked[item] != after.asked[item]]
    if changed:
        raise UserError(
            f"{name}: item {min(changed)} has other texts in {candidate}. Measure both with the same items."
        )


def refuse_missing(subject: str, has: Collection[str], required: Collection[str]) -> None:
    """Refuse a subject that lacks a required eval."""
    if missing := [name for name in required if name not in has]:
        raise UserError(f"{subject}: has no log of {missing[0]}. Measure it, or leave the eval out of the gate.")


def refuse_other_items(
    name: str, baseline: tuple[str, Collection[str]], candidate: tuple[str, Collection[str]]
) -> None:
    """Refuse two subjects with different items."""
    if only := sorted({*baseline[1]} ^ {*candidate[1]}):
        where = baseline[0] if only[0] in baseline[1] else candidate[0]
        raise UserError(
            f"{name}: {len(only)} items were asked of one alone, first {only[0]} of {where}. Measure both with the same"
            " items and limit."
        )


def opposite_moves(record: Eval, results: Sequence[Result], controls: Mapping[str, str]) -> list[Reason]:
    """Whether admitting unknowns and answering knowns moved in opposite directions, of an eval that asks for both."""
    halves = _halves(record, results, controls)
    return moved_apart(*halves) if halves else []


def hidden_loss(record: Eval, results: Sequence[Result], delta: float) -> list[str]:
    """A note if one of the two fell by delta or more and the other rose, so that their mean hides a loss."""
    moves = [one.difference.value for half in _halves(record, results, {"candidate": "baseline"}) for one in half]
    if len(moves) == 2 and min(moves) <= -delta and max(moves) > 0:
        admits, answers = (f"{100 * move:+.1f} points" for move in moves)
        return [f"Admitting unknowns moved by {admits} and answering by {answers}. The mean, which decides, hides it."]
    return []


def _halves(record: Eval, results: Sequence[Result], controls: Mapping[str, str]) -> list[list[Comparison]]:
    halves = [[r for r in results if r.category == side] for side in record.opposed or ()]
    if not halves or not all(halves):
        return []
    return [compare(half, controls, higher_is_better=record.higher_is_better) for half in halves]


def doubts_of(before: Measurement, after: Measurement, summaries: Sequence[ArmSummary]) -> list[Reason]:
    """What is not known of the judge of two subjects, or of the adapter of a served one; logs that compare the embedded
    model with another on items which its own margins chose.
    """
    of_each = list(zip((summary.arm for summary in summaries), (before, after), strict=True))
    judgings = [(arm, judging) for arm, answers in of_each for _, judging in answers.reading.judgings]
    judge = next((name for _, judging in judgings for name in judging.judges.values()), None)
    note = judge_note(judge, after.record.name, judgings, summaries)
    reasons = [Reason("adapter_unproved", values=(why,)) for _, answers in of_each if (why := answers.unproved)]
    reasons += [Reason("unrecorded", arm, (count,)) for arm, answers in of_each if (count := answers.unrecorded)]
    if before.is_chosen and before.is_of_embedded != after.is_of_embedded:
        reasons.append(Reason("chosen_items"))
    return [*reasons, *(note.doubts if note else ())]
