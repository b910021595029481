"""Who attends to whom in a forward pass of our own: branches of prefix trees, or rows of different lengths.

transformers hands each kind of layer's rule (causal, sliding window, chunks) to a mask function. Ours applies it to
positions in a token's own sequence and adds which tokens are in that sequence, so windows and chunks hold on a tree.

On a CPU the attention of the simplest models is computed here, as plain matrix products: nearly twice as fast as SDPA,
whose kernel computes what the mask hides and repeats the keys of grouped queries. Each part of a tree attends to itself
and its ancestors; the queries of a key head are one tall matrix. Numbers differ from SDPA's by rounding.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from untrue.errors import UserError
from untrue.models.families import family_of


class Part(NamedTuple):
    """Consecutive nodes of a tree, and what they may attend to.

    Attributes:
        rows: Their places in the sequence.
        before: Places of the ancestors of any of them outside of `rows`, (n,).
        allowed: Whether a node of `rows` may attend to one of `before` and `rows`, (rows, n + rows).
    """

    rows: slice
    before: Tensor
    allowed: Tensor


class Layout(NamedTuple):
    """Which tokens are in one sequence, and where.

    Attributes:
        allowed: Whether a query's sequence has a key at or before it, (rows, queries, keys); empty with parts.
        queries: Position of each query in its own sequence, (rows, queries).
        keys: Position of each key in its own, (rows or 1, keys).
        parts: How trees are cut; else empty.
    """

    allowed: Tensor
    queries: Tensor
    keys: Tensor
    parts: Sequence[Part] = ()


# Of transformers: whether at (batch, head, query position, key position) there is attention.
Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def is_plain(model: Any) -> bool:
    """Whether a model's attention can be computed here, and it runs on a CPU."""
    return (
        model.device.type == "cpu" and family_of(model.config).is_plain and model.config._attn_implementation == "sdpa"
    )


@contextmanager
def attending(model: Any, layout: Layout) -> Iterator[None]:
    """Make a base model attend by a layout meanwhile; UserError if its masks depend on more than positions."""
    name, plain, asked = model.config._attn_implementation, is_plain(model), False
    strange = UserError(
        f"{model.name_or_path}: makes its attention masks in a way of its own, so its likelihoods cannot be read here."
    )

    def mask(*, mask_function: Rule, dtype: torch.dtype = torch.float32, use_vmap: bool = False, **_: Any) -> Any:
        nonlocal asked
        asked = True
        if use_vmap:
            raise strange  # a rule of more than positions, which means nothing on a tree
        if plain and layout.parts:
            return _part_masks(layout, mask_function, dtype, model)
        return _added(layout.allowed[:, None].to(model.device) & _rule(layout, mask_function, model.device), dtype)

    replaced: list[tuple[Any, Callable[..., Any]]] = [(ALL_MASK_ATTENTION_FUNCTIONS, mask)]
    if plain:
        replaced.append((ALL_ATTENTION_FUNCTIONS, _tree_attention if layout.parts else _row_attention))
    for interface, function in replaced:
        interface[name] = function
    try:
        yield
    finally:
        for interface, _ in replaced:
            del interface[name]  # transformers' own function is under it again
    if not asked:
        raise strange


def _rule(layout: Layout, rule: Rule, device: torch.device) -> Tensor:
    """A model's own rule on the positions, (rows, 1, queries, keys)."""
    rows = torch.arange(len(layout.queries), device=device)[:, None, None, None]
    none = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=device)
    queries, keys = layout.queries.to(device), layout.keys.to(device)
    return rule(rows, none, queries[:, None, :, None], keys[:, None, None, :])


def _part_masks(layout: Layout, rule: Rule, dtype: torch.dtype, model: Any) -> list[Part]:
    """The parts of a layout, with what is added to the scores of the queries of a key head."""
    config = model.config.get_text_config()
    sharing = config.num_attention_heads // config.num_key_value_heads
    masks = []
    for part in layout.parts:
        keys = torch.cat([layout.keys[0, part.before], layout.keys[0, part.rows]])
        own = _rule(Layout(part.allowed, layout.queries[:, part.rows], keys[None]), rule, model.device)[0, 0]
        masks.append(part._replace(allowed=_added(part.allowed & own, dtype).repeat(sharing, 1)))
    return masks


def _added(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 for what is allowed, minus infinity for the rest."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -math.inf)


def _tree_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: list[Part], scaling: float, **_: Any
) -> tuple[Tensor, None]:
    heads, key_heads, width = query.shape[1], key.shape[1], query.shape[3]
    mixed = []
    for rows, before, mask in attention_mask:
        tall = query[0, :, rows].reshape(key_heads, -1, width)
        keys, values = key[0, :, rows], value[0, :, rows]
        if len(before):
            keys, values = torch.cat([key[0, :, before], keys], 1), torch.cat([value[0, :, before], values], 1)
        scores = torch.baddbmm(mask.expand(key_heads, -1, -1), tall, keys.transpose(1, 2), alpha=scaling)
        mixed.append(torch.bmm(torch.softmax(scores, -1), values).view(heads, -1, width))
    return torch.cat(mixed, 1).transpose(0, 1)[None].contiguous(), None


def _row_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention of one new token in each row, as transformers calls it."""
    rows, heads, width = query.shape[0], query.shape[1], query.shape[3]
    key_heads, tokens = key.shape[1:3]
    together = (query * scaling).reshape(rows * key_heads, -1, width)
    scores = torch.bmm(together, key.flatten(0, 1).transpose(1, 2)).view(rows, heads, tokens)
    weights = torch.softmax(scores + attention_mask[:, 0], -1).view(rows * key_heads, -1, tokens)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, -1), None
