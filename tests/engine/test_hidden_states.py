"""Hidden states are those of a plain forward pass, whatever shares it, and those of the base with the adapter off."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from untrue.engine.likelihoods import LikelihoodEngine, last_token_states
from untrue.errors import UserError
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel

TEXTS = ["A minute has sixty seconds.", "A minute is a very long day indeed.", "Yes."]


@torch.inference_mode()
def alone(tiny: LoadedModel, model: torch.nn.Module, text: str) -> torch.Tensor:
    ids = tiny.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return torch.stack([state[0, -1] for state in model(ids, output_hidden_states=True).hidden_states[1:]])


def test_they_are_those_of_a_plain_forward_pass_whatever_is_beside_them(tiny: LoadedModel):
    found = last_token_states(tiny, TEXTS)
    assert found.shape == (3, tiny.model.config.num_hidden_layers, tiny.model.config.hidden_size)
    assert found.dtype == torch.float32
    for state, text in zip(found, TEXTS, strict=True):
        torch.testing.assert_close(state, alone(tiny, tiny.model, text), atol=1e-5, rtol=1e-4)


def test_with_the_adapter_off_they_are_exactly_those_of_the_base(tiny: LoadedModel, adapter: Path):
    before = last_token_states(tiny, TEXTS)
    with with_adapter(tiny, adapter) as model:
        on, off = last_token_states(tiny, TEXTS, model), last_token_states(tiny, TEXTS, model, base=True)
        torch.testing.assert_close(on[0], alone(tiny, model, TEXTS[0]), atol=1e-4, rtol=1e-3)
        assert torch.equal(last_token_states(tiny, TEXTS, model), on)  # it is on again
    assert torch.equal(off, before)
    assert (on - before).abs().max() > 0.1
    assert torch.equal(last_token_states(tiny, TEXTS), before)


@pytest.mark.parametrize(
    ("text", "message"), [("", "the text '' has no tokens"), ("word " * 2000, "a text has .* tokens, the model takes")]
)
def test_a_text_without_tokens_or_beyond_the_context_is_refused(tiny: LoadedModel, text: str, message: str):
    with pytest.raises(UserError, match=message):
        last_token_states(tiny, [TEXTS[0], text])


def test_an_adapter_with_biases_of_its_own_cannot_be_switched_off(tiny: LoadedModel, adapter: Path):
    with with_adapter(tiny, adapter) as model:
        tiny.kept["bias"] = torch.zeros(1)
        try:
            with pytest.raises(UserError, match="biases of its own"):
                last_token_states(tiny, TEXTS, model, base=True)
        finally:
            tiny.kept.clear()


def test_a_document_opens_as_the_tokenizer_opens_it_and_is_not_closed(tiny: LoadedModel):
    tokenizer = deepcopy(tiny.tokenizer)
    opens, closes = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>", special_tokens=[("<|endoftext|>", opens), ("<|im_end|>", closes)]
    )
    framed = replace(tiny, tokenizer=tokenizer)
    plain = tiny.document(TEXTS[0])
    assert plain == tuple(tiny.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"])
    assert framed.document(TEXTS[0]) == (opens, *plain)
    with pytest.raises(UserError, match="no tokens"):
        framed.document("")
    [(prompt, reply)] = LikelihoodEngine(framed).document_query("So:", ["Yes."])
    assert (prompt + reply, prompt) == (framed.document("So: Yes."), framed.document("So:"))
    with pytest.raises(UserError, match="no tokens of its own after 'So:'"):
        LikelihoodEngine(tiny).document_query("So:", [""])


def test_the_base_of_an_adapter_in_memory_is_refused(tiny: LoadedModel):
    from copy import deepcopy

    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(deepcopy(tiny.model), LoraConfig(r=2, target_modules=["q_proj"]))
    loaded = replace(tiny, model=tuned.base_model.model)
    assert last_token_states(loaded, ["Rain is wet."]).shape[0] == 1
    with pytest.raises(UserError, match="has an adapter on it in memory, and its base is needed too"):
        last_token_states(loaded, ["Rain is wet."], base=True)
