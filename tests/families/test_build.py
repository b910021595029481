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
