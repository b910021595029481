"""One run of a judged eval: what an earlier run of it kept, and how far this one is.

A log keeps each sample's replies. So where a judge failed, the same replies are judged again; a model is asked again
only where it gave none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from untrue.errors import UserError
from untrue.evals.calls import Calls
from untrue.evals.journal import Journal
from untrue.evals.spec import VERSIONS, EvalSpec
from untrue.files import content_hash
from untrue.judge.cache import identity
from untrue.judge.prompts import PROMPTS

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import GenerateConfig, Model
    from inspect_ai.solver import TaskState

Key = tuple[str, int]
"""Id of an item and epoch."""

MARK = "untrue_replies"
"""Where a log's metadata says what determines its replies, but for luck and the content of each sample."""

ADDED = ("replies", "elicited")
"""What a run adds to the metadata of its samples."""

ELSEWHERE = "Give --log another file (in a study, the eval a `label`), or delete it."
"""What to do about a log that is not to be replaced."""


class Count(NamedTuple):
    """Replies of the model under study and judgements of the judge."""

    replies: int
    judgements: int


@dataclass
class Round:
    """One run.

    Attributes:
        kept: The samples of an earlier run that have all their replies.
        beliefs: Item -> what was elicited for it then, for all its epochs.
        planned: Item -> what it takes.
        journal: Where replies are written as they come, and where a stopped run left its own.
        tell: Called with replies and judgements that are done.
    """

    kept: Mapping[Key, EvalSample] = field(default_factory=dict)
    beliefs: Mapping[str, Any] = field(default_factory=dict)
    planned: Mapping[str, Calls] = field(default_factory=dict)
    journal: Journal | None = None
    tell: Callable[[Count], None] = lambda done: None

    def __post_init__(self) -> None:
        """Nothing is done yet."""
        self._replies, self._judgements, self._done = 0, 0, dict[Key, int]()

    def replied(self) -> None:
        """A reply has come."""
        self._replies += 1
        self._tell()

    def judged(self, key: Key, count: int) -> None:
        """A sample has so many judgements by now."""
        if key[0] in self.planned:
            self._judgements += count - self._done.get(key, 0)
            self._done[key] = count
            self._tell()

    def finished(self, key: Key) -> None:
        """A sample has all judgements that it takes, be it that some were not needed."""
        if calls := self.planned.get(key[0]):
            self.judged(key, len(calls.judged_once) + len(calls.judged_each))

    def _tell(self) -> None:
        self.tell(Count(self._replies, self._judgements))


_ROUND: ContextVar[Round | None] = ContextVar("round", default=None)


def current() -> Round:
    """The run that is under way; one that keeps and tells nothing where Inspect itself began it."""
    return _ROUND.get() or Round()


@contextmanager
def running(this: Round) -> Iterator[None]:
    """Make a run the current one."""
    token = _ROUND.set(this)
    try:
        yield
    finally:
        _ROUND.reset(token)


def take_kept(state: TaskState) -> bool:
    """Give a sample the replies that it had before, if it had them all."""
    before = current().kept.get((str(state.sample_id), state.epoch))
    if before is None:
        return False
    state.metadata |= {name: before.metadata[name] for name in ADDED if name in before.metadata}
    state.messages, state.output = list(before.messages), before.output
    return True


class Earlier(NamedTuple):
    """What a log holds of the replies that a run asks for.

    Attributes:
        samples: Those with all their replies.
        beliefs: Item -> what was elicited for it.
        settled: Those that did not fail, and that the run's judge judged.
    """

    samples: dict[Key, EvalSample]
    beliefs: dict[str, Any]
    settled: set[Key]


