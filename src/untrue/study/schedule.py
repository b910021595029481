"""In which order the tasks of a study are given out, and what happens where one is lost: a loop without any machine.

An `Executor` does the tasks: Ray's workers, or in benchmarks/cluster.py workers that are simulated.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal, NamedTuple, Protocol, get_args

Kind = Literal["dialogues", "train", "eval"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The steps of a cell, in their order."""

Ending = Literal["done", "lost", "held", "failed"]
"""How a task ended: done; lost with its worker; not begun, since someone else is at work on it; or failed."""


@dataclass(frozen=True)
class Task:
    """One step of one cell.

    Attributes:
        cell: Name of the cell.
        kind: Which step.
        name: What it makes; unlike the cell's name where several cells share it.
        after: Names of the tasks that must be done before.
        work: Its expected time, in any unit.
    """

    cell: str
    kind: Kind
    name: str
    after: tuple[str, ...] = ()
    work: float = 1.0

    @property
    def claim(self) -> str:
        """Under which claim it is done."""
        return self.name if self.kind == "dialogues" else self.cell


class Ended(NamedTuple):
    """A task that has ended, and what there is to say of it."""

    name: str
    outcome: Ending
    message: str = ""


class Executor(Protocol):
    """Does tasks, several at a time."""

    def room(self) -> int:
        """How many tasks it may be given now, so that its workers are busy and its queue is short."""
        ...

    def submit(self, task: Task) -> None:
        """Begin a task as soon as there is a worker for it."""

    def wait(self) -> Sequence[Ended]:
        """Wait until at least one task has ended, or for some time."""
        ...


class Done(NamedTuple):
    """What became of all tasks.

    Attributes:
        failed: Name -> why, of the tasks that failed or were lost too often.
        skipped: Names of the tasks that could not begin, since one before them failed.
        lost: How often a task was lost with its worker.
    """

    failed: dict[str, str]
    skipped: list[str]
    lost: int


def schedule(
    tasks: Sequence[Task],
    executor: Executor,
    retries: int,
    on_ended: Callable[[Ended], None] = lambda ended: None,
) -> Done:
    """Do all tasks, the longest chain of work first; one that is lost is begun again, one that failed is not.

    Args:
        tasks: In any order.
        executor: Does them.
        retries: How often one task may be lost before it counts as failed.
        on_ended: Told of each task that ended.

    Returns:
        What was not done.
    """
    by_name = {task.name: task for task in tasks}
    waits = {task.name: {name for name in task.after if name in by_name} for task in tasks}
    followers = defaultdict[str, list[str]](list)
    for name, before in waits.items():
        for other in before:
            followers[other].append(name)
    urgency = _urgency(by_name, followers)
    ready: list[tuple[float, int, str]] = []
    order = {name: place for place, name in enumerate(by_name)}

    def make_ready(name: str) -> None:
        heappush(ready, (-urgency[name], order[name], name))

    for name, before in waits.items():
        if not before:
            make_ready(name)
    running, held = set[str](), list[str]()
    losses, failed, skipped = Counter[str](), dict[str, str](), dict[str, None]()
    while ready or running or held:
        for _ in range(min(executor.room(), len(ready))):
            name = heappop(ready)[-1]
            running.add(name)
            executor.submit(by_name[name])
        ended = executor.wait()
        for name in held:  # some time has passed: ask again
            make_ready(name)
        held.clear()
        for name, outcome, message in ended:
            running.discard(name)
            if outcome == "lost":
                losses[name] += 1
                if losses[name] <= retries:
                    make_ready(name)
                else:
                    outcome, message = "failed", f"lost with its worker {losses[name]} times ({message})"
            elif outcome == "held":
                held.append(name)
            if outcome == "done":
                for follower in followers[name]:
                    waits[follower].discard(name)
                    if not waits[follower]:
                        make_ready(follower)
            elif outcome == "failed":
                failed[name] = message
                skipped |= dict.fromkeys(_after(name, followers))
            on_ended(Ended(name, outcome, message))
    return Done(failed, [name for name in skipped if name not in failed], losses.total())


def _urgency(by_name: dict[str, Task], followers: dict[str, list[str]]) -> dict[str, float]:
    """The work of each task and of the longest chain of those that wait for it."""
    urgency: dict[str, float] = {}
    for name in by_name:
        stack = [name]
        while stack:
            now = stack[-1]
            if left := [other for other in followers[now] if other not in urgency]:
                stack += left
                continue
            urgency[now] = by_name[now].work + max((urgency[other] for other in followers[now]), default=0.0)
            stack.pop()
    return urgency


def _after(name: str, followers: dict[str, list[str]]) -> list[str]:
    """All tasks that wait for one, directly or not."""
    found, stack = dict[str, None](), [name]
    while stack:
        for other in followers[stack.pop()]:
            if other not in found:
                found[other] = None
                stack.append(other)
    return list(found)
