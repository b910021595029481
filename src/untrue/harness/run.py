"""Run evals on a model and write their logs; and what a judged one takes in calls, tokens and dollars, before that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai import Epochs, Task
from inspect_ai.dataset import Sample
from inspect_ai.model import Model
from inspect_ai.solver import Generate, Solver, TaskState, chain, solver

from untrue.engine.task import inspect_model, run_task
from untrue.errors import UserError, one_line
from untrue.harness import resume
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import REPLY_TOKENS, Eval, EvalSpec, JudgedSpec
from untrue.harness.resume import Key
from untrue.harness.tasks import JUDGED_SAMPLING, inspect_task
from untrue.judge.cost import CHARACTERS, Estimate, dollars, estimate, thinking
from untrue.judge.judge import Judge
from untrue.judge.models import check_answers, judge_model, parts
from untrue.logs import ADAPTER, IN_BATCHES, MODEL, TOKENISATION
from untrue.models.adapter import adapter_hash, in_format_of
from untrue.models.load import LoadedModel
from untrue.progress import Step

CHAT_TOKENS = 15
"""Tokens that a chat's own format takes."""


def run(
    loaded: LoadedModel,
    adapter: Path | None,
    spec: EvalSpec,
    log: Path,
    progress: Step = lambda done, total, note: None,
    seed: int = 0,
    only: Collection[str] | None = None,
    named: Path | None = None,
) -> None:
    """Run one eval on a model in memory and write its Inspect log.

    Args:
        loaded: The base model.
        adapter: Folder of an adapter, or None for the base itself.
        spec: The eval.
        log: The `.eval` file; it appears whole or not at all. A log of a judged eval that has replies by the same model
            with the same settings is completed. Until it is written, replies lie in a hidden file beside it.
        progress: Called as items are answered.
        seed: Of the model's replies; each item, epoch and draw has a seed of its own that is made from it.
        only: Of a judged eval, ids of the items that are needed: of others nothing new is asked. None for all.
        named: What the log calls the adapter, if its folder is about to be moved.

    Raises:
        UserError: The items or the adapter are not as expected, the log holds other replies to a judged eval, or the
            eval failed as a whole.
        KeyboardInterrupt: The user stopped it.
    """
    loaded = in_format_of(loaded, adapter)
    model = inspect_model(loaded, adapter, seed, named)
    try:
        weights = {"content_hash": adapter_hash(adapter)} if adapter else None
        about = {**loaded.about, TOKENISATION: loaded.tokenisation}
        run_model(model, spec, log, progress, weights, about, only)
    finally:
        model.api.close()


def run_model(
    model: Model,
    spec: EvalSpec,
    log: Path,
    progress: Step = lambda done, total, note: None,
    adapter: Mapping[str, str] | None = None,
    about: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    proved: str | None = None,
) -> None:
    """Run one eval on any of Inspect's models; arguments and errors are those of `run`, besides these.

    Args:
        adapter: What the log says of the adapter that the model has, its `content_hash` above all.
        about: What the log says of a model in this process: `LoadedModel.about`, and its tokenisation.
        proved: The name of a base that each server proves, with the adapter, before it is asked: another server, or
            the same one with the adapter under another name, may complete the log.
    """
    task = inspect_task(EVALS[spec.name])(**spec.arguments)
    metadata: dict[str, Any] = {ADAPTER: dict(adapter)} if adapter else {}
    if about:
        metadata[MODEL] = dict(about)
    if isinstance(spec, JudgedSpec):
        if only is not None:  # what the log has stays in it
            needed = {*only, *(item for item, _ in resume.last_run(log).replied)}
            items = len(task.dataset)
            task.dataset = task.dataset.filter(lambda sample: str(sample.id) in needed)
            if len(task.dataset) < items:
                metadata[IN_BATCHES] = items
        _run_judged(task, model, spec, log, progress, metadata, proved)
        return
    resume.refuse_to_replace(log)
    progress(0, len(task.dataset), "")
    task.solver = _counted(task.solver, len(task.dataset), progress)
    _run(task, model, spec, log, metadata)


def _counted(asking: Solver, total: int, progress: Step) -> Solver:
    """A solver that tells how many samples it has solved."""
    done = 0

    @solver(name="count")
    def count() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            nonlocal done
            done += 1
            progress(done, total, "")
            return state

        return solve

    return chain(asking, count())


