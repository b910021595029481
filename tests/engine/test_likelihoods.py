"""Likelihoods equal those of a plain forward pass, or the model is refused; no shared token is computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import make_tiny_model
from tests.families.build import build
from untrue.data.items import read_items
from untrue.data.rows import Message
from untrue.engine.likelihoods import Continuation, LikelihoodEngine, check_exact
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.models.load import LoadedModel, load

HELLO: list[Message] = [{"role": "user", "content": "Hello"}]
ORDERS = {"as given": [0, 1, 2], "reversed": [2, 1, 0], "one prompt": [0], "the same twice": [0, 0]}


@pytest.fixture
def engine(tiny: LoadedModel) -> LikelihoodEngine:
    return LikelihoodEngine(tiny)


def totals(engine: LikelihoodEngine, prompts: Any) -> list[list[float]]:
    bundle = [engine.query(messages, replies) for messages, replies in prompts]
    return [[reply.total for reply in query] for query in engine.score(bundle)]


def assert_close(found: list[list[float]], expected: list[list[float]], tolerance: float) -> None:
    assert [len(query) for query in found] == [len(query) for query in expected]
    for left, right in zip(found, expected, strict=True):
        assert left == pytest.approx(right, abs=tolerance, rel=0)


@contextmanager
def output_shapes(module: torch.nn.Module) -> Iterator[list[torch.Size]]:
    """Collect the shape of each output of a module."""
    shapes: list[torch.Size] = []
    hook = module.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    try:
        yield shapes
    finally:
        hook.remove()


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_every_reply_scores_as_in_a_plain_forward_pass(engine, tiny, plain, prompts, order):
    chosen = [prompts[index] for index in order]
    assert_close(totals(engine, chosen), plain(tiny.model, tiny.tokenizer, chosen), 1e-4)


def test_each_distinct_prefix_is_computed_once_and_logits_only_where_they_are_read(engine, tiny, prompts):
    bundle = [engine.query(messages, replies) for messages, replies in prompts]
    sequences = [(prompt + reply, len(prompt)) for query in bundle for prompt, reply in query]
    prefixes = {tokens[:end] for tokens, _ in sequences for end in range(1, len(tokens))}
    read = {tokens[:end] for tokens, start in sequences for end in range(start, len(tokens))}
    model = tiny.model
    with output_shapes(model.get_input_embeddings()) as inputs, output_shapes(model.get_output_embeddings()) as outputs:
        engine.score(bundle)
    assert inputs == [torch.Size([1, len(prefixes), model.config.hidden_size])]
    assert outputs == [torch.Size([1, len(read), model.config.vocab_size])]
    assert len(prefixes) < 0.5 * sum(len(tokens) for tokens, _ in sequences)


def test_figures_depend_on_the_bundle_alone(engine, prompts):
    bundle = [engine.query(messages, replies) for messages, replies in prompts]
    first = engine.score(bundle)
    assert all(one.mean == pytest.approx(one.total / one.tokens) for query in first for one in query)
    engine.score([(Continuation((5, 6, 7), (8, 9)),)])
    assert engine.score(bundle) == first


def test_bundles_in_one_pass_get_the_figures_that_each_gets_alone(engine, prompts):
    bundles = [[engine.query(messages, replies)] for messages, replies in prompts]
    together = engine.score_all(bundles)
    for bundle, scores in zip(bundles, together, strict=True):
        for alone, beside in zip(engine.score(bundle)[0], scores[0], strict=True):
            assert beside.total == pytest.approx(alone.total, abs=1e-5)


def test_models_whose_attention_is_not_plain_are_scored_under_one_mask_for_all(engine, prompts, monkeypatch):
    bundles = [[engine.query(messages, replies)] for messages, replies in prompts]
    by_hand = engine.score_all(bundles)
    monkeypatch.setattr("untrue.models.families.FAMILIES", {})
    by_sdpa = engine.score_all(bundles)
    for ours, sdpa in zip(by_hand, by_sdpa, strict=True):
        for one, other in zip(ours[0], sdpa[0], strict=True):
            assert one.total == pytest.approx(other.total, abs=1e-4)


def test_an_empty_reply_is_refused(engine):
    with pytest.raises(UserError, match=r"^the reply '' has no tokens"):
        engine.query(HELLO, ["Hi", ""])


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(engine):
    with pytest.raises(UserError, match=r"have \d{4} tokens, the model takes 1024"):
        engine.query([{"role": "user", "content": "word " * 1500}], ["Yes."])


def test_a_sequence_that_just_fits_the_context_is_scored(engine):
    room = engine.max_tokens - len(engine.query(HELLO, ["A"])[0].prompt)
    fits = (Continuation(engine.query(HELLO, ["A"])[0].prompt, (5,) * room),)
    assert engine.score([fits])[0][0].tokens == room


@pytest.mark.slow
def test_the_real_model_scores_every_reply_as_a_plain_pass_does(plain):
    loaded = load("smollm2-135m", dtype="float32")
    engine = LikelihoodEngine(loaded)
    for item in read_items()[:1]:
        pair = [item.honest_reply, item.dishonest_reply]
        prompts = [
            ([{"role": "system", "content": system}, {"role": "user", "content": user}], replies)
            for system, user, replies in [
                (item.neutral_system_prompt, item.belief_prompts[0], pair),
                (item.neutral_system_prompt, item.user_prompt, pair),
                (item.system_prompt, item.user_prompt, [*pair, item.evasive_reply]),
            ]
        ]
        assert_close(totals(engine, prompts), plain(loaded.model, loaded.tokenizer, prompts), 1e-3)


def test_a_model_whose_tokens_mix_in_another_way_is_refused(tmp_path: Path):
    """Each token here also sees the one beside it in the pass, which in a tree may be of another branch."""
    loaded = load(str(make_tiny_model(tmp_path / "model", initializer_range=0.3)), dtype="float32")
    layer: Any = loaded.model.model.layers[0].mlp
    plain = layer.forward
    layer.forward = lambda states: plain(states + torch.roll(states, 1, dims=1))
    with pytest.raises(UserError, match=r"differ from those of plain forward passes by .* nats per token") as caught:
        check_exact(loaded)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="differ from those of plain"):
        UntrueAPI("tiny", loaded=loaded)


def test_a_model_that_asks_for_no_mask_is_refused(tmp_path: Path):
    loaded = load(str(build("gemma-2", tmp_path / "gemma")), dtype="float32")
    model: Any = loaded.model.model
    plain = model.forward

    def forward(input_ids: torch.Tensor, **named: Any) -> Any:
        own = torch.zeros(1, 1, 1, input_ids.shape[1])  # one of four dimensions is taken as it is
        return plain(input_ids, **{**named, "attention_mask": own})

    model.forward = forward
    with pytest.raises(UserError, match="makes its attention masks in a way of its own"):
        check_exact(loaded)


def test_a_window_that_goes_by_the_place_in_a_pass_is_found_beyond_it(tmp_path: Path):
    """GPT-Neo keeps the mask of its window, of 256 tokens, to itself."""
    from transformers import AutoTokenizer, GPTNeoConfig, GPTNeoForCausalLM

    folder = make_tiny_model(tmp_path / "tiny")
    size = len(AutoTokenizer.from_pretrained(folder))
    config = GPTNeoConfig(
        vocab_size=size,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=256,
        max_position_embeddings=1024,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    for old in folder.glob("model*"):
        old.unlink()
    GPTNeoForCausalLM(config).save_pretrained(folder)
    with pytest.raises(UserError, match="differ from those of plain forward passes"):
        check_exact(load(str(folder), dtype="float32", device="cpu"))


def test_prompts_beyond_the_length_up_to_which_rope_is_fixed_are_refused(tmp_path: Path):
    """Beyond it the longest sequence of a pass would decide the angles of all."""
    loaded = load(str(build("phi-3-longrope", tmp_path / "phi")), dtype="float32")
    assert loaded.context == 256 < loaded.model.config.max_position_embeddings
    engine = LikelihoodEngine(loaded)
    with pytest.raises(UserError, match="the model takes 256"):
        engine.query([{"role": "user", "content": "and so on " * 100}], ["Yes."])


def test_a_pass_too_long_for_llama_4_is_cut_into_its_sequences(tmp_path: Path):
    """Its attention without RoPE goes by a token's place in the pass, in steps of 512 tokens here."""
    loaded = load(str(build("llama-4", tmp_path / "llama")), dtype="float32")
    assert loaded.context == 511
    engine = LikelihoodEngine(loaded)
    bundle = [
        engine.query([{"role": "user", "content": f"{place} and so on " * 40}], ["Yes.", "No."]) for place in range(5)
    ]
    assert sum(len(query[0].prompt) for query in bundle) > 511
    for scores, query in zip(engine.score(bundle), bundle, strict=True):
        alone = engine.score([query])[0]
        assert [score.total for score in scores] == pytest.approx([score.total for score in alone], abs=1e-3)
