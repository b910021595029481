"""What a judged eval takes in calls, tokens and dollars, before anything is asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from untrue.evals.calls import REPLY_TOKENS, Calls
from untrue.evals.replies import Key
from untrue.evals.spec import EvalSpec
from untrue.judge.cost import CHARACTERS, Estimate, dollars, estimate, thinking
from untrue.judge.models import parts

CHAT_TOKENS = 15
"""Tokens that a chat's own format takes."""


class Cost(NamedTuple):
    """What an eval takes of the model under study, and of its judge at the most."""

    model: Estimate
    judge: Estimate

    @property
    def dollars(self) -> float | None:
        """Both together; None where a price is not known."""
        if self.model.dollars is None or self.judge.dollars is None:
            return None
        return self.model.dollars + self.judge.dollars


def cost(spec: EvalSpec, model: str, replied: Collection[Key] = (), settled: Collection[Key] = ()) -> Cost:
    """What an eval takes, by rule of thumb: no model is loaded and nothing is asked.

    Args:
        spec: A judged eval.
        model: Inspect's name of the model under study.
        replied: Samples whose replies an earlier run kept.
        settled: Of these, those that the judge judged.
    """
    from untrue.evals.registry import TASKS

    task = TASKS[spec.name](**spec.arguments)
    epochs = range(1, (spec.epochs or 1) + 1)
    asked, judged = list[str](), list[str]()
    for item, calls in planned(spec, task).items():
        keys = [(item, epoch) for epoch in epochs]
        new = [key for key in keys if key not in replied]
        asked += calls.each * len(new)
        if len(new) == len(keys):
            asked += calls.once
        if unsettled := [key for key in keys if key not in settled]:
            judged += calls.judged_each * len(unsettled)
            judged += calls.judged_once
    limit = spec.max_tokens or task.config.max_tokens or REPLY_TOKENS
    read = round(sum(len(text) / CHARACTERS + CHAT_TOKENS for text in asked))
    written = min(limit, REPLY_TOKENS + thinking(model)) * len(asked)
    of_model = Estimate(len(asked), read, written, dollars(model, read, written))
    return Cost(of_model, estimate(parts(spec.judge or "")[0], judged))


def planned(spec: EvalSpec, task: Any) -> dict[str, Calls]:
    """Item -> what it takes."""
    from untrue.evals.registry import CALLS

    return {str(sample.id): CALLS[spec.name](sample.metadata or {}) for sample in task.dataset}
