"""Adapters with random weights, made by PEFT alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHAT_TEMPLATE

OWN_TEMPLATE = CHAT_TEMPLATE.replace("message['role'] +", "message['role'] | upper +").replace("assistant", "ASSISTANT")
"""A chat template that is not the tiny model's."""


def bring_tokenizer(adapter: Path, base: Path | str, **changes: Any) -> Path:
    """Put the base's tokenizer, with changes, into an adapter's folder, as TRL's `trainer.save_model` does."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    added = changes.pop("added", {})
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.add_special_tokens(added)
    tokenizer("a b c", truncation=True, max_length=2)  # a setting of a training, saved with it
    tokenizer.save_pretrained(adapter)
    return adapter


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, free to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.fixture
def make_adapter(tiny_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes an adapter for the tiny model, or for one of another width."""

    def make(name: str = "adapter", *, config: Any = None, hidden_size: int = 32, seed: int = 0) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        base: Any = LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_folder, hidden_size=hidden_size))
        base.name_or_path = str(tiny_folder)
        config = config or LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
        model: Any = get_peft_model(base, config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make
