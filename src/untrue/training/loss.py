"""The loss of a completion, computed only where there is a label and without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch

CHUNK = 128
"""Positions whose logits exist at once: 128 x 49,152 float32 logits are 25 MB, which a CPU's last cache can hold."""


class CompletionLoss(torch.autograd.Function):
    """Cross-entropy of each label given hidden states and a frozen output matrix.

    The gradient for the hidden states, where one is asked for, is made in the forward pass, chunk by chunk, so that
    each chunk's logits are read while they are in the cache. The output matrix gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return the losses in nats, (positions,).

        Args:
            ctx: Autograd's context.
            hidden: States at labelled positions, (positions, width).
            weight: Output matrix, (vocabulary, width).
            labels: Token ids, (positions,).
        """
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        losses = hidden.new_empty(len(hidden), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logprobs = torch.log_softmax((hidden[part] @ weight.T).float(), -1)
            label = labels[part, None]
            losses[part] = -logprobs.gather(1, label)[:, 0]
            if slopes is not None:
                slope = logprobs.exp_().scatter_add_(1, label, torch.full_like(label, -1, dtype=torch.float32))
                slopes[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Scale each position's gradient, made in the forward pass."""
        (slopes,) = ctx.saved_tensors
        return slopes * grad_outputs[0][:, None].to(slopes.dtype), None, None