def replies_mark(
    spec: EvalSpec, model: Model, defaults: GenerateConfig, adapter: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What determines the reply to a sample, by name, but for luck and the sample: not the judge.

    Args:
        spec: The eval.
        model: The model under study.
        defaults: What the eval samples with where the spec says nothing.
        adapter: What the log says of the model's adapter.
    """
    own = spec.model_dump(
        mode="json", exclude={"name", "label", "judge", "force_self_judge", "items", "limit", "epochs"}
    )
    for name in ("temperature", "max_tokens"):
        own[name] = getattr(defaults, name) if own[name] is None else own[name]
    about = {"eval": spec.name, "version": VERSIONS[spec.name], "model": str(model)}
    weights = {"adapter": adapter and adapter["content_hash"], "adapter_proof": adapter and adapter.get("served")}
    return {**about, **own, **weights, "model_settings": content_hash(identity(model))}


def read_earlier(log: Path, mark: Mapping[str, Any], samples: Sequence[Sample], epochs: int, judge_id: str) -> Earlier:
    """What an earlier run left of what this one asks for; nothing where there is no log.

    Args:
        log: The `.eval` file.
        mark: What `replies_mark` says of this run.
        samples: What this run asks.
        epochs: How often.
        judge_id: `Judge.id` of this run's judge.

    Raises:
        UserError: The log holds other replies, which writing this run's log would lose, or cannot be read.
    """
    content = open_log(log) if log.is_file() else None
    found = content.samples or [] if content else []
    before = (content.eval.metadata or {}).get(MARK) if content else None
    same = before == mark
    asked = {str(sample.id): _asked(sample) for sample in samples} if same else {}
    ours = [one for one in found if asked.get(str(one.id)) == _asked(one)]
    kept = {key: one for key, one in _replied(ours).items() if one.epoch <= epochs}
    lost = [key for key in _replied(found) if key not in kept]
    if lost:
        raise UserError(f"{log}: holds {_difference(before, mark) or _unasked(lost)}. {ELSEWHERE}")
    beliefs = {str(one.id): one.metadata["elicited"] for one in ours if "elicited" in one.metadata}
    settled = {
        _key(one)
        for one in ours
        if not failed(one) and _details(one).get("judge_id") == judge_id and _asked_as_now(_details(one))
    }
    return Earlier(kept, beliefs, settled)


def _asked(sample: Sample | EvalSample) -> str:
    """Hash of what is asked in a sample, whether it was asked already or not."""
    metadata = {name: value for name, value in (sample.metadata or {}).items() if name not in ADDED}
    return content_hash(json.dumps([str(sample.id), sample.input, metadata], sort_keys=True, default=_plain))


def _asked_as_now(details: Mapping[str, Any]) -> bool:
    """Whether the judge's questions are of today's versions."""
    versions = {prompt.name: prompt.version for prompt in PROMPTS}
    return all(versions.get(one["prompt"]) == one["version"] for one in details.get("judgements", ()))


def _difference(before: Any, mark: Mapping[str, Any]) -> str | None:
    if not isinstance(before, dict):
        return "replies that were made in another way"
    differing = [f"{key} {before.get(key)!r}, now {mark[key]!r}" for key in mark if before.get(key) != mark[key]]
    return f"replies with {'; '.join(differing[:3])}" if differing else None


def _unasked(lost: Sequence[Key]) -> str:
    item, epoch = lost[0]
    return f"replies to {len(lost)} samples that are not asked for now, such as {item} (epoch {epoch})"


class LastRun(NamedTuple):
    """Which samples of a log have all their replies, and which of them a judgement."""

    replied: set[Key]
    settled: set[Key]


def last_run(log: Path) -> LastRun:
    """What a log has, whatever it was made with; nothing where there is no log."""
    content = _open(log)
    samples = content.samples or [] if content else []
    return LastRun(set(_replied(samples)), {_key(one) for one in samples if not failed(one)})


def failed(sample: EvalSample) -> bool:
    """Whether the model gave no reply or the judge no judgement, so that asking again may help."""
    return sample.error is not None or not sample.scores or _details(sample).get("failed") in ("model", "judge")


def log_id(log: Path) -> str:
    """What Inspect calls a log, and no other; empty where there is none."""
    content = _open(log, header_only=True)
    return content.eval.eval_id if content else ""


def refuse_to_replace(log: Path) -> None:
    """Refuse to write a log of another kind over one of a judged eval.

    Raises:
        UserError: There is such a log.
    """
    content = _open(log, header_only=True)
    if content and MARK in (content.eval.metadata or {}):
        raise UserError(f"{log}: holds replies to {content.eval.task.rpartition('/')[2]}. {ELSEWHERE}")


def open_log(log: Path, header_only: bool = False) -> EvalLog:
    """A log as Inspect reads it.

    Args:
        log: The `.eval` file.
        header_only: Whether its samples are left out.

    Raises:
        UserError: The file is not a whole Inspect log.
    """
    from inspect_ai.log import read_eval_log

    from untrue.errors import UntrueError

    try:
        return read_eval_log(str(log), header_only=header_only)
    except Exception as error:  # the reader lets the errors of zip, JSON and pydantic through
        if isinstance(error, UntrueError):
            raise
        raise UserError(
            f"{log}: cannot be read as an Inspect log ({type(error).__name__}). Delete it and run again."
        ) from None


def _open(log: Path, header_only: bool = False) -> EvalLog | None:
    """A log; None where there is none, or a damaged one, which is made again."""
    try:
        return open_log(log, header_only) if log.is_file() else None
    except UserError:
        return None


def _replied(samples: Sequence[EvalSample]) -> dict[Key, EvalSample]:
    return {_key(one): one for one in samples if one.error is None and "replies" in one.metadata}


def _key(sample: EvalSample) -> Key:
    return str(sample.id), sample.epoch


def _details(sample: EvalSample) -> dict[str, Any]:
    score = next(iter((sample.scores or {}).values()), None)
    return (score.metadata or {}) if score else {}


def _plain(value: Any) -> Any:
    return value.model_dump(include={"role", "content"}) if hasattr(value, "model_dump") else str(value)
