"""What the judged evals share: the model replies, a judge reads its replies, and the log keeps both.

The solver writes `Replies` into the sample's metadata under `replies`; the scorer has them judged, so `inspect score`
can judge them again by another judge. A failure is the outcome `error` with its reason.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from inspect_ai.event import ModelEvent
from inspect_ai.log import transcript
from inspect_ai.model import ChatMessage, ContentReasoning, GenerateConfig, Model, ModelOutput, get_model
from inspect_ai.solver import Generate, TaskState

from untrue.errors import UserError
from untrue.files import derived_seed
from untrue.harness.eval import Decision, Eval, ItemPlan, JudgedSpec, Replies, chat
from untrue.harness.resume import current
from untrue.judge.judge import Judge, judge_for_task
from untrue.judge.judgement import JudgeError, Judgement
from untrue.judge.prompts import JudgePrompt
from untrue.models.chat import without_thinking
from untrue.models.families import THINK_CLOSE, THINK_OPEN
from untrue.outcomes import Outcome
from untrue.serving.client import reply


class RecordedJudge:
    """The judge of one sample. `judgements` keeps the questions, each label and the raw answer."""

    def __init__(self, judge: Judge):
        self._judge = judge
        self.judgements: list[dict[str, Any]] = []

    async def ask(self, about: str, prompt: JudgePrompt, **fields: str) -> Judgement:
        """Ask the judge, unless a text is empty; `about` is for the log, such as `belief 1`."""
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
        return judgement


def asking(record: Eval) -> Callable[[TaskState, Generate, Any], Awaitable[TaskState]]:
    """The solver: it elicits beliefs, once for all epochs, and the statement, or takes an earlier run's replies."""
    elicited = dict[tuple[Model, str], list[str]]()
    locks = defaultdict[tuple[Model, str], anyio.Lock](anyio.Lock)

    async def beliefs(plan: ItemPlan, item: str) -> list[str]:
        key = get_model(), item
        async with locks[key]:
            if key not in elicited:
                elicited[key] = current().beliefs.get(item) or [
                    without_thinking((await _ask_model(chat(plan.system, prompt), "neutral", number)).completion)
                    for number, prompt in enumerate(plan.beliefs)
                ]
        return elicited[key]

    async def ask(state: TaskState, generate: Generate, spec: JudgedSpec) -> TaskState:
        judge_for_task(spec.force_self_judge)  # refuses a missing judge before the model is asked
        if current().restore(state):
            return state
        replies: dict[str, Any] = {}
        plan = record.plan_of(state, spec)
        if plan.beliefs:
            replies["beliefs"] = state.metadata["elicited"] = await beliefs(plan, str(state.sample_id))
        state.output = await _ask_model(state.messages, state.epoch)
        state.messages.append(state.output.message)
        said = state.output
        replies["statement"] = with_thinking(said) if record.keeps_thinking else without_thinking(said.completion)
        replies["truncated"] = said.stop_reason in ("max_tokens", "model_length")
        state.metadata["replies"] = replies
        return state

    return ask


async def judged_decision(record: Eval, state: TaskState, force_self_judge: bool) -> Decision:
    """What a judged eval decides of a sample, with the judge's questions and answers as details."""
    judge = judge_for_task(force_self_judge)
    asked = RecordedJudge(judge)
    if "replies" not in state.metadata:
        decision = Decision(Outcome.ERROR, "The model gave no reply.", details={"failed": "model"})
    else:
        try:
            decision = await decide(record, state.metadata, asked)
        except JudgeError as error:
            decision = Decision(Outcome.ERROR, f"The judge gave no judgement: {error}.", details={"failed": "judge"})
    current().judged(str(state.sample_id))
    details = {
        "belief": decision.belief,
        "judge": judge.name,
        "judge_id": judge.id,
        "self_judged": judge.self_judged,
        "judgements": asked.judgements,
        "truncated": state.metadata.get("replies", {}).get("truncated", False),
    }
    return decision._replace(details={**details, **decision.details})


async def decide(record: Eval, metadata: Mapping[str, Any], judge: RecordedJudge) -> Decision:
    """What an eval decides of a sample with replies."""
    assert record.decide
    return await record.decide(record.item.model_validate(metadata), Replies(**metadata["replies"]), judge)


async def _ask_model(messages: list[ChatMessage], *draw: object) -> ModelOutput:
    """A reply of the model under study, or one to the same messages from a stopped run; each `draw` has a seed."""
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
    """Refuse a seed of the last call, which a solver cannot see before."""
    calls = [event for event in transcript().events if isinstance(event, ModelEvent)]
    if calls and calls[-1].config.seed is not None:
        raise UserError(
            f"seed={calls[-1].config.seed} is set on the task, so all epochs would get the same reply. Set it on the"
            " model: `inspect eval --seed`, or get_model(NAME, config=GenerateConfig(seed=…))."
        )


def with_thinking(output: ModelOutput) -> str:
    """A reply with `<think>` put back, if a provider took it out or the prompt opened it."""
    content = output.message.content
    text = output.completion
    if THINK_CLOSE in text.partition(THINK_OPEN)[0]:
        return THINK_OPEN + text
    if isinstance(content, str) or THINK_OPEN in text:
        return text
    return "".join([*(part.text for part in content if isinstance(part, ContentReasoning)), text])
