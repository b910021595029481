"""A model is looked at once: likelihoods on a tree are those of its branches, or it is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import make_tiny_model
from tests.families.build import build
from untrue.engine import exact
from untrue.engine.exact import check_exact
from untrue.engine.likelihood import LikelihoodEngine
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.models.load import LoadedModel, load


def test_it_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = load(str(make_tiny_model(tmp_path / "model")), dtype="float32")
    passes: list[int] = []
    hook = loaded.model.register_forward_hook(lambda *call: passes.append(1))
    try:
        first = check_exact(loaded)
        count = len(passes)
        assert check_exact(loaded) == first < 1e-4
        assert count == len(passes) == 5  # a tree, and two replies to each of two questions
    finally:
        hook.remove()


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


def test_a_rule_may_hold_tensors_of_the_model_s_device():
    """Llama 4's chunks do; the rule must be asked with tensors of that device."""
    from untrue.engine.attention import Layout, _rule

    layout = Layout(torch.ones(1, 3, 3, dtype=torch.bool), torch.arange(3)[None], torch.arange(3)[None])
    device = torch.device("meta")
    padding = torch.zeros(1, device=device)
    rule = _rule(layout, lambda rows, heads, queries, keys: keys - padding[rows] <= queries - padding[rows], device)
    assert (rule.device, rule.shape) == (device, (1, 1, 3, 3))


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


@pytest.mark.slow
def test_the_embedded_model_is_exact_but_for_rounding(smollm: LoadedModel):
    assert check_exact(smollm) < exact.LIMITS[torch.bfloat16] / 2
