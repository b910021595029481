"""How well a large cluster is used: `study.schedule` gives out 10,000 cells to workers that are simulated.

    python benchmarks/cluster.py            makespan, work lost and the driver's own time, on 8, 64 and 512 workers
    python benchmarks/cluster.py ray        what Ray adds to a step: steps that do nothing, on this machine

The clock and the workers are simulated, the scheduling is that of `untrue run --on ray`, and the driver's time is
measured. `efficiency` is the least possible makespan over the makespan: all work divided by the workers, or the longest
cell, whichever is longer. With slow storage each step takes longer to begin, and one in a hundred much longer.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from untrue.study.schedule import Ended, Task, schedule

CELLS, RETRIES = 10_000, 3
TRAIN, EVAL, SPREAD = 0.5, 0.2, 0.5
"""Median hours of a training and of the evals of a cell, and the standard deviation of their logarithms."""

CHECKPOINT = 1 / 12
"""Hours between two checkpoints of a training; evals keep what was asked."""

REPLACED = 0.25
"""Hours until a lost worker is replaced."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes:
        lost: Share of the workers that are lost in an hour.
        storage: Hours that a step takes to begin; one in a hundred takes a hundred times as long.
    """

    lost: float = 0.0
    storage: float = 0.0


class Simulated:
    """Workers with a clock of their own: an `Executor`.

    Attributes:
        clock: Hours since the beginning.
        redone: Hours of work that were done again, or waited for storage.
        seconds: Seconds of this machine that the simulation itself took.
    """

    def __init__(self, workers: int, faults: Faults = Faults(), seed: int = 0):
        self.clock = self.redone = self.seconds = 0.0
        self._workers, self._faults, self._draw = workers, faults, Random(seed)
        self._free, self._given = workers, 0
        self._queue: deque[Task] = deque()
        self._left: dict[str, float] = {}
        self._events: list[tuple[float, int, str, str]] = []
        self._count = 0

    def room(self) -> int:
        """As `untrue.study.cluster` has it: two tasks for each worker."""
        return 2 * self._workers - self._given

    def submit(self, task: Task) -> None:
        """Begin a task, or queue it."""
        started = time.perf_counter()
        self._given += 1
        self._queue.append(task)
        self._begin()
        self.seconds += time.perf_counter() - started

    def wait(self) -> list[Ended]:
        """Move the clock to the next end of a task."""
        started = time.perf_counter()
        ended: list[Ended] = []
        while self._events and not ended:
            self.clock, _, name, what = heappop(self._events)
            if what != "lost":
                self._free += 1
            if what != "replaced":
                self._given -= 1
                ended.append(Ended(name, "done" if what == "done" else "lost", "simulated"))
            self._begin()
        self.seconds += time.perf_counter() - started
        return ended

    def _begin(self) -> None:
        while self._free and self._queue:
            task = self._queue.popleft()
            self._free -= 1
            left = self._left.get(task.name, task.work)
            slow = self._faults.storage * (100 if self._draw.random() < 0.01 else 1)
            survives = self._draw.expovariate(self._faults.lost) if self._faults.lost else float("inf")
            self.redone += slow
            if survives >= slow + left:
                self._event(slow + left, task.name, "done")
                continue
            done = max(0.0, survives - slow)
            kept = done // CHECKPOINT * CHECKPOINT
            self._left[task.name] = left - kept
            self.redone += done - kept
            self._event(survives, task.name, "lost")
            self._event(survives + REPLACED, task.name, "replaced")

    def _event(self, after: float, name: str, what: str) -> None:
        self._count += 1
        heappush(self._events, (self.clock + after, self._count, name, what))


class Measured(NamedTuple):
    """What a simulation gave; times in hours but where said."""

    workers: int
    faults: Faults
    makespan: float
    least: float
    redone: float
    lost: int
    failed: int
    driver_seconds: float

    @property
    def efficiency(self) -> float:
        """The least possible makespan over the makespan."""
        return self.least / self.makespan


def cells(count: int, seed: int = 0) -> list[Task]:
    """The steps of so many cells of different length."""
    draw, tasks = Random(seed), list[Task]()
    for number in range(count):
        hours = draw.lognormvariate(0, SPREAD)
        train = Task(f"cell-{number}", "train", f"cell-{number} train", work=TRAIN * hours)
        tasks += [train, Task(train.cell, "eval", f"cell-{number} eval", (train.name,), EVAL * hours)]
    return tasks


def measure(tasks: Sequence[Task], workers: int, faults: Faults = Faults()) -> Measured:
    """Schedule tasks on simulated workers."""
    executor = Simulated(workers, faults)
    started = time.perf_counter()
    done = schedule(tasks, executor, RETRIES)
    driver = time.perf_counter() - started - executor.seconds
    longest = max(train.work + evals.work for train, evals in zip(tasks[::2], tasks[1::2], strict=True))
    least = max(sum(task.work for task in tasks) / workers, longest)
    return Measured(workers, faults, executor.clock, least, executor.redone, done.lost, len(done.failed), driver)


def ray_overhead(count: int = 400) -> float:
    """Seconds of the driver and of Ray for a step that does nothing, with one worker on this machine."""
    import ray

    ray.init(num_cpus=1, log_to_driver=False)
    nothing = ray.remote(max_retries=0)(lambda *about: ("done", "", False))
    ray.get(nothing.remote())
    started = time.perf_counter()
    waiting = [nothing.remote("out", "cell", "train") for _ in range(count)]
    while waiting:
        ready, waiting = ray.wait(waiting)
        ray.get(ready)
    seconds = (time.perf_counter() - started) / count
    ray.shutdown()
    return seconds


def main() -> None:
    """Print a table in Markdown, or what Ray adds."""
    if sys.argv[1:] == ["ray"]:
        print(json.dumps({"seconds_per_step": round(ray_overhead(), 4)}))
        return
    tasks = cells(CELLS)
    print(
        "| workers | faults | makespan, hours | efficiency | work lost | workers lost | driver, ms per cell |"
        " driver's share |\n|---|---|---|---|---|---|---|---|"
    )
    for workers in (8, 64, 512):
        for faults in (Faults(), Faults(lost=0.01), Faults(lost=0.1), Faults(lost=0.01, storage=1 / 120)):
            found = measure(tasks, workers, faults)
            assert not found.failed, found
            storage = f", {faults.storage * 3600:.0f} s of storage" if faults.storage else ""
            total = sum(task.work for task in tasks)
            print(
                f"| {workers} | {100 * faults.lost:.0f} % an hour{storage} | {found.makespan:.1f} |"
                f" {100 * found.efficiency:.1f} % | {100 * found.redone / total:.1f} % | {found.lost} |"
                f" {1000 * found.driver_seconds / CELLS:.2f} |"
                f" {100 * found.driver_seconds / 3600 / found.makespan:.4f} % |"
            )


if __name__ == "__main__":
    main()
