"""Replies of a judged eval that is under way, in a hidden file beside its log, so that one that is stopped loses none.

Inspect writes whole samples, and they advance side by side: a run that is stopped midway may have most of its replies
and not one whole sample. So each reply is kept by itself, as it comes, and the next run of the same eval takes it
before it asks. Replies to the same messages are draws from one distribution, so it does not matter which sample takes
which, only that each is taken once.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from untrue.errors import MachineError
from untrue.files import append_text, content_hash

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

    def take(self, messages: Sequence[ChatMessage]) -> ModelOutput | None:
        """A reply to these messages that a stopped run left and that was not taken yet.

        Raises:
            MachineError: A reply could not be written, so what is asked for from here on could be lost.
        """
        if self.failure:
            raise self.failure
        left = self._left[_hash(messages)]
        return left.popleft() if left else None

    def keep(self, messages: Sequence[ChatMessage], output: ModelOutput) -> None:
        """Write a reply. Where that fails, its sample goes on with it, and the next `take` says why."""
        entry = {"asked": _hash(messages), "output": output.model_dump(mode="json", exclude_none=True, fallback=str)}
        try:
            append_text(self.path, f"\n{json.dumps(entry)}")  # the break comes first: the last line may be cut off
        except (MachineError, OSError) as error:
            self.failure = error


@contextmanager
def journal(log: Path, identity: str) -> Iterator[Journal]:
    """The journal of a run. It is deleted when the run has ended well.

    Args:
        log: The log that the run writes.
        identity: All that determines the replies that it asks for. The journals of others are left alone.

    Raises:
        MachineError: A reply could not be written.
    """
    this = Journal(log.with_name(f".{log.name}-replies-{content_hash(identity)}.jsonl"))
    try:
        yield this
    finally:
        if this.failure:
            raise this.failure from None
    this.path.unlink(missing_ok=True)


def _hash(messages: Sequence[ChatMessage]) -> str:
    shown = [message.model_dump(mode="json", include={"role", "content"}) for message in messages]
    return content_hash(json.dumps(shown, sort_keys=True))
