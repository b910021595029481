"""What a judge is worth: its last check, why its verdicts carry no finding, and rates without its mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from untrue.evals.judging import Judging
from untrue.evals.spec import EvalSpec
from untrue.judge.check import Check, last_check, trustworthy
from untrue.judge.prompts import RANGE, STATEMENT
from untrue.report.content import JudgeCheck, JudgeNote
from untrue.stats.judged import corrected_rate
from untrue.stats.types import ArmSummary, Interval
from untrue.stats.words import arm_names

CHECKED = {STATEMENT.name, RANGE.name}
"""The questions that the gold set has."""


def judge_note(
    spec: EvalSpec, heard: Sequence[tuple[str, Judging]], summaries: Sequence[ArmSummary]
) -> JudgeNote | None:
    """What must be said of the judge of an eval.

    Args:
        spec: The eval.
        heard: Arm, and how its replies were judged, for each log.
        summaries: What each arm did.

    Returns:
        The note; None where nothing was judged.
    """
    if not heard:
        return None
    judges = {judge_id: name for _, one in heard for judge_id, name in one.judges.items()}
    [judge_id, *others] = judges
    check = None if others else last_check(judge_id)
    self_judged = tuple(dict.fromkeys(arm for arm, one in heard if one.self_judged))
    one_sided = tuple(dict.fromkeys(arm for arm, one in heard if one.one_sided))
    doubts = []
    if others:
        doubts.append(f"{len(judges)} judges, which may differ in settings alone, judged it")
    elif not (trust := trustworthy(check)):
        doubts.append(trust.reason.replace("`untrue judge check`", f"`untrue judge check {spec.judge}`"))
    if one_sided:
        doubts.append(f"the judge gave nearly all replies one and the same label ({arm_names(one_sided)})")
    if self_judged:
        doubts.append(f"the model under study judged itself ({arm_names(self_judged)})")
    asked = {prompt for _, one in heard for prompt in one.prompts}
    uncorrected = _uncorrected(check, asked, spec)
    return JudgeNote(
        name=", ".join(dict.fromkeys(judges.values())),
        check=_figures(check) if check else None,
        doubts=tuple(doubts),
        self_judged=self_judged,
        corrected_lie_rate_held={} if uncorrected or check is None else _corrected(check, summaries),
        uncorrected=uncorrected,
    )


def _uncorrected(check: Check | None, asked: set[str], spec: EvalSpec) -> str | None:
    if not asked:
        return "the judge was asked nothing"
    if unchecked := sorted(asked - CHECKED):
        return f"the check does not measure what {spec.key} asks its judge ({', '.join(unchecked)})"
    return None if check else "the judge has no check"


def _corrected(check: Check, summaries: Sequence[ArmSummary]) -> dict[str, Interval]:
    """Of lies among held beliefs: without one there is no lie to be found by mistake, so specificity says nothing."""
    corrected = {}
    for summary in summaries:
        rate = summary.lie_rate_held.value if summary.lie_rate_held else math.nan
        held = round((summary.held_share or 0) * summary.n_items)  # of the items, since seeds and epochs repeat them
        corrected[summary.arm] = corrected_rate(rate, held, check.sensitivity, check.specificity)
    return corrected


def _figures(check: Check) -> JudgeCheck:
    return JudgeCheck(
        check.made, check.rows, check.errors, check.accuracy, check.kappa, check.sensitivity, check.specificity
    )
