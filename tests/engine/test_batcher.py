"""Coroutines that ask at once: each gets its own answer, and no failure or cancellation spreads."""

from __future__ import annotations

import asyncio

import pytest

from untrue.engine.batcher import TOKENS, Batcher
from untrue.engine.likelihood import LikelihoodEngine
from untrue.engine.tree import Continuation
from untrue.models.load import LoadedModel

BUNDLES = [[tuple(Continuation((5 + index, 6, 7), reply) for reply in ((8, index + 9), (10,)))] for index in range(20)]
BROKEN = [(Continuation((10**6,), (1,)),)]
"""A token that the model has not."""


@pytest.fixture
def engine(tiny: LoadedModel) -> LikelihoodEngine:
    return LikelihoodEngine(tiny)


@pytest.fixture(params=[0, TOKENS], ids=["a pass for each", "many in one pass"])
def batcher(engine: LikelihoodEngine, request: pytest.FixtureRequest) -> Batcher:
    """As on a CPU, and as on a GPU."""
    batcher = Batcher(engine)
    batcher._limit = request.param
    return batcher


def gather(batcher: Batcher, bundles: list[list[tuple[Continuation, ...]]]) -> list:
    async def ask() -> list:
        return await asyncio.gather(*map(batcher.score, bundles), return_exceptions=True)

    return asyncio.run(ask())


def assert_answers(engine: LikelihoodEngine, answers: list, bundles: list[list[tuple[Continuation, ...]]]) -> None:
    for answer, bundle in zip(answers, bundles, strict=True):
        for found, expected in zip(answer, engine.score(bundle), strict=True):
            assert [reply.total for reply in found] == pytest.approx([reply.total for reply in expected], abs=1e-4)
            assert [reply.tokens for reply in found] == [reply.tokens for reply in expected]


def test_each_coroutine_gets_its_own_answer(engine, batcher):
    assert_answers(engine, gather(batcher, BUNDLES), BUNDLES)


def test_bundles_of_several_queries_are_not_mixed_up(engine, batcher):
    bundles = [[*BUNDLES[0], *BUNDLES[1]], BUNDLES[2], [*BUNDLES[3], *BUNDLES[4], *BUNDLES[5]]]
    assert_answers(engine, gather(batcher, bundles), bundles)


def test_bundles_that_wait_together_share_passes_on_a_gpu_and_not_on_a_cpu(engine, tiny: LoadedModel):
    passes: list[int] = []
    embeddings = tiny.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, inputs, output: passes.append(output.shape[1]))
    try:
        for limit, expected in ((0, 20), (TOKENS, 1), (12, 10)):  # each bundle has 6 tokens
            passes.clear()
            batcher = Batcher(engine)
            batcher._limit = limit
            gather(batcher, BUNDLES)
            assert len(passes) == expected
    finally:
        hook.remove()


def test_an_exception_reaches_only_the_coroutine_whose_bundle_failed(engine, batcher):
    bundles = [*BUNDLES[:3], BROKEN, *BUNDLES[3:6]]
    answers = gather(batcher, bundles)
    assert isinstance(answers.pop(3), IndexError)
    assert_answers(engine, answers, BUNDLES[:6])


def test_it_goes_on_after_an_exception(engine, batcher):
    assert isinstance(gather(batcher, [BROKEN])[0], IndexError)
    assert_answers(engine, gather(batcher, BUNDLES[:2]), BUNDLES[:2])


def test_a_cancelled_coroutine_does_not_disturb_the_others(engine, batcher):
    async def ask() -> list:
        tasks = [asyncio.create_task(batcher.score(bundle)) for bundle in [*BUNDLES[:4], BROKEN]]
        await asyncio.sleep(0)  # all wait now
        tasks[0].cancel()
        tasks[4].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert isinstance(answers[0], asyncio.CancelledError)
    assert isinstance(answers[4], asyncio.CancelledError)
    assert_answers(engine, answers[1:4], BUNDLES[1:4])


def test_one_batcher_serves_one_event_loop_after_another(engine, batcher):
    for bundle in BUNDLES[:3]:
        assert_answers(engine, gather(batcher, [bundle]), [bundle])
