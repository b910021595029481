"""What the log of a judged eval says of its judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from untrue.evals.metrics import is_one_sided

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
