"""Gather the requests of many coroutines, for likelihoods or for replies, and answer them together.

Bundles that wait together share a forward pass, each as a tree of its own. What a bundle shares a pass with may change
its figures by the rounding of a matrix product, and by nothing else.

The model runs in the event loop's own thread, which is blocked for the length of a pass. In another thread torch would
start a second pool of workers, and two pools on the cores of one made scoring with an adapter 1.7 times slower. Others
have their turn between two passes and between two steps of generation.
"""

from __future__ import annotations

import asyncio

from untrue.engine.generation import GenerationEngine
from untrue.engine.likelihood import Bundle, Likelihood, LikelihoodEngine
from untrue.engine.replies import Ongoing, Reply, Request

TOKENS = 4096
"""Tokens in one pass, counted before prefixes are shared."""


class Batcher:
    """Serves `score` to any number of coroutines of one event loop."""

    def __init__(self, engine: LikelihoodEngine):
        self._engine = engine
        self._limit = TOKENS
        self._waiting: list[tuple[Bundle, asyncio.Future[list[list[Likelihood]]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def score(self, bundle: Bundle) -> list[list[Likelihood]]:
        """Wait for the likelihoods of a bundle, as `LikelihoodEngine.score` gives them."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((bundle, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                taken = [self._waiting.pop(0)]
                size = _tokens(taken[0][0])
                while self._waiting and (size := size + _tokens(self._waiting[0][0])) <= self._limit:
                    taken.append(self._waiting.pop(0))
                self._answer(taken)
                await asyncio.sleep(0)
        finally:
            self._worker = None

    def _answer(self, taken: list[tuple[Bundle, asyncio.Future[list[list[Likelihood]]]]]) -> None:
        try:
            scores = self._engine.score_all([bundle for bundle, _ in taken])
        except Exception as error:
            if len(taken) > 1:  # one bundle's failure is not the others'
                for one in taken:
                    self._answer([one])
            elif not taken[0][1].done():
                taken[0][1].set_exception(error)
            return
        for (_, answer), own in zip(taken, scores, strict=True):
            if not answer.done():  # its coroutine may have been cancelled
                answer.set_result(own)


def _tokens(bundle: Bundle) -> int:
    return sum(
        sum(map(len, {prompt for prompt, _ in query})) + sum(len(reply) for _, reply in query) for query in bundle
    )


class ReplyBatcher:
    """Serves `generate` to any number of coroutines of one event loop; who asks while others wait joins them."""

    def __init__(self, engine: GenerationEngine):
        self._engine = engine
        self._waiting: list[Ongoing] = []
        self._answers: dict[Ongoing, asyncio.Future[Reply]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def generate(self, request: Request) -> Reply:
        """Wait for a reply.

        Raises:
            UserError: See `GenerationEngine.check`.
            MachineError: Out of memory.
        """
        self._engine.check(request)
        one = Ongoing(request)
        answer = self._answers[one] = asyncio.get_running_loop().create_future()
        self._waiting.append(one)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        try:
            return await answer
        finally:
            one.abandoned = True  # where this was cancelled, nobody waits any more

    async def _work(self) -> None:
        try:
            while self._answers:
                self._drop_abandoned()
                # The longest first: rows of a like length waste little of the cache.
                self._waiting.sort(key=lambda one: -self._engine.need(one))
                if count := self._engine.room(self._waiting):
                    newcomers, self._waiting = self._waiting[:count], self._waiting[count:]
                    self._enter(newcomers)
                try:
                    self._engine.step()
                except Exception as error:
                    self._fail(self._engine.running, error)
                    self._engine.abandon()
                self._answer()
                await asyncio.sleep(0)
        finally:
            self._worker = None
            self._engine.abandon()

    def _enter(self, newcomers: list[Ongoing]) -> None:
        try:
            self._engine.enter(newcomers)
        except Exception as error:
            if len(newcomers) == 1:
                self._fail(newcomers, error)
                return
            for one in newcomers:  # one prompt's failure is not the others'
                self._enter([one])

    def _answer(self) -> None:
        for one in [one for one in self._answers if one.reply]:
            answer = self._answers.pop(one)
            if one.reply and not answer.done():
                answer.set_result(one.reply)
        for one in [one for one in self._answers if one.failure]:
            assert one.failure
            self._fail([one], one.failure)

    def _fail(self, ongoing: list[Ongoing], error: Exception) -> None:
        for one in ongoing:
            answer = self._answers.pop(one, None)
            if answer and not answer.done():
                answer.set_exception(error)

    def _drop_abandoned(self) -> None:
        self._waiting = [one for one in self._waiting if not one.abandoned]
        self._answers = {one: answer for one, answer in self._answers.items() if not one.abandoned}
