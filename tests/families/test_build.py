"""Every family builds, loads by the Auto classes, has the window that it says, renders a chat and can be run."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.families.build import FAMILIES, Family, build

REPLY = "Yes, it can help you sleep."
CHAT = [{"role": "user", "content": "Does tea help?\n\nI drink two cups."}, {"role": "assistant", "content": REPLY}]

Loaded = tuple[Family, Any, Any]


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Loaded]:
    """Gives a family with its model and its tokenizer, as the Auto classes load them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    @cache
    def load(name: str) -> Loaded:
        folder = build(name, tmp_path_factory.mktemp("families") / name)
        return (
            FAMILIES[name],
            AutoModelForCausalLM.from_pretrained(folder).eval(),
            AutoTokenizer.from_pretrained(folder),
        )

    return load


every = pytest.mark.parametrize("name", FAMILIES)


@every
def test_the_configuration_comes_back_with_its_window(name: str, loaded: Callable[[str], Loaded]) -> None:
    family, model, tokenizer = loaded(name)
    config = model.config
    made = family.config(len(tokenizer), {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None})
    assert type(config) is type(made)
    windows = [
        getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size", "attention_window_size")
    ]
    assert next(filter(None, windows), None) == family.window
    assert config.vocab_size == len(tokenizer) <= 900
    assert getattr(config, "max_position_embeddings", 2048) == 2048
    assert config.num_hidden_layers <= 4


@every
def test_the_tokenizer_comes_back(name: str, loaded: Callable[[str], Loaded]) -> None:
    family, _, tokenizer = loaded(name)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (family.bos, family.eos, family.pad)
    for token in (*family.special, *family.words):
        assert len(tokenizer(token, add_special_tokens=False)["input_ids"]) == 1
    ids = tokenizer("Tea")["input_ids"]
    assert (ids[0] == tokenizer.bos_token_id) == family.add_bos
    for text in ("Tea helps, I think.", "A line.\n\nAnother\n  one\t– schön 茶"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.chat_template == family.template


@every
def test_spaces_and_line_breaks_are_cut_as_in_the_family(name: str, loaded: Callable[[str], Loaded]) -> None:
    family, _, tokenizer = loaded(name)

    def cut(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])

    first = {"gpt2": "A", "llama3": "A", "always": "▁A", "first": "▁A", "never": "A"}[family.split]
    assert cut("A") == [first]
    assert cut("T A")[-1] in ("▁A", "ĠA")
    assert cut("T\nA")[-1] == "A"
    breaks = {"gpt2": ["Ċ", "Ċ"], "llama3": ["ĊĊ"], "always": ["<0x0A>"] * 2, "first": ["<0x0A>"] * 2}
    assert cut("T\n\nA")[1:-1] == breaks.get(family.split, ["\n\n"])
    inside = {"always": "▁A", "never": "A", "first": "A", "gpt2": "A", "llama3": "A"}[family.split]
    assert cut(f"T{family.eos}A")[-2:] == [family.eos, inside]


@every
def test_what_swallows_white_space_does_so(name: str, loaded: Callable[[str], Loaded]) -> None:
    family, _, tokenizer = loaded(name)
    for token in (*family.special, *family.words):
        ids = tokenizer(f"{token}\n \nA", add_special_tokens=False)["input_ids"]
        assert (len(ids) == 2) == (token in family.rstrip)


@every
def test_a_chat_ends_with_its_reply(name: str, loaded: Callable[[str], Loaded]) -> None:
    family, _, tokenizer = loaded(name)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    before, found, after = text.rpartition(REPLY)
    assert found and before.count(CHAT[0]["content"]) == 1
    for token in family.special:
        after = after.replace(token, "")
    assert bool(after.strip()) == family.always_prompts
    prompt = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert prompt.count(CHAT[0]["content"]) == 1 and REPLY not in prompt
    assert family.window is None or len(tokenizer(text, add_special_tokens=False)["input_ids"]) > family.window


@every
def test_the_template_treats_a_system_message_as_it_says(name: str, loaded: Callable[[str], Loaded]) -> None:
    from jinja2 import TemplateError

    family, _, tokenizer = loaded(name)
    chat = [{"role": "system", "content": "Be kind."}, CHAT[0]]

    def render(messages: list[dict[str, str]]) -> str:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    if family.system == "refused":
        with pytest.raises(TemplateError):
            render(chat)
    else:
        assert ("Be kind." in render(chat)) == (family.system != "ignored")
    before = render(CHAT[:1]).partition(CHAT[0]["content"])[0]
    assert (len(re.findall(r"\b[A-Za-z]{2,}\b", before)) > 5) == family.default_system
    assert ("strftime_now" in family.template) == family.dated


@every
def test_logits_are_finite_sharp_and_depend_on_what_the_window_shows(
    name: str, loaded: Callable[[str], Loaded]
) -> None:
    import torch

    family, model, tokenizer = loaded(name)
    chat = [CHAT[0] | {"content": CHAT[0]["content"] * 4}, CHAT[1]]
    ids = torch.tensor([tokenizer(tokenizer.apply_chat_template(chat, tokenize=False))["input_ids"]])

    def last(*changed: int) -> Any:
        other = ids.clone()
        for place in changed:
            other[0, place] = (ids[0, place] + 7) % len(tokenizer)
        with torch.inference_mode():
            return torch.log_softmax(model(other).logits[0, -1], -1)

    logprobs = last()
    assert torch.isfinite(logprobs).all()
    assert logprobs.std() > 1
    assert (last(*range(-20, -8)) - logprobs).abs().max() > 0.1
    sees_all = family.window is None or "full_attention" in (getattr(model.config, "layer_types", None) or ())
    far = (last(4, 5, 6) - logprobs).abs().max()
    assert far > 1e-3 if sees_all or family.unsupported else far == 0


@every
def test_the_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    once, twice, other = (build(name, tmp_path / str(run), seed=run // 2) for run in range(3))
    for file in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (once / file).read_bytes() == (twice / file).read_bytes()
    assert (once / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_every_template_is_used_and_its_source_is_told() -> None:
    here = Path(__file__).parent
    told = (here / "README.md").read_text("utf-8")
    for file in (here / "templates").iterdir():
        assert any(f"templates/{file.name}" in family.source for family in FAMILIES.values())
        assert f"`{file.name}`" in told
        assert file.read_text("utf-8").startswith("{#- Written for these tests to the documented ")
    assert all(
        "written for these tests" in family.source or "Apache-2.0" in family.source for family in FAMILIES.values()
    )
