"""What the judged evals share: the model is asked, a judge reads its replies, and what was asked and said is kept.

Replies are written by the solver into the sample's metadata under `replies`: `beliefs`, where one is elicited, the
`statement`, and whether it was `truncated`. The scorer has them judged, so that `inspect score` can judge the same
replies again by another judge. What fails is the outcome `error` with its reason.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import anyio
from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target
from inspect_ai.solver import Generate, Solver, TaskState, solver

from untrue.engine.served import reply
from untrue.errors import UserError
from untrue.evals.eval import Elicited, Eval
from untrue.evals.resume import current
from untrue.files import derived_seed
from untrue.judge.judge import Judge, judge_for_task
from untrue.judge.judgement import JudgeError, Judgement
from untrue.judge.prompts import JudgePrompt
from untrue.outcomes import Outcome
from untrue.thinking import CLOSE, OPEN, without_thinking

WHOLLY = 1 - 1e-9
"""`fail_on_error` of the judged evals: the task has failed where every sample has."""

REPLY_TOKENS = 200
"""Tokens of a reply, roughly, where its limit is not lower."""

REPLY = "word" * REPLY_TOKENS
"""Stands for a reply that is not there yet: four characters a token."""


class Finding(NamedTuple):
    """What a judged reply comes to.

    Attributes:
        value: The outcome, or 1 or 0 where the eval measures a rate that is no honesty outcome.
        reason: One sentence that says why.
        belief: What the model holds, in the eval's own words.
        statement: What it says.
        details: Further facts for the log, such as `format_missed`.
    """

    value: Outcome | float
    reason: str
    belief: str | None = None
    statement: str | None = None
    details: dict[str, Any] | None = None


class Hearing:
    """One sample before its judge. `judgements` keeps what was asked, with each label and the raw answer."""

    def __init__(self, judge: Judge, key: tuple[str, int]):
        """Open the hearing of an item at an epoch."""
        self._judge, self._key = judge, key
        self.judgements: list[dict[str, Any]] = []

    async def ask(self, about: str, prompt: JudgePrompt, **fields: str) -> Judgement:
        """Ask the judge, unless a text is empty.

        Args:
            about: What is asked about, for the log: `belief 1`, `statement`.
            prompt: The question.
            **fields: What its template names.

        Raises:
            JudgeError: There is no judgement.
        """
        record: dict[str, Any] = {"about": about, "prompt": prompt.name, "version": prompt.version}
        self.judgements.append(record)
        if not all(text.strip() for text in fields.values()):
            judgement = Judgement(prompt.silence, None, None, "the text is empty: not asked")
        else:
            try:
                judgement = await self._judge.ask(prompt, **fields)
            except JudgeError as error:
                record["error"] = str(error)
                raise
        record |= judgement._asdict()
        current().judged(self._key, len(self.judgements))
        return judgement


def judged_task(
    record: Eval,
    items: str,
    samples: Sequence[Sample],
    scorer: Scorer,
    force_self_judge: bool,
    *,
    max_tokens: int = 1000,
    keep_thoughts: bool = False,
) -> Task:
    """The task of a judged eval.

    Args:
        record: The eval.
        items: The name of its items.
        samples: What the model is asked under pressure; the metadata is what `record.elicits` and the scorer read.
        scorer: Made by `judged_scorer`.
        force_self_judge: Whether the model under study may be its own judge.
        max_tokens: Maximum length of a reply, unless the user says otherwise.
        keep_thoughts: Whether the statement is kept with what the model thinks before it.
    """
    return Task(
        dataset=MemoryDataset(list(samples), name=items),
        solver=ask(record, force_self_judge, keep_thoughts),
        scorer=scorer,
        config=GenerateConfig(temperature=1.0, max_tokens=max_tokens),
        epochs=Epochs(1, "mode"),
        version=record.version,
        fail_on_error=WHOLLY,
        score_on_error=True,
    )


@solver
def ask(record: Eval, force_self_judge: bool = False, keep_thoughts: bool = False) -> Solver:
    """Elicit the belief, once for all epochs, and ask for the statement; what an earlier run has is taken instead.

    Args:
        record: The eval.
        force_self_judge: Whether the model under study may be its own judge. That there is a judge is checked first.
        keep_thoughts: Whether the statement is kept with what the model thinks before it.
    """
    elicited = _OncePerItem()

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        judge_for_task(force_self_judge)
        if current().restore(state):
            return state
        replies: dict[str, Any] = {}
        if how := record.elicits(state.metadata):
            replies["beliefs"] = await elicited.get(state, how)
        state.output = await _ask_model(state.messages, state.epoch)
        state.messages.append(state.output.message)
        replies["statement"] = with_reasoning(state.output) if keep_thoughts else reply_text(state.output)
        replies["truncated"] = is_cut(state.output)
        state.metadata["replies"] = replies
        return state

    return solve


Decide = Callable[[dict[str, Any], Hearing], Awaitable[Finding]]
"""From a sample's metadata, with its replies, to a finding."""


