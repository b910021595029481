"""Log-likelihoods of replies after prompts, each distinct prefix token computed once.

The token sequences of a bundle (prompt + reply, for all its prompts and replies) are laid into one prefix tree. The
tree goes through the model in a single forward pass: a token attends to its ancestors alone and its position is its
depth, so each branch sees what it would see by itself. Logits are made only at the parents of reply tokens.

The model must attend by transformers' own masks, with SDPA or eager attention; see `attention.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from untrue.engine.attention import attending, is_plain
from untrue.engine.tree import Continuation, PrefixTree, Query, layout
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


ROWS = 16
"""Rows of logits that are in float32 at once."""

Bundle = Sequence[Query]
"""Queries that are scored together, such as all the prompts of one item."""


class LikelihoodEngine:
    """Scores replies with one model; an adapter on the model counts, unless the base is asked for."""

    def __init__(self, loaded: LoadedModel, model: Any = None, *, base: bool = False):
        """Take a loaded base, and the model to run where an adapter is on it.

        Args:
            loaded: The base.
            model: The base with an adapter on it.
            base: Switch the adapter off for the length of each pass.
        """
        self.base = loaded.model
        self.model = loaded.model if model is None else model
        self.max_tokens = loaded.context
        self._chat = loaded.chat
        self._switched_off = base and self.model is not self.base
        self._overwritten = loaded.kept
        self._pass_tokens = loaded.pass_tokens
        self.device = loaded.model.device

    def query(self, messages: Sequence[Any], replies: Sequence[str]) -> Query:
        """Tokenise chat messages and the replies to them, each reply together with its prompt.

        Args:
            messages: Chat messages (`role`, `content`) before the reply.
            replies: Texts of the replies.

        Raises:
            UserError: A reply is empty, the chat template refuses the messages, or prompt and reply are longer than the
                model's context.
        """
        found = []
        for reply in replies:
            turn = self._chat.encode(messages, [{"role": "assistant", "content": reply}])
            if (length := len(turn.prompt) + len(turn.reply)) > self.max_tokens:
                raise UserError(
                    f"prompt and reply have {length} tokens, the model takes {self.max_tokens}: {reply[:60]!r}."
                )
            found.append(Continuation(turn.prompt, turn.reply))
        return tuple(found)

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
        if self._switched_off and self._overwritten:
            raise UserError(
                f"{self.base.name_or_path}: the adapter on it has biases of its own, which cannot be switched off for a"
                " pass."
            )
        trees = [PrefixTree(bundle) for bundle in bundles]
        count = sum(len(tree.tokens) for tree in trees)
        if count > self._pass_tokens and sum(len(query) for bundle in bundles for query in bundle) > 1:
            return [[[self.score([(one,)])[0][0] for one in query] for query in bundle] for bundle in bundles]
        starts = np.cumsum([0, *(len(tree.tokens) for tree in trees)])
        parents, rows = np.unique(
            np.concatenate([start + np.array(tree.reply_parents) for start, tree in zip(starts, trees, strict=False)]),
            return_inverse=True,
        )
        off = self.model.disable_adapter() if self._switched_off else nullcontext()
        with attending(self.base, layout(trees, cut=is_plain(self.base))), off:
            logits = self.model(
                input_ids=torch.tensor([[token for tree in trees for token in tree.tokens]], device=self.device),
                # Without it transformers would take the positions of a tree for several sequences, one after another.
                attention_mask=torch.ones(1, count, dtype=torch.long, device=self.device),
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
            [[Likelihood(sum(islice(logprobs, len(reply))), len(reply)) for _, reply in query] for query in bundle]
            for bundle in bundles
        ]
