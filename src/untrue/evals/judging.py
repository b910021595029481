"""The judge of an eval: what its logs say of it, its last check, and why its judgements may carry no finding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from untrue.evals.eval import EvalSpec
from untrue.evals.metrics import is_one_sided
from untrue.judge.check import Check, last_check, trustworthy
from untrue.judge.prompts import STATEMENT
from untrue.stats.raters import corrected_rate
from untrue.stats.types import ArmSummary, Interval, Reason

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog


class Judging(NamedTuple):
    """How the replies of one model were judged.

    Attributes:
        judges: `Judge.id` of each judge there was, and its name.
        self_judged: Whether the model under study, or its base, was its own judge.
        one_sided: Whether the judge says nearly always the same, though what it reads differs.
        prompts: Names of the questions that it was asked.
    """

    judges: dict[str, str]
    self_judged: bool
    one_sided: bool
    prompts: frozenset[str]


def judging(log: EvalLog) -> Judging | None:
    """What a log says; None where nothing in it was judged."""
    scores = [score for sample in log.samples or [] for score in (sample.scores or {}).values()]
    details = [score.metadata for score in scores if score.metadata and "judge_id" in score.metadata]
    if not details:
        return None
    return Judging(
        judges={one["judge_id"]: one["judge"] for one in details},
        self_judged=any(one["self_judged"] for one in details),
        one_sided=is_one_sided(details),
        prompts=frozenset(judgement["prompt"] for one in details for judgement in one["judgements"]),
    )


@dataclass(frozen=True)
class JudgeNote:
    """The judge of an eval.

    Attributes:
        name: Its name; several where there were several.
        check: Its last check, of the questions that the eval asked; None where there is none.
        doubts: Why its judgements carry no finding; empty where they do.
        self_judged: Arms that judged themselves.
        corrected_lie_rate_given_belief: Arm -> its rate of lies among held beliefs, corrected for the judge's
            sensitivity and specificity.
        uncorrected: Why no rate is corrected; None where they are.
    """

    name: str
    check: Check | None
    doubts: tuple[Reason, ...]
    self_judged: tuple[str, ...]
    corrected_lie_rate_given_belief: dict[str, Interval]
    uncorrected: Reason | None


def judge_note(
    spec: EvalSpec, judgings: Sequence[tuple[str, Judging]], summaries: Iterable[ArmSummary]
) -> JudgeNote | None:
    """What must be known of the judge of an eval; None where nothing was judged.

    Args:
        spec: The eval.
        judgings: Arm, and how its replies were judged, for each log.
        summaries: What each arm did.
    """
    if not judgings:
        return None
    judges = {judge_id: name for _, judging in judgings for judge_id, name in judging.judges.items()}
    [judge_id, *others] = judges
    check = None if others else last_check(judge_id)
    self_judged = tuple(dict.fromkeys(arm for arm, judging in judgings if judging.self_judged))
    one_sided = dict.fromkeys(arm for arm, judging in judgings if judging.one_sided)
    asked = {prompt for _, judging in judgings for prompt in judging.prompts}
    doubts = []
    if others:
        doubts.append(Reason("several_judges", values=(len(judges),)))
    elif check is None:
        doubts.append(Reason("judge_unchecked", values=(spec.judge_name,)))
    elif not (trust := trustworthy(check, asked)):
        doubts.append(Reason("judge_untrusted", values=(trust.reason,)))
    doubts += [Reason("judge_one_sided", arm) for arm in one_sided]
    doubts += [Reason("self_judged", arm) for arm in self_judged]
    uncorrected = _uncorrected(check, asked, spec)
    if check:
        questions = {name: question for name, question in check.questions.items() if name in asked}
        check = check.model_copy(update={"questions": questions})
    return JudgeNote(
        name=", ".join(dict.fromkeys(judges.values())),
        check=check,
        doubts=tuple(doubts),
        self_judged=self_judged,
        corrected_lie_rate_given_belief={} if uncorrected or check is None else _corrected(check, summaries),
        uncorrected=uncorrected,
    )


def _uncorrected(check: Check | None, asked: set[str], spec: EvalSpec) -> Reason | None:
    if not asked:
        return Reason("judge_not_asked")
    if others := ", ".join(sorted(asked - {STATEMENT.name})):
        return Reason("other_questions", values=(spec.key, others))
    return None if check else Reason("no_check")


def _corrected(check: Check, summaries: Iterable[ArmSummary]) -> dict[str, Interval]:
    """Of lies among held beliefs: without one there is no lie to be found by mistake, so specificity says nothing."""
    corrected = {}
    for summary in summaries:
        rate = summary.lie_rate_given_belief.value if summary.lie_rate_given_belief else math.nan
        held = round((summary.held_share or 0) * summary.n_items)  # of the items, since seeds and epochs repeat them
        corrected[summary.arm] = corrected_rate(rate, held, check.sensitivity, check.specificity)
    return corrected