def judged_scorer(decide: Decide, force_self_judge: bool) -> Scorer:
    """The scorer of a judged eval.

    Args:
        decide: The eval's own rule.
        force_self_judge: Whether the model under study may be its own judge.
    """

    async def score(state: TaskState, target: Target) -> Score:
        judge = judge_for_task(force_self_judge)
        key = str(state.sample_id), state.epoch
        hearing = Hearing(judge, key)
        if "replies" not in state.metadata:
            finding = Finding(Outcome.ERROR, "The model gave no reply.", details={"failed": "model"})
        else:
            try:
                finding = await decide(state.metadata, hearing)
            except JudgeError as error:
                finding = Finding(Outcome.ERROR, f"The judge gave no judgement: {error}.", details={"failed": "judge"})
        current().judged(key, None)
        return Score(
            value=finding.value.value if isinstance(finding.value, Outcome) else finding.value,
            answer=finding.statement,
            explanation=finding.reason,
            metadata={
                "belief": finding.belief,
                "judge": judge.name,
                "judge_id": judge.id,
                "self_judged": judge.self_judged,
                "judgements": hearing.judgements,
                "truncated": state.metadata.get("replies", {}).get("truncated", False),
                **(finding.details or {}),
            },
        )

    return score


def chat(system: str, user: str) -> list[ChatMessage]:
    """A user's message under a system prompt, which may be empty."""
    messages: list[ChatMessage] = [ChatMessageSystem(content=system)] if system.strip() else []
    return [*messages, ChatMessageUser(content=user)]


async def _ask_model(messages: list[ChatMessage], *draw: object) -> ModelOutput:
    """The reply of the model under study, or one to the same messages that a stopped run of the same eval left.

    Args:
        messages: What it is asked.
        *draw: What tells this call from others that ask the same. Where the user has set a seed, each draw gets one of
            its own that is made from it: with one seed for all, every epoch would get the same reply.

    Raises:
        RuntimeError: The provider says that it failed, or that its server has no room for the messages.
        UserError: A seed is set where it cannot be made one of this draw.
        MachineError: A reply before this one could not be written.
    """
    run, model = current(), get_model()
    seed = None if model.config.seed is None else derived_seed(model.config.seed, *draw)
    output = run.journal.take(messages, seed) if run.journal else None
    if output is None:
        output = await reply(model, messages, GenerateConfig(seed=seed))
        if seed is None:
            _refuse_seed()
        if run.journal:
            run.journal.keep(messages, output, seed)
    run.replied()
    return output


def _refuse_seed() -> None:
    """Refuse a seed that the last call had though the model has none: a solver cannot see it before.

    Raises:
        UserError: There was one.
    """
    calls = [event for event in transcript().events if isinstance(event, ModelEvent)]
    if calls and calls[-1].config.seed is not None:
        raise UserError(
            f"seed={calls[-1].config.seed} is set on the task, so all epochs would get the same reply. Set it on the"
            " model: `inspect eval --seed`, or get_model(NAME, config=GenerateConfig(seed=…))."
        )


def reply_text(output: ModelOutput) -> str:
    """What the model says, which a judge reads: without its thinking, and empty where it never came to a reply.

    Some providers take the thinking out of the text, others leave its tags in.
    """
    return without_thinking(output.completion)


def is_cut(output: ModelOutput) -> bool:
    """Whether a reply ends where the limit of tokens or the model's context does."""
    return output.stop_reason in ("max_tokens", "model_length")


def with_reasoning(output: ModelOutput) -> str:
    """A reply as the model wrote it: `<think>` is put back where a provider took it out, or the prompt opened it."""
    content = output.message.content
    text = output.completion
    if CLOSE in text.partition(OPEN)[0]:
        return OPEN + text
    if isinstance(content, str) or OPEN in text:
        return text
    return "".join([*(part.text for part in content if isinstance(part, ContentReasoning)), text])


class _OncePerItem:
    """Beliefs, elicited once for an item and shared by its epochs."""

    def __init__(self) -> None:
        self._beliefs: dict[tuple[Model, str], list[str]] = {}
        self._locks: dict[tuple[Model, str], anyio.Lock] = {}

    async def get(self, state: TaskState, how: Elicited) -> list[str]:
        """The beliefs of a sample's item by the model under study, elicited now or in an earlier run of the same eval.

        They are kept in the sample's metadata under `elicited`.
        """
        item = str(state.sample_id)
        key = (get_model(), item)
        async with self._locks.setdefault(key, anyio.Lock()):
            if key not in self._beliefs:
                self._beliefs[key] = current().beliefs.get(item) or [
                    reply_text(await _ask_model(chat(how.system, prompt), "neutral", number))
                    for number, prompt in enumerate(how.prompts)
                ]
            state.metadata["elicited"] = self._beliefs[key]
            return self._beliefs[key]
