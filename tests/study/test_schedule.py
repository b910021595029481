"""Tasks are given out in an order that serves, begun again where they are lost, and never after one that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from benchmarks.cluster import CELLS, Faults, Simulated, cells, measure
from untrue.study.schedule import Ended, Ending, Task, schedule


class OneByOne:
    """Does one task at a time, and ends each as a function says."""

    def __init__(self, ends: Callable[[Task, int], Ending] = lambda task, times: "done"):
        self.begun: list[str] = []
        self._ends, self._now = ends, list[Task]()

    def room(self) -> int:
        return 1 - len(self._now)

    def submit(self, task: Task) -> None:
        self.begun.append(task.name)
        self._now.append(task)

    def wait(self) -> Sequence[Ended]:
        if not self._now:
            return []
        task = self._now.pop()
        return [Ended(task.name, self._ends(task, self.begun.count(task.name)), "why")]


def task(name: str, *after: str, work: float = 1.0) -> Task:
    return Task(name, "train", name, after, work)


CHAIN = [task("eval", "train"), task("train", "dialogues"), task("dialogues"), task("other", work=2.5)]


def test_each_task_is_done_once_after_those_before_it_and_the_longest_chain_first():
    executor = OneByOne()
    assert schedule(CHAIN, executor, 0) == ({}, [], 0)
    assert executor.begun == ["dialogues", "other", "train", "eval"]


def test_a_task_before_that_is_not_among_them_is_done():
    executor = OneByOne()
    schedule([task("eval", "train")], executor, 0)
    assert executor.begun == ["eval"]


def test_a_lost_task_is_begun_again_and_after_too_many_losses_has_failed():
    executor = OneByOne(lambda task, times: "lost" if task.name == "train" and times <= 2 else "done")
    assert schedule(CHAIN, executor, 2) == ({}, [], 2)
    assert executor.begun.count("train") == 3
    executor = OneByOne(lambda task, times: "lost" if task.name == "train" and times <= 2 else "done")
    done = schedule(CHAIN, executor, 1)
    assert done.failed == {"train": "lost with its worker 2 times (why)"}
    assert done.skipped == ["eval"]


def test_what_failed_is_not_tried_again_and_stops_only_what_waits_for_it():
    executor, ended = OneByOne(lambda task, times: "failed" if task.name == "dialogues" else "done"), list[Ended]()
    done = schedule(CHAIN, executor, 3, ended.append)
    assert done == ({"dialogues": "why"}, ["train", "eval"], 0)
    assert sorted(executor.begun) == ["dialogues", "other"]
    assert {end.name: end.outcome for end in ended} == {"dialogues": "failed", "other": "done"}


def test_what_someone_else_is_at_work_on_is_asked_for_again():
    executor = OneByOne(lambda task, times: "held" if task.name == "dialogues" and times <= 3 else "done")
    assert schedule(CHAIN, executor, 0) == ({}, [], 0)
    assert executor.begun.count("dialogues") == 4
    assert executor.begun.index("train") > 3


@pytest.mark.parametrize(("workers", "lost", "least"), [(8, 0.0, 0.95), (512, 0.0, 0.95), (512, 0.01, 0.9)])
def test_simulated_workers_are_used(workers: int, lost: float, least: float):
    found = measure(cells(CELLS), workers, Faults(lost=lost))
    assert least < found.efficiency <= 1
    assert found.failed == 0
    assert (found.lost > 0) == (lost > 0)
    assert found.driver_seconds < 0.01 * 3600 * found.makespan


def test_a_simulated_worker_that_is_lost_keeps_what_the_last_checkpoint_has():
    executor = Simulated(1, Faults(lost=0.5), seed=1)
    done = schedule([task("long", work=5.0)], executor, 100)
    assert done.lost > 0
    assert executor.clock == pytest.approx(5.0 + executor.redone + 0.25 * done.lost)
    assert executor.redone < done.lost / 12
