"""Gather the requests of many coroutines, for likelihoods or for replies, and answer them together.

Sharing a pass changes figures only by rounding. The model runs in the event loop's own thread, since a second thread's
pool of torch workers made scoring with an adapter 1.7 times slower; other coroutines run between passes.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class Job(Generic[Answer]):
    """A request that a coroutine waits for; `answer` is done after an answer, a failure or a cancellation."""

    answer: asyncio.Future[Answer]

    def settle(self, outcome: Answer | Exception) -> None:
        """Give the answer, or the reason why there is none, to the coroutine if it still waits."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


J = TypeVar("J", bound=Job[Any])


class Batcher(ABC, Generic[J]):
    """Works while jobs wait or are under way; serves the coroutines of one event loop at a time."""

    def __init__(self) -> None:
        self._waiting: list[J] = []
        self.running: list[J] = []
        self._worker: asyncio.Task[None] | None = None

    async def _answer(self, job: J) -> Any:
        job.answer = asyncio.get_running_loop().create_future()
        self._waiting.append(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await job.answer

    async def _work(self) -> None:
        try:
            while self._waiting or self.running:
                self._advance()
                await asyncio.sleep(0)
        finally:
            self._worker = None
            self._abandon()

    def _start(self, jobs: Sequence[J]) -> None:
        """Compute jobs together, or, if that fails, each by itself, so that only the impossible ones fail."""
        try:
            self._compute(jobs)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].settle(error)
            else:
                for job in jobs:
                    self._start([job])

    @abstractmethod
    def _advance(self) -> None:
        """Start jobs that wait, and advance those under way."""

    @abstractmethod
    def _compute(self, jobs: Sequence[J]) -> None:
        """Settle jobs in one forward pass, or put them under way."""

    def _abandon(self) -> None:
        """Forget the jobs under way."""
        self.running.clear()
