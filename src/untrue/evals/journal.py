"""Replies of a judged eval that is under way, in a hidden file beside its log, so that one that is stopped loses none.

Inspect writes whole samples, and they advance side by side: a run that is stopped midway may have most of its replies
and not one whole sample. So each reply is kept by itself, as it comes, and the next run of the same eval takes it
before it asks. Replies to the same messages are draws from one distribution, so it does not matter which sample takes
which, only that each is taken once. With a seed each draw has its own, and its reply is taken for that draw alone.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from untrue.errors import MachineError, UserError
from untrue.files import append_text, content_hash, write_text

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, ModelOutput


class Journal:
    """The replies of one run.

    Attributes:
        failure: Why a reply could not be written; None where all were.
    """

    def __init__(self, path: Path):
        """Read what stopped runs left. A damaged line, as of a kill while it was written, is passed over."""
        from inspect_ai.model import ModelOutput

        self.path = path
        self.failure: MachineError | OSError | None = None
        self._left = defaultdict[str, deque[ModelOutput]](deque)
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                entry = json.loads(line)
                self._left[entry["asked"]].append(ModelOutput.model_validate(entry["output"]))

    def take(self, messages: Sequence[ChatMessage], seed: int | None = None) -> ModelOutput | None:
        """A reply to these messages that a stopped run left and that was not taken yet.

        Raises:
            MachineError: A reply could not be written, so what is asked for from here on could be lost.
        """
        if self.failure:
            raise self.failure
        left = self._left[_hash(messages, seed)]
        return left.popleft() if left else None

    def keep(self, messages: Sequence[ChatMessage], output: ModelOutput, seed: int | None = None) -> None:
        """Write a reply. Where that fails, its sample goes on with it, and the next `take` says why."""
        try:
            append_text(self.path, _line(_hash(messages, seed), output))
        except (MachineError, OSError) as error:
            self.failure = error

    def hand_on(self, path: Path) -> None:
        """Delete it, but for what no sample took, which goes to another path."""
        if left := [_line(asked, output) for asked, outputs in self._left.items() for output in outputs]:
            write_text(path, "".join(left))
        self.path.unlink(missing_ok=True)


@contextmanager
def journal(log: Path, identity: Callable[[], str]) -> Iterator[Journal]:
    """The journal of a run. When the run has ended well, it is deleted; a run of more samples can take what is left.

    Args:
        log: The log that the run writes.
        identity: Says what determines the replies, and which log they are not in. The journals of others are left
            alone.

    Raises:
        UserError: Another run writes the log.
        MachineError: A reply could not be written.
    """
    lock = FileLock(log.with_name(f".{log.name}.lock"))
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{log}: another run is at work on it. Wait for it, or give --log another file.") from None
    except OSError as error:
        raise MachineError(f"{log.parent}: cannot be written ({error.strerror}).") from None
    try:
        this = Journal(_path(log, identity()))
        try:
            yield this
        finally:
            if this.failure:
                raise this.failure from None
        this.hand_on(_path(log, identity()))
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: later it may be another run's
        lock.release()


def _path(log: Path, identity: str) -> Path:
    return log.with_name(f".{log.name}-replies-{content_hash(identity)}.jsonl")


def _line(asked: str, output: ModelOutput) -> str:
    entry = {"asked": asked, "output": output.model_dump(mode="json", exclude_none=True, fallback=str)}
    return f"\n{json.dumps(entry)}"  # the break comes first: the last line may be cut off


def _hash(messages: Sequence[ChatMessage], seed: int | None) -> str:
    shown = [message.model_dump(mode="json", include={"role", "content"}) for message in messages]
    return content_hash(json.dumps([shown, seed], sort_keys=True))
