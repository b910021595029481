"""The chunked loss is cross-entropy, in value and in gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from untrue.training.trainer import CHUNK, CompletionLoss


def made(positions: int, dtype: torch.dtype, width: int = 16, vocabulary: int = 50) -> tuple[Any, Any, Any]:
    generator = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, vocabulary, (positions,), generator=generator)
    return hidden, weight, labels


@pytest.mark.parametrize("positions", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_are_those_of_cross_entropy(positions, dtype):
    hidden, weight, labels = made(positions, dtype)
    reference = hidden.detach().clone().requires_grad_()
    expected = functional.cross_entropy(reference @ weight.T, labels, reduction="sum")
    loss = CompletionLoss.apply(hidden, weight, labels).sum()
    (loss / 3).backward()
    (expected / 3).backward()
    torch.testing.assert_close(loss.double(), expected.detach().double(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(hidden.grad, reference.grad, rtol=1e-4, atol=1e-5)
