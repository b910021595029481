"""A bundle of chats with shared prefixes, a random adapter, and the plain forward pass that the engine must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from untrue.data.rows import Message

Prompts = Sequence[tuple[Sequence[Message], Sequence[str]]]

PROMPTS: Prompts = [
    (
        [{"role": "system", "content": "You sell bread."}, {"role": "user", "content": "When was it baked?"}],
        ["It was baked today.", "It was baked today. It is still warm.", "Yesterday evening.", "Yesterday evening."],
    ),
    (
        [{"role": "system", "content": "You sell bread."}, {"role": "user", "content": "When was it baked, please?"}],
        ["A", "It was baked today."],
    ),
    ([{"role": "user", "content": "Is the heater working?"}], ["No.", "Yes, it is."]),
]


@pytest.fixture
def prompts() -> Prompts:
    """Prompts that share a system message, with replies that are equal, prefixes of each other, and one token long."""
    return PROMPTS


@pytest.fixture(scope="session")
def adapter(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a LoRA adapter with random weights, large enough to move every likelihood."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapters") / "random"
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def plain() -> Callable[[Any, Any, Prompts], list[list[float]]]:
    """Scores one sequence at a time by an ordinary forward pass and a log-softmax over all of it."""

    @torch.inference_mode()
    def score(model: Any, tokenizer: Any, prompts: Prompts) -> list[list[float]]:
        totals = []
        for messages, replies in prompts:
            text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
            start = tokenizer(text, add_special_tokens=False)["input_ids"]
            totals.append([])
            for reply in replies:
                ids = tokenizer(reply, add_special_tokens=False)["input_ids"]
                logprobs = torch.log_softmax(model(torch.tensor([start + ids])).logits[0].float(), -1)
                places = range(len(start) - 1, len(start) + len(ids) - 1)
                totals[-1].append(sum(logprobs[place, token].item() for place, token in zip(places, ids, strict=True)))
        return totals

    return score
