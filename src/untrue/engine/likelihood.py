"""Log-likelihoods of replies after prompts, each distinct prefix token computed once.

The token sequences of a bundle (prompt + reply, for all its prompts and replies) are laid into one prefix tree. The
tree goes through the model in a single forward pass: a token attends to its ancestors alone and its position is its
depth, so each branch sees what it would see by itself. Logits are made only at the parents of reply tokens.

The model must take a 4-D attention mask (every transformers model with SDPA or eager attention does).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from untrue.engine.tree import PrefixTree, attending
from untrue.errors import UserError
from untrue.models.load import LoadedModel


class Likelihood(NamedTuple):
    """Log-probability of a reply given its prompt, in nats, without the end-of-turn token.

    Attributes:
        total: Sum over the tokens.
        tokens: Number of tokens.
    """

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.tokens


@dataclass(frozen=True)
class Query:
    """Replies to be scored after one prompt, as token ids."""

    prompt: tuple[int, ...]
    replies: tuple[tuple[int, ...], ...]


ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Types of layers that obey an attention mask."""

ROWS = 16
"""Rows of logits that are in float32 at once."""

Bundle = Sequence[Query]
"""Queries that are scored together, such as all the prompts of one item."""


class LikelihoodEngine:
    """Scores replies with one model; an adapter on the model counts, unless the untouched base is asked for."""

    def __init__(self, loaded: LoadedModel, model: Any = None, *, untouched: bool = False):
        """Take a loaded base, and the model to run where an adapter is on it.

        Args:
            loaded: The base.
            model: The base with an adapter on it.
            untouched: Switch the adapter off for the length of each pass.
        """
        self.tokenizer = loaded.tokenizer
        self.base = loaded.model
        self.model = loaded.model if model is None else model
        self._switched_off = untouched and self.model is not self.base
        self.device = loaded.model.device
        config = loaded.model.config.get_text_config()
        self.max_tokens = config.max_position_embeddings
        if recurrent := set(getattr(config, "layer_types", None) or ()) - ATTENTION:
            raise UserError(
                f"{loaded.name}: has layers of type {', '.join(sorted(recurrent))}, which would mix the branches of a"
                " prefix tree. Its likelihoods cannot be read here."
            )

    def query(self, messages: Sequence[Any], replies: Sequence[str]) -> Query:
        """Tokenise chat messages and the replies to them.

        Args:
            messages: Chat messages (`role`, `content`) before the reply.
            replies: Texts of the replies.

        Raises:
            UserError: A reply is empty, or prompt and reply are longer than the model's context.
        """
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        prompt = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        tokens = tuple(tuple(self.tokenizer(reply, add_special_tokens=False)["input_ids"]) for reply in replies)
        for reply, ids in zip(replies, tokens, strict=True):
            if not ids:
                raise UserError(f"the reply {reply!r} has no tokens, so it has no likelihood.")
            if len(prompt) + len(ids) > self.max_tokens:
                raise UserError(
                    f"prompt and reply have {len(prompt) + len(ids)} tokens,"
                    f" the model takes {self.max_tokens}: {reply[:60]!r}."
                )
        return Query(prompt, tokens)

    @torch.inference_mode()
    def score(self, bundle: Bundle) -> list[list[Likelihood]]:
        """Score a bundle in one forward pass.

        Returns:
            For each query, for each of its replies, its likelihood.
        """
        return self.score_all([bundle])[0]

    @torch.inference_mode()
    def score_all(self, bundles: Sequence[Bundle]) -> list[list[list[Likelihood]]]:
        """Score several bundles in one forward pass, each as a tree of its own."""
        trees = [PrefixTree(bundle) for bundle in bundles]
        starts = np.cumsum([0, *(len(tree.tokens) for tree in trees)])
        parents, rows = np.unique(
            np.concatenate([start + np.array(tree.reply_parents) for start, tree in zip(starts, trees, strict=False)]),
            return_inverse=True,
        )
        mask, attention = attending(self.base, trees)
        with attention, self.model.disable_adapter() if self._switched_off else nullcontext():
            logits = self.model(
                input_ids=torch.tensor([[token for tree in trees for token in tree.tokens]], device=self.device),
                attention_mask=mask,
                position_ids=torch.tensor([[depth for tree in trees for depth in tree.depths]], device=self.device),
                logits_to_keep=torch.from_numpy(parents).to(self.device),
                use_cache=False,
            ).logits[0]
        rows = torch.from_numpy(rows).to(self.device)
        targets = torch.tensor([token for tree in trees for token in tree.reply_tokens], device=self.device)
        # A few rows at a time: what all of them take in float32 would be fetched from the system anew each time.
        normalizers = torch.cat([torch.logsumexp(part.float(), -1) for part in logits.split(ROWS)])
        logprobs = iter((logits[rows, targets].float() - normalizers[rows]).cpu().tolist())
        return [
            [[Likelihood(sum(islice(logprobs, len(reply))), len(reply)) for reply in query.replies] for query in bundle]
            for bundle in bundles
        ]
