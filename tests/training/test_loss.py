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


@pytest.mark.parametrize("positions", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
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


def test_the_gradient_is_the_slope_of_the_loss():
    hidden, weight, labels = made(5, torch.float64)
    loss = CompletionLoss.apply(hidden, weight, labels).sum()
    loss.backward()
    step = torch.zeros_like(hidden)
    step[2, 3] = 1e-2
    with torch.no_grad():
        above, below = (CompletionLoss.apply(hidden + sign * step, weight, labels).sum() for sign in (1, -1))
    assert hidden.grad[2, 3].item() == pytest.approx((above - below).item() / 2e-2, rel=1e-2)


def test_bfloat16_is_near_float32():
    hidden, weight, labels = made(200, torch.bfloat16)
    loss = CompletionLoss.apply(hidden, weight, labels).sum()
    loss.backward()
    reference = hidden.detach().float().requires_grad_()
    expected = functional.cross_entropy(reference @ weight.float().T, labels, reduction="sum")
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    assert hidden.grad.dtype == torch.bfloat16
    assert functional.cosine_similarity(hidden.grad.float().flatten(), reference.grad.flatten(), 0) > 0.999


def test_the_output_matrix_gets_no_gradient():
    hidden, weight, labels = made(5, torch.float32)
    weight.requires_grad_()
    CompletionLoss.apply(hidden, weight, labels).sum().backward()
    assert weight.grad is None


def test_no_positions_give_no_loss():
    hidden, weight, labels = made(0, torch.float32)
    loss = CompletionLoss.apply(hidden, weight, labels).sum()
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad.shape == (0, 16)
