"""Resumes a judged eval: what was answered is not asked again.

A log keeps each sample's replies, to be judged again if a judge failed. But Inspect writes whole samples, so each reply
is also kept as it comes, in a hidden file beside the log, and the next run of the same eval takes it. Replies to the
same messages are draws from one distribution, each taken once; with a seed, a reply is taken only for its own draw.
"""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput
from inspect_ai.solver import TaskState

from untrue.errors import MachineError, UserError
from untrue.files import append_text, content_hash, locked, write_text
from untrue.harness.eval import Eval, EvalSpec
from untrue.judge.judgement import identity
from untrue.judge.prompts import JudgePrompt
from untrue.logs import details_of, may_succeed, open_log, task_name

Key = tuple[str, int]  # id of an item and epoch

# Where a log's metadata says what determines its replies, but for luck and the content of each sample.
MARK = "untrue_replies"

ADDED = ("replies", "elicited")  # what a run adds to the metadata of its samples

ELSEWHERE = "Give --log another file (in a study, the eval a `label`), or delete it."


class Journal:
    """The replies of one run, and those of stopped runs."""

    def __init__(self, path: Path):
        self.path = path
        self.failure: MachineError | OSError | None = None
        self._left = defaultdict[str, deque[ModelOutput]](deque)
        # A damaged line, as of a kill while it was written, is passed over.
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                entry = json.loads(line)
                self._left[entry["asked"]].append(ModelOutput.model_validate(entry["output"]))

    def take(self, messages: Sequence[ChatMessage], seed: int | None = None) -> ModelOutput | None:
        """A reply of a stopped run to these messages; MachineError if an earlier reply could not be written."""
        if self.failure:
            raise self.failure
        left = self._left[_hash(messages, seed)]
        return left.popleft() if left else None

    def keep(self, messages: Sequence[ChatMessage], output: ModelOutput, seed: int | None = None) -> None:
        """Write a reply. If that fails, the next `take` says why."""
        try:
            append_text(self.path, _line(_hash(messages, seed), output))
        except (MachineError, OSError) as error:
            self.failure = error

    def hand_on(self, path: Path) -> None:
        """Delete it, except for untaken replies, which go to another path."""
        if left := [_line(asked, output) for asked, outputs in self._left.items() for output in outputs]:
            write_text(path, "".join(left))
        self.path.unlink(missing_ok=True)


@contextmanager
def journal(log: Path, identity: Callable[[], str]) -> Iterator[Journal]:
    """The journal of a run, deleted at a good end except for untaken replies; UserError if another run writes the log.

    `identity` says what determines the replies, and which log they are not in.
    """
    lock = log.with_name(f".{log.name}.lock")
    with locked(lock, log, "give --log another file"):
        try:
            kept = Journal(_path(log, identity()))
            try:
                yield kept
            finally:
                if kept.failure:
                    raise kept.failure from None
            kept.hand_on(_path(log, identity()))
        finally:
            lock.unlink(missing_ok=True)  # while it is held: later it may be another run's


def has_replies(log: Path) -> bool:
    """Whether a killed run left replies, of whatever model."""
    return any(log.parent.glob(f".{escape(log.name)}-replies-*"))


def _path(log: Path, identity: str) -> Path:
    return log.with_name(f".{log.name}-replies-{content_hash(identity)}.jsonl")


def _line(asked: str, output: ModelOutput) -> str:
    entry = {"asked": asked, "output": output.model_dump(mode="json", exclude_none=True, fallback=str)}
    return f"\n{json.dumps(entry)}"  # the break comes first: the last line may be cut off


def _hash(messages: Sequence[ChatMessage], seed: int | None) -> str:
    shown = [message.model_dump(mode="json", include={"role", "content"}) for message in messages]
    return content_hash(json.dumps([shown, seed], sort_keys=True))


@dataclass
class EvalRun:
    """One run of an eval; one that Inspect itself began keeps and tells nothing.

    `kept` are the samples of an earlier run with all their replies, and `beliefs` what was elicited for items then.
    `judged` is called with the item of a sample that needs no more judgements.
    """

    kept: Mapping[Key, EvalSample] = field(default_factory=dict)
    beliefs: Mapping[str, Any] = field(default_factory=dict)
    journal: Journal | None = None
    replied: Callable[[], None] = lambda: None
    judged: Callable[[str], None] = lambda item: None

    def restore(self, state: TaskState) -> bool:
        """Give a sample all its earlier replies, if they are complete."""
        before = self.kept.get((str(state.sample_id), state.epoch))
        if before:
            state.metadata |= {name: before.metadata[name] for name in ADDED if name in before.metadata}
            state.messages, state.output = list(before.messages), before.output
        return before is not None


_RUN: ContextVar[EvalRun | None] = ContextVar("run", default=None)


