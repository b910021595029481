"""What a judged eval takes in calls, tokens and dollars, before anything is asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from untrue.evals.eval import Eval, EvalSpec
from untrue.evals.judged import REPLY_TOKENS
from untrue.evals.replies import Key
from untrue.judge.cost import CHARACTERS, Estimate, dollars, estimate, thinking
from untrue.judge.models import parts

if TYPE_CHECKING:
    from inspect_ai import Task

CHAT_TOKENS = 15
"""Tokens that a chat's own format takes."""


class Calls(NamedTuple):
    """The texts that are sent for one item.

    Attributes:
        once: To the model, once whatever the epochs.
        each: To the model, in each epoch.
        judged_once: To the judge, about the replies to `once`.
        judged_each: To the judge, in each epoch. At most: what a judgement makes needless is not asked.
    """

    once: list[str]
    each: list[str]
    judged_once: list[str]
    judged_each: list[str]


class Cost(NamedTuple):
    """What an eval takes of the model under study, and of its judge at most."""

    model: Estimate
    judge: Estimate

    @property
    def dollars(self) -> float | None:
        """Both together; None where a price is not known."""
        if self.model.dollars is None or self.judge.dollars is None:
            return None
        return self.model.dollars + self.judge.dollars


def cost(
    record: Eval, spec: EvalSpec, model: str, replied: Collection[Key] = (), settled: Collection[Key] = ()
) -> Cost:
    """What an eval takes, by rule of thumb: no model is loaded and nothing is asked.

    Args:
        record: A judged eval.
        spec: Its options.
        model: Inspect's name of the model under study.
        replied: Samples whose replies an earlier run kept.
        settled: Of these, those that the judge judged.
    """
    task = record.task(**spec.arguments)
    epochs = range(1, (getattr(spec, "epochs", None) or 1) + 1)
    asked, judged = list[str](), list[str]()
    for item, calls in planned(record, task).items():
        keys = [(item, epoch) for epoch in epochs]
        new = [key for key in keys if key not in replied]
        asked += calls.each * len(new)
        if len(new) == len(keys):
            asked += calls.once
        if unsettled := [key for key in keys if key not in settled]:
            judged += calls.judged_each * len(unsettled)
            judged += calls.judged_once
    limit = getattr(spec, "max_tokens", None) or task.config.max_tokens or REPLY_TOKENS
    read = round(sum(len(text) / CHARACTERS + CHAT_TOKENS for text in asked))
    written = min(limit, REPLY_TOKENS + thinking(model)) * len(asked)
    of_model = Estimate(len(asked), read, written, dollars(model, read, written))
    return Cost(of_model, estimate(parts(spec.judge_name or "")[0], judged))


def planned(record: Eval, task: Task) -> dict[str, Calls]:
    """Item -> what it takes."""
    plan = {}
    for sample in task.dataset:
        metadata = sample.metadata or {}
        how, judgements = record.elicits(metadata), record.judgements(metadata)
        once = [f"{how.system} {prompt}" for prompt in how.prompts] if how else []
        texts = [sample.input] if isinstance(sample.input, str) else [message.text for message in sample.input]
        plan[str(sample.id)] = Calls(once, [" ".join(texts)], judgements.once, judgements.each)
    return plan
