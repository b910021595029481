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

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import Model
    from inspect_ai.solver import TaskState

Key = tuple[str, int]
"""Id of an item and epoch."""

MARK = "untrue_replies"
"""Where a log's metadata says what determines its replies."""


class Count(NamedTuple):
    """Replies of the model under study and verdicts of the judge."""

    replies: int
    verdicts: int


@dataclass
class Round:
    """One run.

    Attributes:
        kept: The samples of an earlier run that have all their replies.
        beliefs: Item -> what was elicited for it then, for all its epochs.
        planned: Item -> what it takes.
        journal: Where replies are written as they come, and where a stopped run left its own.
        tell: Called with replies and verdicts that are done.
    """

    kept: Mapping[Key, EvalSample] = field(default_factory=dict)
    beliefs: Mapping[str, Any] = field(default_factory=dict)
    planned: Mapping[str, Calls] = field(default_factory=dict)
    journal: Journal | None = None
    tell: Callable[[Count], None] = lambda done: None

    def __post_init__(self) -> None:
        """Nothing is done yet."""
        self._replies, self._verdicts, self._done = 0, 0, dict[Key, int]()

    def replied(self) -> None:
        """A reply has come."""
        self._replies += 1
        self._tell()

    def judged(self, key: Key, count: int) -> None:
        """A sample has so many verdicts by now."""
        if key[0] in self.planned:
            self._verdicts += count - self._done.get(key, 0)
            self._done[key] = count
            self._tell()

    def finished(self, key: Key) -> None:
        """A sample has all verdicts that it takes, be it that some were not needed."""
        if calls := self.planned.get(key[0]):
            self.judged(key, len(calls.judged_once) + len(calls.judged_each))

    def _tell(self) -> None:
        self.tell(Count(self._replies, self._verdicts))


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
    state.metadata |= {name: before.metadata[name] for name in ("replies", "elicited") if name in before.metadata}
    state.messages, state.output = list(before.messages), before.output
    return True


class Earlier(NamedTuple):
    """What a log of the same replies holds.

    Attributes:
        log_id: What Inspect calls that log, and no other.
        samples: Those with all their replies.
        beliefs: Item -> what was elicited for it.
        unjudged: Of all, those that failed, or that another judge judged.
        total: Samples in all.
    """

    log_id: str
    samples: dict[Key, EvalSample]
    beliefs: dict[str, Any]
    unjudged: list[Key]
    total: int


def replies_identity(
    spec: EvalSpec, model: Model, samples: Sequence[Sample], adapter: Mapping[str, str] | None = None
) -> str:
    """Hash of all that determines the replies of an eval, but for luck: not the judge."""
    own = spec.model_dump(mode="json", exclude={"label", "judge", "force_self_judge", "items", "limit"})
    asked = [[sample.id, sample.input, sample.metadata] for sample in samples]
    content = [own, VERSIONS[spec.name], identity(model), asked, adapter and adapter["content_hash"]]
    return content_hash(json.dumps(content, sort_keys=True, default=_plain))


def read_earlier(log: Path, mark: str, judge_id: str | None) -> Earlier | None:
    """What an earlier run of the same eval left; None where there is no log, or one of other replies.

    Args:
        log: The `.eval` file.
        mark: What `replies_identity` says of this run.
        judge_id: `Judge.id` of this run's judge.
    """
    content = _open(log)
    if content is None or (content.eval.metadata or {}).get(MARK) != mark:
        return None
    samples = content.samples or []
    beliefs = {str(one.id): one.metadata["elicited"] for one in samples if "elicited" in one.metadata}
    unjudged = [_key(one) for one in samples if failed(one) or _details(one).get("judge_id") != judge_id]
    return Earlier(content.eval.eval_id, _replied(samples), beliefs, unjudged, len(samples))


class LastRun(NamedTuple):
    """Which samples of a log have all their replies, and which of them a verdict."""

    replied: set[Key]
    settled: set[Key]


def last_run(log: Path) -> LastRun:
    """What a log has, whatever it was made with; nothing where there is no log."""
    content = _open(log)
    samples = content.samples or [] if content else []
    return LastRun(set(_replied(samples)), {_key(one) for one in samples if not failed(one)})


def failed(sample: EvalSample) -> bool:
    """Whether the model gave no reply or the judge no verdict, so that asking again may help."""
    return sample.error is not None or not sample.scores or _details(sample).get("failed") in ("model", "judge")


def open_log(log: Path) -> EvalLog:
    """A log as Inspect reads it.

    Raises:
        UserError: The file is not a whole Inspect log.
    """
    from inspect_ai.log import read_eval_log

    from untrue.errors import UntrueError

    try:
        return read_eval_log(str(log))
    except Exception as error:  # the reader lets the errors of zip, JSON and pydantic through
        if isinstance(error, UntrueError):
            raise
        raise UserError(
            f"{log}: cannot be read as an Inspect log ({type(error).__name__}). Delete it and run again."
        ) from None


def _open(log: Path) -> EvalLog | None:
    """A log; None where there is none, or a damaged one, which is made again."""
    try:
        return open_log(log) if log.is_file() else None
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