def current() -> EvalRun:
    """The run under way, for solvers and scorers, which cannot get it as an argument."""
    return _RUN.get() or EvalRun()


@contextmanager
def running(run: EvalRun) -> Iterator[None]:
    """Make a run the current one."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


class Earlier(NamedTuple):
    """The replies in a log that a run asks for; `settled` are the judged samples."""

    samples: dict[Key, EvalSample]
    beliefs: dict[str, Any]
    settled: set[Key]


def replies_mark(
    record: Eval,
    spec: EvalSpec,
    model: Model,
    defaults: GenerateConfig,
    adapter: Mapping[str, str] | None = None,
    proved: str | None = None,
) -> dict[str, Any]:
    """What determines the reply to a sample, by name, except for luck, the sample and the judge."""
    how = record.reply_identity(spec)
    for name in ("temperature", "max_tokens"):
        how[name] = getattr(defaults, name) if how[name] is None else how[name]
    weights = {"adapter": adapter and adapter["content_hash"], "adapter_proof": adapter and adapter.get("served")}
    return {**how, "model": proved or str(model), **weights, "model_settings": content_hash(identity(model, proved))}


def read_earlier(
    log: Path,
    mark: Mapping[str, Any],
    samples: Sequence[Sample],
    epochs: int,
    judge_id: str,
    questions: Sequence[JudgePrompt],
) -> Earlier:
    """The useful part of an earlier run; UserError if other replies in its log would be lost."""
    content = open_log(log) if log.is_file() else None
    earlier = content.samples or [] if content else []
    before = (content.eval.metadata or {}).get(MARK) if content else None
    asked = {str(sample.id): _asked(sample) for sample in samples} if before == mark else {}
    ours = [sample for sample in earlier if asked.get(str(sample.id)) == _asked(sample)]
    kept = {key: sample for key, sample in _replied(ours).items() if sample.epoch <= epochs}
    if lost := [key for key in _replied(earlier) if key not in kept]:
        raise UserError(f"{log}: holds {_difference(before, mark) or _unasked(lost)}. {ELSEWHERE}")
    beliefs = {str(sample.id): sample.metadata["elicited"] for sample in ours if "elicited" in sample.metadata}
    versions = {question.name: question.version for question in questions}
    settled = {
        _key(sample)
        for sample in ours
        if not may_succeed(sample)
        and details_of(sample).get("judge_id") == judge_id
        and all(versions.get(one["prompt"]) == one["version"] for one in details_of(sample).get("judgements", ()))
    }
    return Earlier(kept, beliefs, settled)


def _asked(sample: Sample | EvalSample) -> str:
    metadata = {name: value for name, value in (sample.metadata or {}).items() if name not in ADDED}
    return content_hash(json.dumps([str(sample.id), sample.input, metadata], sort_keys=True, default=_plain))


def _difference(before: Any, mark: Mapping[str, Any]) -> str | None:
    if not isinstance(before, dict):
        return "replies that were made in another way"
    differing = [f"{key} {before.get(key)!r}, now {mark[key]!r}" for key in mark if before.get(key) != mark[key]]
    return f"replies with {'; '.join(differing[:3])}" if differing else None


def _unasked(lost: Sequence[Key]) -> str:
    item, epoch = lost[0]
    return f"replies to {len(lost)} samples that are not asked for now, such as {item} (epoch {epoch})"


def last_run(log: Path) -> tuple[set[Key], set[Key]]:
    """The samples of a log with all their replies, and those of them with a judgement."""
    content = _open(log)
    samples = content.samples or [] if content else []
    return set(_replied(samples)), {_key(sample) for sample in samples if not may_succeed(sample)}


def log_id(log: Path) -> str:
    """Inspect's unique id of a log; empty if there is none."""
    content = _open(log, header_only=True)
    return content.eval.eval_id if content else ""


def refuse_to_replace(log: Path) -> None:
    """UserError if the log of a judged eval would be replaced by another kind."""
    content = _open(log, header_only=True)
    if content and MARK in (content.eval.metadata or {}):
        raise UserError(f"{log}: holds replies to {task_name(content)}. {ELSEWHERE}")


def _open(log: Path, header_only: bool = False) -> EvalLog | None:
    try:
        return open_log(log, header_only) if log.is_file() else None
    except UserError:
        return None


def _replied(samples: Sequence[EvalSample]) -> dict[Key, EvalSample]:
    return {_key(sample): sample for sample in samples if sample.error is None and "replies" in sample.metadata}


def _key(sample: EvalSample) -> Key:
    return str(sample.id), sample.epoch


def _plain(value: Any) -> Any:
    return value.model_dump(include={"role", "content"}) if hasattr(value, "model_dump") else str(value)
