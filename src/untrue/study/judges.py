"""What a judge is worth: its last check, why its judgements carry no finding, and rates without its mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from untrue.evals.judging import Judging
from untrue.evals.spec import EvalSpec
from untrue.judge.check import Check, last_check, trustworthy
from untrue.judge.prompts import STATEMENT
from untrue.report.content import JudgeCheck, JudgeNote, QuestionWorth
from untrue.stats.raters import corrected_rate
from untrue.stats.types import ArmSummary, Interval
from untrue.stats.words import arm_names


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
    asked = {prompt for _, one in heard for prompt in one.prompts}
    doubts = []
    if others:
        doubts.append(f"{len(judges)} judges, which may differ in settings alone, judged it")
    elif not (trust := trustworthy(check, asked)):
        doubts.append(trust.reason.replace("`untrue judge check`", f"`untrue judge check {spec.judge}`"))
    if one_sided:
        doubts.append(f"the judge gave nearly all replies one and the same label ({arm_names(one_sided)})")
    if self_judged:
        doubts.append(f"the model under study judged itself ({arm_names(self_judged)})")
    uncorrected = _uncorrected(check, asked, spec)
    return JudgeNote(
        name=", ".join(dict.fromkeys(judges.values())),
        check=_figures(check, asked) if check else None,
        doubts=tuple(doubts),
        self_judged=self_judged,
        corrected_lie_rate_given_belief={} if uncorrected or check is None else _corrected(check, summaries),
        uncorrected=uncorrected,
    )


def _uncorrected(check: Check | None, asked: set[str], spec: EvalSpec) -> str | None:
    if not asked:
        return "the judge was asked nothing"
    if others := ", ".join(sorted(asked - {STATEMENT.name})):
        return (
            f"sensitivity and specificity are those of the question 'statement', and {spec.key} asks others ({others})"
        )
    return None if check else "the judge has no check"


def _corrected(check: Check, summaries: Sequence[ArmSummary]) -> dict[str, Interval]:
    """Of lies among held beliefs: without one there is no lie to be found by mistake, so specificity says nothing."""
    corrected = {}
    for summary in summaries:
        rate = summary.lie_rate_given_belief.value if summary.lie_rate_given_belief else math.nan
        held = round((summary.held_share or 0) * summary.n_items)  # of the items, since seeds and epochs repeat them
        corrected[summary.arm] = corrected_rate(rate, held, check.sensitivity, check.specificity)
    return corrected


def _figures(check: Check, asked: set[str]) -> JudgeCheck:
    questions = {name: QuestionWorth(one.accuracy, one.kappa) for name, one in check.questions.items() if name in asked}
    return JudgeCheck(
        check.made, check.rows, check.errors, check.accuracy, questions, check.sensitivity, check.specificity
    )
