"""Run evals on a model and write their logs; estimate a judged one's calls, tokens and dollars before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai import Epochs, Task
from inspect_ai.dataset import Sample
from inspect_ai.model import Model

from untrue.engine.task import inspect_model, run_task
from untrue.errors import UserError, one_line
from untrue.harness import resume
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import REPLY_TOKENS, Eval, EvalSpec, ItemPlan, JudgedSpec
from untrue.harness.resume import Key
from untrue.harness.tasks import JUDGED_SAMPLING, inspect_task
from untrue.judge.cost import CHARACTERS, Estimate, dollars, estimate, thinking
from untrue.judge.judge import Judge
from untrue.judge.models import check_answers, judge_model, parts
from untrue.logs import ADAPTER, MODEL, TOKENISATION
from untrue.models.adapter import adapter_hash, in_format_of
from untrue.models.load import LoadedModel
from untrue.progress import Step

CHAT_TOKENS = 15  # tokens that a chat's own format takes


def run(
    loaded: LoadedModel,
    adapter: Path | None,
    spec: EvalSpec,
    log: Path,
    progress: Step = lambda done, total, note: None,
    seed: int = 0,
    named: Path | None = None,
) -> None:
    """Run one eval on a model in memory and write its Inspect log, whole or not at all.

    A log of a judged eval with the same model and settings is completed. Each item, epoch and draw gets its own seed,
    made from `seed`. `named` is what the log calls an adapter whose folder is about to be moved.
    """
    loaded = in_format_of(loaded, adapter)
    model = inspect_model(loaded, adapter, seed, named)
    try:
        weights = {"content_hash": adapter_hash(adapter)} if adapter else None
        about = {**loaded.about, TOKENISATION: loaded.tokenisation}
        run_model(model, spec, log, progress, weights, about)
    finally:
        model.api.close()


def run_model(
    model: Model,
    spec: EvalSpec,
    log: Path,
    progress: Step = lambda done, total, note: None,
    adapter: Mapping[str, str] | None = None,
    about: Mapping[str, str] | None = None,
    proved: str | None = None,
) -> None:
    """Run one eval on any of Inspect's models, as `run` does.

    `adapter` (above all its `content_hash`) and `about` (`LoadedModel.about`) go into the log. `proved` is the name of
    a base that each server proves first, with the adapter, so that another server may complete the log.
    """
    task = inspect_task(EVALS[spec.name])(**spec.arguments)
    metadata: dict[str, Any] = {ADAPTER: dict(adapter)} if adapter else {}
    if about:
        metadata[MODEL] = dict(about)
    if isinstance(spec, JudgedSpec):
        _run_judged(task, model, spec, log, progress, metadata, proved)
        return
    resume.refuse_to_replace(log)
    total, done = len(task.dataset), count(1)
    progress(0, total, "")
    with resume.running(resume.EvalRun(replied=lambda: progress(next(done), total, ""))):
        _run(task, model, spec, log, metadata)


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
    plans = planned(record, spec, task.dataset)
    if all((item, epoch) in earlier.settled for item in plans for epoch in range(1, epochs + 1)):
        return
    check_answers(spec.judge)
    replies = sum(len(plan.beliefs) for item, plan in plans.items() if item not in earlier.beliefs)
    tally = _Tally(plans, replies + len(plans) * epochs - len(earlier.samples), epochs, progress)
    sampling = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    settings = {name: value for name, value in sampling.items() if value is not None}
    if spec.epochs:
        settings["epochs"] = Epochs(spec.epochs, "mode")
    # The identity holds the log too: when a new one is in its place, what the journal has is in there, and counts once.
    with (
        resume.journal(log, lambda: f"{mark} {resume.log_id(log)}") as kept,
        resume.running(resume.EvalRun(earlier.samples, earlier.beliefs, kept, tally.replied, tally.judged)),
    ):
        _run(task, model, spec, log, {resume.MARK: mark, **metadata}, epochs, roles={"judge": judge}, **settings)


class _Tally:
    """Replies, and judgements of complete samples."""

    def __init__(self, plans: Mapping[str, ItemPlan], replies: int, epochs: int, progress: Step):
        self._progress = progress
        self._judgements = {item: len(plan.judged_once) + len(plan.judged) for item, plan in plans.items()}
        self._all = replies, sum(self._judgements.values()) * epochs
        self._replies = self._judged = 0
        self._tell()

    def replied(self) -> None:
        self._replies += 1
        self._tell()

    def judged(self, item: str) -> None:
        self._judged += self._judgements[item]
        self._tell()

    def _tell(self) -> None:
        replies, judgements = self._all
        note = f"{self._replies} of {replies} replies, {self._judged} of {judgements} judgements"
        self._progress(min(self._replies + self._judged, replies + judgements), replies + judgements, note)


class Cost(NamedTuple):
    """What an eval takes of the model under study, and of its judge at most."""

    model: Estimate
    judge: Estimate

    @property
    def dollars(self) -> float | None:
        """Both together; None if a price is unknown."""
        if self.model.dollars is None or self.judge.dollars is None:
            return None
        return self.model.dollars + self.judge.dollars


def cost(
    record: Eval, spec: EvalSpec, model: str, replied: Collection[Key] = (), settled: Collection[Key] = ()
) -> Cost:
    """Rough cost of a judged eval on a model of Inspect's, without loading or asking it.

    `replied` are samples with replies of an earlier run; `settled` the judged ones of them.
    """
    epochs = range(1, (getattr(spec, "epochs", None) or 1) + 1)
    asked, judged = list[str](), list[str]()
    for item, plan in planned(record, spec, record.samples(spec)).items():
        keys = [(item, epoch) for epoch in epochs]
        new = [key for key in keys if key not in replied]
        prompt = plan.prompt if isinstance(plan.prompt, str) else " ".join(message.text for message in plan.prompt)
        asked += [prompt] * len(new)
        if len(new) == len(keys):
            asked += [f"{plan.system} {belief}" for belief in plan.beliefs]
        if unsettled := [key for key in keys if key not in settled]:
            judged += [*plan.judged] * len(unsettled)
            judged += plan.judged_once
    limit = getattr(spec, "max_tokens", None) or {**JUDGED_SAMPLING, **record.sampling}["max_tokens"]
    read = round(sum(len(text) / CHARACTERS + CHAT_TOKENS for text in asked))
    written = min(limit, REPLY_TOKENS + thinking(model)) * len(asked)
    of_model = Estimate(len(asked), read, written, dollars(model, read, written))
    return Cost(of_model, estimate(parts(spec.judge_name or "")[0], judged))


def planned(record: Eval, spec: EvalSpec, samples: Iterable[Sample]) -> dict[str, ItemPlan]:
    """Item -> what it takes."""
    return {str(sample.id): record.plan_of(sample, spec) for sample in samples}
