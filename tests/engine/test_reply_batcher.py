"""Coroutines that ask for replies at once: they share steps, join those under way, and no failure spreads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch

from untrue.engine.batcher import Batcher, ReplyBatcher
from untrue.engine.generation import GenerationEngine
from untrue.engine.likelihood import LikelihoodEngine
from untrue.engine.replies import Reply, Request
from untrue.engine.tree import Continuation
from untrue.errors import UserError
from untrue.models.load import LoadedModel

REQUESTS = [Request((5 + index, 6, 7), 4 + index % 5, seed=index) for index in range(50)]
BROKEN = Request((10**6,), 4)
"""A token that the model has not."""


@pytest.fixture
def engine(tiny: LoadedModel) -> GenerationEngine:
    return GenerationEngine(tiny)


@pytest.fixture
def passes(tiny: LoadedModel) -> Iterator[list[int]]:
    """Rows of each forward pass so far."""
    rows: list[int] = []
    hook = tiny.model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: rows.append(output.shape[0])
    )
    yield rows
    hook.remove()


def gather(batcher: ReplyBatcher, requests: list[Request]) -> list:
    async def ask() -> list:
        return await asyncio.gather(*map(batcher.generate, requests), return_exceptions=True)

    return asyncio.run(ask())


def test_50_that_wait_together_end_in_the_passes_of_the_longest(engine, passes):
    answers = gather(ReplyBatcher(engine), REQUESTS)
    assert len(passes) == 8  # the prompts, and 7 tokens more
    assert passes[1] == 50
    assert answers == engine.generate(REQUESTS)


def test_who_asks_later_joins_those_under_way(engine, passes):
    batcher = ReplyBatcher(engine)

    async def ask() -> tuple[Reply, Reply]:
        early = asyncio.create_task(batcher.generate(Request((5, 6), 12, seed=1)))
        while len(passes) < 4:
            await asyncio.sleep(0)
        return await batcher.generate(Request((8,), 3, seed=1)), await early

    late, early = asyncio.run(ask())
    assert 2 in passes
    assert len(passes) < 12 + 3
    assert [late, early] == engine.generate([Request((8,), 3, seed=1), Request((5, 6), 12, seed=1)])


def test_an_exception_reaches_only_the_coroutine_whose_prompt_failed(engine):
    answers = gather(ReplyBatcher(engine), [*REQUESTS[:3], BROKEN, *REQUESTS[3:6]])
    assert isinstance(answers.pop(3), IndexError)
    assert answers == engine.generate(REQUESTS[:6])


def test_what_cannot_be_generated_is_refused_before_it_waits(engine):
    answers = gather(ReplyBatcher(engine), [Request((), 4), REQUESTS[0]])
    assert isinstance(answers[0], UserError)
    assert answers[1:] == engine.generate(REQUESTS[:1])


def test_a_cancelled_coroutine_leaves_its_row_to_others(engine, passes):
    batcher = ReplyBatcher(engine)

    async def ask() -> list:
        tasks = [asyncio.create_task(batcher.generate(Request((5 + index,), 200, seed=1))) for index in range(2)]
        tasks.append(asyncio.create_task(batcher.generate(Request((9,), 8, seed=1))))
        while len(passes) < 3:
            await asyncio.sleep(0)
        for task in tasks[:2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, asyncio.CancelledError, Reply]
    assert passes[-1] == 1
    assert len(passes) == 8
    assert answers[2:] == engine.generate([Request((9,), 8, seed=1)])


def test_likelihoods_are_answered_between_the_steps_of_generation(tiny, engine, passes):
    scores, replies = Batcher(LikelihoodEngine(tiny)), ReplyBatcher(engine)
    bundle = [tuple(Continuation((5, 6, 7), reply) for reply in ((8, 9), (10,)))]

    async def ask() -> tuple[Reply, list, int]:
        reply = asyncio.create_task(replies.generate(Request((5, 6), 30, seed=1)))
        await asyncio.sleep(0)
        found = await scores.score(bundle)
        under_way = len(passes)
        return await reply, found, under_way

    reply, found, under_way = asyncio.run(ask())
    assert under_way < 10 < len(passes)
    assert found == LikelihoodEngine(tiny).score(bundle)
    assert reply == engine.generate([Request((5, 6), 30, seed=1)])[0]


def test_one_batcher_serves_one_event_loop_after_another(engine):
    batcher = ReplyBatcher(engine)
    for request in REQUESTS[:3]:
        assert gather(batcher, [request]) == engine.generate([request])


def test_a_reply_without_probabilities_reaches_its_coroutine_alone(tiny, engine):
    embeddings, steps = tiny.model.get_input_embeddings(), [0]

    def poison(module, inputs, output):
        steps[0] += 1
        if steps[0] == 3 and output.shape[1] == 1:
            output = output.clone()
            output[0] = torch.nan
        return output

    requests = [Request((5 + index, 6), 8, seed=1) for index in range(3)]
    hook = embeddings.register_forward_hook(poison)
    try:
        answers = gather(ReplyBatcher(engine), requests)
    finally:
        hook.remove()
    failed = [place for place, answer in enumerate(answers) if isinstance(answer, UserError)]
    assert len(failed) == 1
    expected = engine.generate(requests)
    assert [a == b for place, (a, b) in enumerate(zip(answers, expected, strict=True)) if place not in failed] == [
        True
    ] * 2