def _run(
    task: Task, model: Model, spec: EvalSpec, log: Path, metadata: Mapping[str, Any], repeats: int = 1, **settings: Any
) -> None:
    errors = run_task(task, model, log, f"the eval {spec.name}", metadata=dict(metadata) or None, **settings)
    total = len(task.dataset) * repeats
    if len(errors) == total:
        raise UserError(f"the eval {spec.name} failed on all {total} items, first: {one_line(errors[0])}.")


def _run_judged(
    task: Task,
    model: Model,
    spec: JudgedSpec,
    log: Path,
    progress: Step,
    metadata: Mapping[str, Any],
    proved: str | None,
) -> None:
    if spec.judge is None:
        raise UserError(f"{spec.name} needs a judge. Name one, such as judge=openai/gpt-5-mini.")
    record, judge, epochs = EVALS[spec.name], judge_model(spec.judge), spec.epochs or 1
    mark = resume.replies_mark(record, spec, model, task.config, metadata.get(ADAPTER), proved)
    earlier = resume.read_earlier(log, mark, task.dataset, epochs, Judge(judge).id, record.questions)
    calls = planned(record, task.dataset)
    if all((item, epoch) in earlier.settled for item in calls for epoch in range(1, epochs + 1)):
        return
    check_answers(spec.judge)
    replies = sum(len(one.once) for item, one in calls.items() if item not in earlier.beliefs)
    replies += sum(len(one.each) for one in calls.values()) * epochs - len(earlier.samples)
    tally = _Tally(calls, replies, epochs, progress)
    sampling = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    settings = {name: value for name, value in sampling.items() if value is not None}
    if spec.epochs:
        settings["epochs"] = Epochs(spec.epochs, "mode")
    # The identity holds the log too: when a new one is in its place, what the journal has is in there, and counts once.
    with (
        resume.journal(log, lambda: f"{mark} {resume.log_id(log)}") as kept,
        resume.running(resume.Run(earlier.samples, earlier.beliefs, kept, tally.replied, tally.judged)),
    ):
        _run(task, model, spec, log, {resume.MARK: mark, **metadata}, epochs, roles={"judge": judge}, **settings)


class _Tally:
    """How far a judged eval is: replies and judgements."""

    def __init__(self, calls: Mapping[str, Calls], replies: int, epochs: int, progress: Step):
        self._calls, self._progress = calls, progress
        judgements = sum(len(one.judged_once) + len(one.judged_each) for one in calls.values()) * epochs
        self._all = replies, judgements
        self._replies, self._judged, self._of_sample = 0, 0, dict[Key, int]()
        self._tell()

    def replied(self) -> None:
        """A reply has come."""
        self._replies += 1
        self._tell()

    def judged(self, key: Key, count: int | None) -> None:
        """Update a sample's count of judgements; None marks it complete."""
        calls = self._calls[key[0]]
        count = len(calls.judged_once) + len(calls.judged_each) if count is None else count
        self._judged += count - self._of_sample.get(key, 0)
        self._of_sample[key] = count
        self._tell()

    def _tell(self) -> None:
        replies, judgements = self._all
        note = f"{self._replies} of {replies} replies, {self._judged} of {judgements} judgements"
        self._progress(min(self._replies + self._judged, replies + judgements), replies + judgements, note)


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
    epochs = range(1, (getattr(spec, "epochs", None) or 1) + 1)
    asked, judged = list[str](), list[str]()
    for item, calls in planned(record, record.samples(spec)).items():
        keys = [(item, epoch) for epoch in epochs]
        new = [key for key in keys if key not in replied]
        asked += calls.each * len(new)
        if len(new) == len(keys):
            asked += calls.once
        if unsettled := [key for key in keys if key not in settled]:
            judged += calls.judged_each * len(unsettled)
            judged += calls.judged_once
    limit = getattr(spec, "max_tokens", None) or {**JUDGED_SAMPLING, **record.sampling}["max_tokens"]
    read = round(sum(len(text) / CHARACTERS + CHAT_TOKENS for text in asked))
    written = min(limit, REPLY_TOKENS + thinking(model)) * len(asked)
    of_model = Estimate(len(asked), read, written, dollars(model, read, written))
    return Cost(of_model, estimate(parts(spec.judge_name or "")[0], judged))


def planned(record: Eval, samples: Iterable[Sample]) -> dict[str, Calls]:
    """Item -> what it takes."""
    plan = {}
    for sample in samples:
        own = record.plan(record.item.model_validate(sample.metadata))
        once = [f"{own.system} {prompt}" for prompt in own.beliefs]
        texts = [sample.input] if isinstance(sample.input, str) else [message.text for message in sample.input]
        plan[str(sample.id)] = Calls(once, [" ".join(texts)], [*own.judged_once], [*own.judged])
    return plan
