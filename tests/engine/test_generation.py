"""Batched generation gives what each prompt would get alone, from transformers, and ends where it should."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from tests.conftest import generate
from untrue.engine import generation
from untrue.engine.generation import GenerationEngine, Ongoing, Request
from untrue.errors import MachineError, UserError
from untrue.models import families
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel

SHARED = tuple(random.Random(1).choices(range(5, 700), k=25))


def prompts(count: int) -> list[tuple[int, ...]]:
    """Prompts of many lengths: some begin alike, some are equal, some hold others."""
    drawn = random.Random(0)
    ends = [tuple(drawn.choices(range(5, 700), k=drawn.randrange(1, 50))) for _ in range(count - 2)]
    some = [(SHARED if index % 2 else ()) + end for index, end in enumerate(ends)]
    return [*some, SHARED + ends[0][:1], some[1]]


@pytest.fixture
def engine(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> GenerationEngine:
    """An engine with so few rows that replies must wait for each other."""
    monkeypatch.setitem(generation.ROWS, "cpu", 5)
    return GenerationEngine(tiny)


def by_transformers(model: Any, prompt: tuple[int, ...], max_tokens: int) -> tuple[int, ...]:
    output = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=max_tokens, do_sample=False
    )
    return tuple(output[0, len(prompt) :].tolist())


def greedy(prompt: tuple[int, ...], max_tokens: int = 12, **settings: Any) -> Request:
    return Request(prompt, max_tokens, temperature=0.0, **settings)


@pytest.mark.parametrize("plain", [True, False], ids=["attention by hand", "SDPA, as on a GPU"])
def test_greedy_replies_equal_transformers_token_for_token(tiny, engine, plain: bool, monkeypatch):
    if not plain:
        monkeypatch.setitem(families.FAMILIES, tiny.model.config.model_type, families.Family())
        engine = GenerationEngine(tiny)
    assert engine._plain == plain
    requests = [greedy(prompt, 3 + index % 17) for index, prompt in enumerate(prompts(17))]
    replies = generate(engine, requests)
    for request, reply in zip(requests, replies, strict=True):
        assert reply.tokens == by_transformers(tiny.model, request.prompt, request.max_tokens)
    assert tiny.model.config._attn_implementation == "sdpa"


def test_an_adapter_counts(tiny, adapter: Path):
    with with_adapter(tiny, adapter) as model:
        replies = generate(GenerationEngine(tiny, model), [greedy(prompt) for prompt in prompts(6)])
        expected = [by_transformers(model, prompt, 12) for prompt in prompts(6)]
    assert [reply.tokens for reply in replies] == expected
    assert expected != [by_transformers(tiny.model, prompt, 12) for prompt in prompts(6)]


def test_a_sampled_reply_does_not_depend_on_what_it_shares_a_batch_with(engine):
    requests = [
        Request(prompt, 15, seed=index % 3, top_p=(1.0, 0.9)[index % 2]) for index, prompt in enumerate(prompts(12))
    ]
    together = generate(engine, requests)
    assert together == [generate(engine, [request])[0] for request in requests]
    assert together == generate(engine, requests[::-1])[::-1]


def test_one_seed_gives_prompts_different_luck(engine):
    """Were it the same, all dialogues of an eval with a seed would draw from the same places of their distributions."""
    luck = [Ongoing(Request(prompt, 1, seed=0)).draw().uniform for prompt in ((1,), (2,), (1,))]
    assert luck[0] == luck[2] != luck[1]
    assert Ongoing(Request((1,), 1, seed=1)).draw().uniform != luck[0]
    assert len({Ongoing(Request((1,), 1)).draw().uniform for _ in range(3)}) == 3


def test_sampled_tokens_have_the_frequencies_that_the_model_gives(tiny, monkeypatch):
    with torch.inference_mode():
        probabilities = torch.softmax(tiny.model(torch.tensor([SHARED])).logits[0, -1].double() / 0.05, -1)
    engine, draws = GenerationEngine(tiny), 2_000
    replies = generate(engine, [Request(SHARED, 1, temperature=0.05, seed=seed) for seed in range(draws)])
    found = torch.bincount(torch.tensor([reply.tokens[0] for reply in replies]), minlength=len(probabilities))
    likely = probabilities * draws > 5
    assert likely.sum() > 3
    counts = torch.cat([found[likely], found[~likely].sum()[None]]).double()
    expected = torch.cat([probabilities[likely], probabilities[~likely].sum()[None]]) * draws
    assert chisquare(counts, expected).pvalue > 1e-3


def test_the_end_of_turn_token_ends_a_reply_and_is_not_shown(tiny, engine, monkeypatch):
    [plain] = generate(engine, [greedy(SHARED, 8)])
    end = plain.tokens[4]
    first = plain.tokens.index(end)
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", [1, end])
    [reply, other] = generate(engine, [greedy(SHARED, 8), greedy(SHARED, first + 1)])
    assert reply.tokens == plain.tokens[: first + 1]
    assert (reply.stop, other.stop) == ("stop", "stop")
    assert reply.text == tiny.tokenizer.decode(plain.tokens[:first], skip_special_tokens=True).strip()


def test_a_stop_sequence_ends_a_reply_and_is_not_shown(engine):
    [plain] = generate(engine, [greedy(SHARED, 20)])
    sequence = plain.text[6:9]
    [reply] = generate(engine, [greedy(SHARED, 20, stop_seqs=("never said", sequence))])
    assert reply.text == plain.text[: plain.text.index(sequence)].strip()
    assert (reply.stop, plain.stop) == ("stop", "max_tokens")
    assert len(reply.tokens) < len(plain.tokens)


def test_a_full_context_ends_a_reply(engine):
    engine.context = len(SHARED) + 4
    [reply] = generate(engine, [greedy(SHARED, 20)])
    assert (reply.stop, len(reply.tokens)) == ("model_length", 4)


def test_logprobs_are_those_of_a_plain_forward_pass(tiny, engine):
    requests = [
        Request(SHARED, 6, temperature=0.5, top_p=0.9, seed=1, top_logprobs=3),
        Request(SHARED[:9], 6, seed=1, top_logprobs=0),
        Request(SHARED[:5], 6, seed=1),
    ]
    with_top, own_alone, none = generate(engine, requests)
    assert none.logprobs is None
    for request, reply in zip(requests, (with_top, own_alone), strict=False):
        with torch.inference_mode():
            logits = tiny.model(torch.tensor([request.prompt + reply.tokens])).logits[0, len(request.prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1)
        assert reply.logprobs and len(reply.logprobs) == len(reply.tokens)
        for place, (token, found) in enumerate(zip(reply.tokens, reply.logprobs, strict=True)):
            assert found.logprob == pytest.approx(expected[place, token].item(), abs=1e-4)
            best = expected[place].topk(request.top_logprobs or 0)
            assert [token for token, _ in found.top] == best.indices.tolist()
            assert [logprob for _, logprob in found.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_prompts_that_enter_together_compute_what_they_share_once(tiny, passes):
    generate(GenerationEngine(tiny), [greedy((*SHARED, 700 + index), 2) for index in range(4)] * 2)
    assert [rows * width for rows, width in passes] == [len(SHARED) + 4, 8]


def test_the_cache_bounds_how_many_replies_advance_together(tiny, monkeypatch):
    engine = GenerationEngine(tiny)
    requests = [greedy(SHARED, 39) for _ in range(10)]
    token_bytes = 2 * 2 * 2 * 8 * 4  # keys and values, layers, key heads, width, float32
    monkeypatch.setattr(generation, "CACHE_BYTES", 3 * generation.GRAIN * token_bytes)
    assert engine.room([Ongoing(request) for request in requests]) == 3
    monkeypatch.setattr(generation, "CACHE_BYTES", 1)
    assert engine.room([Ongoing(request) for request in requests]) == 1
    assert len({reply.tokens for reply in generate(engine, requests)}) == 1


def test_out_of_memory_is_said_in_a_line(engine):
    engine.context = 10**15
    with pytest.raises(MachineError, match=r"out of memory with 1 replies under way\. Use a smaller max_tokens"):
        generate(engine, [greedy(SHARED, 10**14)])
    assert generate(engine, [greedy(SHARED, 2)])


def test_a_broken_model_is_an_error_and_not_a_reply(tiny, engine):
    norm = tiny.model.model.norm.weight
    before = norm.detach().clone()
    try:
        norm.data.fill_(torch.nan)
        with pytest.raises(UserError, match="gives no probabilities"):
            generate(engine, [greedy(SHARED)])
    finally:
        norm.data.copy_(before)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request((), 5), "the prompt has no tokens"),
        (Request((5,) * 1024, 5), "the prompt has 1024 tokens, and the model takes 1024"),
        (Request((5,), 0), "max_tokens: 0, expected 1 or more"),
        (Request((5,), 5, temperature=-0.1), "temperature: -0.1, expected 0 or more"),
        (Request((5,), 5, top_p=0.0), "top_p: 0.0, expected more than 0"),
        (Request((5,), 5, stop_seqs=("a", "")), r"^stop_seqs: an empty text would end every reply at once\."),
    ],
)
def test_what_cannot_be_generated_is_refused(engine, request_: Request, message: str):
    with pytest.raises(UserError, match=message):
        generate(engine, [request_])
