"""What the comparisons of our trainers with TRL's own share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

MATRICES = 2 * 2 * 7
"""A and B of seven matrices in each of two layers."""


def lora() -> LoraConfig:
    """Of random weights, so that every matrix has a gradient."""
    return LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")


def settings(folder: Path, batch_size: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Arguments of a trainer on a CPU."""
    quiet = {"use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}
    bf16 = dtype == torch.bfloat16
    return quiet | {"output_dir": str(folder), "bf16": bf16, "per_device_train_batch_size": batch_size}


def move_from_reference(model: Any) -> None:
    """Move the adapter, so that all terms of the loss count."""
    for name, value in model.named_parameters():
        if ".default." in name:
            value.data += 0.02 * torch.randn_like(value)


def loss_and_gradients(
    trainer: Any, compute: Callable[..., Any], batch: Any, **rest: Any
) -> tuple[float, dict[str, torch.Tensor]]:
    trainer.model.zero_grad()
    trainer.model.train()
    loss = compute(trainer.model, dict(batch), **rest)
    loss.backward()
    named = trainer.model.named_parameters()
    return loss.item(), {name: value.grad.clone() for name, value in named if value.grad is not None}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], is_rounded: bool = False) -> None:
    """The gradients are the same; in bfloat16 the two round in other places."""
    assert found.keys() == expected.keys()
    assert len(found) == MATRICES
    flat = [torch.cat([part[name].flatten() for name in found]) for part in (found, expected)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > (0.98 if is_rounded else 0.999999)
    if not is_rounded:
        torch.testing.assert_close(*flat, rtol=1e-3, atol=1e-6)
