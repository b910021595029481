"""Capability: easy multiple choice: did fine-tuning hurt plain ability?

A model of the provider `untrue/` is asked the question alone, and the likeliest of the choices is its answer. Any
other model is shown lettered choices and writes the letter. The two ways differ, so compare models that were asked in
one way.

    inspect eval untrue/capability --model untrue/smollm2-135m
    inspect eval untrue/capability --model openai/gpt-5-mini
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import Generate, Solver, TaskState, multiple_choice, solver

from untrue.data.items import ChoiceItem, read_capability
from untrue.engine.provider import UntrueAPI
from untrue.evals import judged
from untrue.evals.eval import Eval, spread
from untrue.evals.metrics import Scored, error_rate, inspect_metrics, values_of
from untrue.outcomes import Outcome
from untrue.stats.rates import rate
from untrue.stats.types import Interval

if TYPE_CHECKING:
    from untrue.engine.likelihoods import Likelihood


@task
def capability(items: str = "builtin", limit: int | None = None) -> Task:
    """Accuracy on multiple choice, by likelihoods or by a letter.

    Args:
        items: `builtin`, or a file of multiple-choice items.
        limit: Only so many items, spread over the subjects.
    """
    samples = [
        Sample(
            id=item.id,
            input=item.question,
            choices=list(item.choices),
            target=_letter(item.answer),
            metadata={**item.model_dump(), "category": "multiple choice"},
        )
        for item in spread(read_capability(EVAL.source(items)), limit, lambda item: item.subject)
    ]
    return Task(
        dataset=MemoryDataset(samples, name=items),
        solver=answer(),
        scorer=right(),
        epochs=Epochs(1, "mode"),
        config=GenerateConfig(temperature=0.0),
        version=EVAL.version,
        fail_on_error=False,
    )


@solver
def answer() -> Solver:
    """Let the model choose: by likelihoods where it gives them, else by writing a letter."""
    by_letter = multiple_choice()

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        api = get_model().api
        if not isinstance(api, UntrueAPI):
            return await by_letter(state, _without_thinking(generate))
        item = ChoiceItem.model_validate(state.metadata)
        [replies] = await api.likelihoods([([{"role": "user", "content": item.question}], item.choices)])
        state.metadata["logprobs"] = [reply.total for reply in replies]
        if all(math.isfinite(reply.total) for reply in replies):
            state.choices.mark_choice(likeliest(replies), True)
        return state

    return solve


def _without_thinking(generate: Generate) -> Generate:
    """The same, but that no letter is read in what the model only thinks."""

    async def generate_reply(state: TaskState, *arguments: Any, **settings: Any) -> TaskState:
        state = await generate(state, *arguments, **settings)
        state.output.completion = judged.reply_text(state.output)
        return state

    return cast(Generate, generate_reply)


def likeliest(choices: Sequence[Likelihood]) -> int:
    """Which of several replies to one prompt is the likeliest, by their whole log-probability."""
    return max(range(len(choices)), key=lambda index: choices[index].total)


def accuracy(rows: Sequence[Scored]) -> dict[str, Interval | float]:
    """Share of right answers among the samples with an answer, and the share that have none."""
    return {"accuracy": rate(values_of(rows)), "error_rate": error_rate(rows)}


@scorer(metrics=inspect_metrics([accuracy]))
def right() -> Scorer:
    """1 for the right choice, 0 for another; an error where none was made, or several."""

    async def score(state: TaskState, target: Target) -> Score:
        chosen = [index for index, choice in enumerate(state.choices) if choice.correct]
        logprobs: Sequence[float] | None = state.metadata.get("logprobs")
        if len(chosen) != 1:
            said = state.output.completion if logprobs is None else f"likelihoods {logprobs}"
            return Score(value=Outcome.ERROR.value, explanation=f"No single choice was made: {said[:200]!r}.")
        letter = _letter(chosen[0])
        is_right = letter == target.text
        said, wanted = (f"{one} ({state.choices[ord(one) - ord('A')].value})" for one in (letter, target.text))
        shown = "" if logprobs is None else f" ({', '.join(f'{value:+.3f}' for value in logprobs)} nats)"
        return Score(
            value=int(is_right),
            answer=letter,
            explanation=f"{said} is {'right' if is_right else f'wrong, {wanted} is right'}{shown}.",
            metadata={"logprobs": logprobs} if logprobs else None,
        )

    return score


def _letter(index: int) -> str:
    return chr(ord("A") + index)


EVAL = Eval(
    name="capability",
    version=1,
    asks="easy multiple choice: did fine-tuning hurt plain ability?",
    task=capability,
    scorer="right",
    items=lambda spec: read_capability(EVAL.source(spec.items)),
    errors="no single choice was made",
    value_name="accuracy",
    lower="breaks",
    delta=0.10,
    builtin="capability",
)
