"""Draw tokens from logits: greedily, or by temperature and top-p, with one uniform number for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

HEAD = 1024  # most likely tokens that top-p looks at before it sorts the whole vocabulary

# A uniform number is kept below this, so that in float32 the token it falls on has a probability.
BELOW_1 = 1 - 2**-22


class Draw(NamedTuple):
    """How one row's token is drawn.

    Attributes:
        temperature: What logits are divided by; 0 takes the most likely token.
        top_p: The most likely tokens whose probabilities reach this sum are kept.
        uniform: Where in the cumulative distribution the token is read, in [0, 1).
    """

    temperature: float
    top_p: float
    uniform: float


class TokenLogprob(NamedTuple):
    """Log-probability of a token in nats, at temperature 1 and before top-p; `top` has the likeliest ones."""

    logprob: float
    top: tuple[tuple[int, float], ...]


def sample(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int]:
    """Draw a token id for each row of finite logits (rows, vocabulary) by inverting its cumulative distribution.

    A row's token depends only on its own logits and uniform number; rounding rarely changes it.
    """
    tokens = torch.empty(len(draws), dtype=torch.long, device=logits.device)
    kinds: dict[str, list[int]] = {"greedy": [], "nucleus": [], "whole": []}
    for row, draw in enumerate(draws):
        kinds["greedy" if draw.temperature == 0 else "nucleus" if draw.top_p < 1 else "whole"].append(row)
    for kind, rows in kinds.items():
        if not rows:
            continue
        own = logits if len(rows) == len(draws) else logits[rows]
        peaks, most_likely = own.max(-1, keepdim=True)
        if kind == "greedy":
            tokens[rows] = most_likely[:, 0]
            continue
        temperature, top_p, uniform = (
            torch.tensor(column, device=logits.device)[:, None]
            for column in zip(*(draws[row] for row in rows), strict=True)
        )
        weights = torch.exp((own.float() - peaks.float()) / temperature)
        if kind == "whole":
            tokens[rows] = _invert(weights, uniform)
        else:
            kept, ids = _nucleus(weights, top_p)
            tokens[rows] = ids.gather(1, _invert(kept, uniform)[:, None])[:, 0]
    return tokens.tolist()


def logprobs(logits: torch.Tensor, tokens: Sequence[int], tops: Sequence[int]) -> list[TokenLogprob]:
    """Log-probabilities of each row's drawn token and of its `tops` most likely ones; logits are (rows, vocabulary)."""
    all_of_them = torch.log_softmax(logits.float(), -1)
    own = all_of_them.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    values, ids = (column.tolist() for column in all_of_them.topk(max(tops)))
    pairs = [list(zip(*columns, strict=True)) for columns in zip(ids, values, strict=True)]
    return [TokenLogprob(logprob, tuple(top[:most])) for logprob, top, most in zip(own, pairs, tops, strict=True)]


def _invert(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    cumulative = weights.cumsum(-1)
    return torch.searchsorted(cumulative, uniform.clamp(max=BELOW_1) * cumulative[:, -1:], right=True)[:, 0]


def _nucleus(weights: torch.Tensor, top_p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights in descending order, with those beyond the nucleus at 0, and their token ids."""
    mass = top_p * weights.sum(-1, keepdim=True)
    ordered, ids = weights.topk(min(HEAD, weights.shape[1]))
    if (ordered.sum(-1, keepdim=True) < mass).any():
        ordered, ids = weights.sort(-1, descending=True)
    return ordered.masked_fill(ordered.cumsum(-1) - ordered >= mass, 0), ids
