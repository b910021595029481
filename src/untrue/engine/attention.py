"""Attention under a tree mask, as plain matrix products: on a CPU nearly twice as fast as SDPA with a mask.

SDPA's CPU kernel does not use the mask to skip work, and repeats the keys of grouped queries. Here each tree attends by
itself, the queries that share a key head are one tall matrix, and scores, softmax and values are three calls. Numbers
differ from SDPA's by rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "untrue_tree"
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Model types whose attention is a softmax of scaled scores and nothing else: no soft caps, no sinks."""


_masks: list[torch.Tensor] = []


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention inside each of several trees that lie end to end in one sequence, as transformers calls it.

    Args:
        module: The attention layer.
        query: (1, heads, tokens, width).
        key: (1, key heads, tokens, width).
        value: (1, key heads, tokens, width).
        attention_mask: Not used: the masks are those of `using_tree_attention`.
        scaling: What scores are multiplied by.

    Returns:
        (1, tokens, heads, width), and no weights.
    """
    heads, width = query.shape[1], query.shape[3]
    shared = heads // key.shape[1]
    mixed, start = [], 0
    for mask in _masks:
        tokens = len(mask)
        part = slice(start, start + tokens)
        tall = query[0, :, part].reshape(-1, shared * tokens, width)
        added = mask.repeat(shared, 1).expand(len(tall), -1, -1)
        scores = torch.baddbmm(added, tall, key[0, :, part].transpose(1, 2), alpha=scaling)
        mixed.append(torch.bmm(torch.softmax(scores, -1), value[0, :, part]).view(heads, tokens, -1))
        start += tokens
    return torch.cat(mixed, 1).transpose(0, 1)[None].contiguous(), None


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def suits(model: Any) -> bool:
    """Whether a model attends in the plain way that `tree_attention` computes, and runs on a CPU."""
    return model.device.type == "cpu" and model.config.get_text_config().model_type in PLAIN


@contextmanager
def using_tree_attention(model: Any, masks: list[torch.Tensor]) -> Iterator[None]:
    """Make a base model attend by `tree_attention`, and as before at the end.

    Args:
        model: The base model.
        masks: For each tree what is added to its scores, (tokens, tokens): 0, or minus infinity.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    _masks[:] = masks
    try:
        yield
    finally:
        model.config._attn_implementation = before
        _masks.clear()
