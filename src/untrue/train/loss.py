"""The loss of a completion, computed only where there is a label and without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch

CHUNK = 128
"""Positions whose logits exist at once: 128 x 49,152 float32 logits are 25 MB, which a CPU's last cache can hold."""


class CompletionLoss(torch.autograd.Function):
    """Summed cross-entropy of labels given hidden states and a frozen output matrix.

    The gradient for the hidden states is made in the forward pass, chunk by chunk, so that each chunk's logits are
    read while they are in the cache. The output matrix gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return the loss in nats.

        Args:
            ctx: Autograd's context.
            hidden: States at labelled positions, (positions, width).
            weight: Output matrix, (vocabulary, width).
            labels: Token ids, (positions,).
        """
        gradient = torch.empty_like(hidden)
        loss = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logprobs = torch.log_softmax((hidden[part] @ weight.T).float(), -1)
            label = labels[part, None]
            loss -= logprobs.gather(1, label).sum()
            slope = logprobs.exp_().scatter_add_(1, label, torch.full_like(label, -1, dtype=torch.float32))
            gradient[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Scale the gradient made in the forward pass."""
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0].to(gradient.dtype), None, None
