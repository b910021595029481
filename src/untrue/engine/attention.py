"""Attention under a tree mask, as plain matrix products: on a CPU nearly twice as fast as SDPA with a mask.

SDPA's CPU kernel does not use the mask to skip work, and repeats the keys of grouped queries. Here each part of a tree
attends to itself and its ancestors, the queries that share a key head are one tall matrix, and scores, softmax and
values are three calls. Numbers differ from SDPA's by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "untrue_tree"
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Model types whose attention is a softmax of scaled scores and nothing else: no soft caps, no sinks."""


class Part(NamedTuple):
    """Consecutive nodes of a tree, and what they may attend to.

    Attributes:
        rows: Their places in the sequence.
        before: Places of the ancestors of any of them outside of `rows`, (n,).
        mask: What is added to the scores of `rows` with `before` and `rows`: 0, or minus infinity.
    """

    rows: slice
    before: torch.Tensor
    mask: torch.Tensor


_parts: list[Part] = []


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
    heads, key_heads, width = query.shape[1], key.shape[1], query.shape[3]
    mixed = []
    for rows, before, mask in _parts:
        tall = query[0, :, rows].reshape(key_heads, -1, width)
        keys, values = key[0, :, rows], value[0, :, rows]
        if len(before):
            keys, values = torch.cat([key[0, :, before], keys], 1), torch.cat([value[0, :, before], values], 1)
        scores = torch.baddbmm(mask.expand(key_heads, -1, -1), tall, keys.transpose(1, 2), alpha=scaling)
        mixed.append(torch.bmm(torch.softmax(scores, -1), values).view(heads, -1, width))
    return torch.cat(mixed, 1).transpose(0, 1)[None].contiguous(), None


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def suits(model: Any) -> bool:
    """Whether a model attends in the plain way that `tree_attention` computes, and runs on a CPU."""
    return model.device.type == "cpu" and model.config.get_text_config().model_type in PLAIN


def added(allowed: torch.Tensor, model: Any) -> torch.Tensor:
    """What is added to scores so that only what is allowed counts, in a model's dtype and on its device."""
    return torch.zeros(allowed.shape, dtype=model.dtype).masked_fill_(~allowed, -math.inf).to(model.device)


@contextmanager
def using_tree_attention(model: Any, parts: list[Part]) -> Iterator[None]:
    """Make a base model attend by `tree_attention`, and as before at the end.

    Args:
        model: The base model.
        parts: What attends to what, in the order of the sequence.
    """
    config = model.config.get_text_config()
    sharing = config.num_attention_heads // config.num_key_value_heads
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    _parts[:] = [part._replace(mask=part.mask.repeat(sharing, 1)) for part in parts]
    try:
        yield
    finally:
        model.config._attn_implementation = before
        _parts.clear()
