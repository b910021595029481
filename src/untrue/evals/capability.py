"""Capability: easy multiple choice: did fine-tuning hurt plain ability?

A model of `untrue/` is asked only the question, and the likeliest choice is its answer; any other model sees lettered
choices and writes the letter. Compare only models that were asked in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from untrue.data.items import ChoiceItem
from untrue.harness.eval import Decision, Eval, EvalSpec, ItemPlan
from untrue.harness.metrics import Scored, error_rate, values_of
from untrue.models.chat import without_thinking
from untrue.outcomes import Outcome
from untrue.stats.rates import rate
from untrue.stats.types import Interval

if TYPE_CHECKING:
    from inspect_ai.solver import Generate, TaskState

    from untrue.engine.likelihoods import Likelihood


def plan(item: ChoiceItem, spec: EvalSpec) -> ItemPlan:
    """The question with its choices."""
    return ItemPlan(item.question, choices=list(item.choices), target=_letter(item.answer))


async def answer(state: TaskState, generate: Generate, spec: EvalSpec) -> TaskState:
    """Choose by likelihoods if the model gives them, else by writing a letter."""
    from inspect_ai.model import get_model
    from inspect_ai.solver import multiple_choice

    from untrue.engine.provider import UntrueAPI

    api = get_model().api
    if not isinstance(api, UntrueAPI):
        return await multiple_choice()(state, _without_thinking(generate))
    choices = [choice.value for choice in state.choices]
    [replies] = await api.likelihoods([([{"role": "user", "content": state.input_text}], choices)])
    state.metadata["logprobs"] = [reply.total for reply in replies]
    if all(math.isfinite(reply.total) for reply in replies):
        state.choices.mark_choice(likeliest(replies), True)
    return state


def _without_thinking(generate: Generate) -> Generate:
    async def generate_reply(state: TaskState, *arguments: Any, **settings: Any) -> TaskState:
        state = await generate(state, *arguments, **settings)
        state.output.completion = without_thinking(state.output.completion)
        return state

    return cast("Generate", generate_reply)


def likeliest(choices: Sequence[Likelihood]) -> int:
    """The index of the likeliest reply by whole log-probability."""
    return max(range(len(choices)), key=lambda index: choices[index].total)


def accuracy(rows: Sequence[Scored]) -> dict[str, Interval | float]:
    """Share of right answers among the samples with an answer, and the share that have none."""
    return {"accuracy": rate(values_of(rows)), "error_rate": error_rate(rows)}


async def right(state: TaskState) -> Decision:
    """1 for the right choice, 0 for another; an error for none or several."""
    chosen = [index for index, choice in enumerate(state.choices) if choice.correct]
    logprobs: Sequence[float] | None = state.metadata.get("logprobs")
    if len(chosen) != 1:
        said = state.output.completion if logprobs is None else f"likelihoods {logprobs}"
        return Decision(Outcome.ERROR, f"No single choice was made: {said[:200]!r}.")
    letter, target = _letter(chosen[0]), state.target.text
    said, wanted = (f"{one} ({state.choices[ord(one) - ord('A')].value})" for one in (letter, target))
    shown = "" if logprobs is None else f" ({', '.join(f'{value:+.3f}' for value in logprobs)} nats)"
    reason = f"{said} is {'right' if letter == target else f'wrong, {wanted} is right'}{shown}."
    return Decision(int(letter == target), reason, None, letter, {"logprobs": logprobs} if logprobs else {})


def _letter(index: int) -> str:
    return chr(ord("A") + index)


EVAL = Eval(
    name="capability",
    version=1,
    asks="easy multiple choice: did fine-tuning hurt plain ability?",
    item=ChoiceItem,
    spread_by="subject",
    plan=plan,
    answer=answer,
    score=right,
    sampling={"temperature": 0.0},
    computed=[accuracy],
    value_name="accuracy",
    lower="breaks",
    delta=0.10,
    builtin="capability",
)
