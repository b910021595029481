"""Gather the likelihood requests of many coroutines and answer them in turn.

Bundles that wait together share a forward pass, each as a tree of its own. What a bundle shares a pass with may change
its figures by the rounding of a matrix product, and by nothing else.

The model runs in the event loop's own thread, which is blocked for the length of a pass. In another thread torch would
start a second pool of workers, and two pools on the cores of one made scoring with an adapter 1.7 times slower.
"""

from __future__ import annotations

import asyncio

from untrue.engine.likelihood import Bundle, Likelihood, LikelihoodEngine

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
    return sum(len(query.prompt) + sum(map(len, query.replies)) for query in bundle)
