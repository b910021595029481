"""Token sequences laid into one prefix tree, so that each distinct prefix token is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from untrue.engine.attention import Layout, Part


class Continuation(NamedTuple):
    """A reply after a prompt, as token ids."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]


Query = tuple[Continuation, ...]
"""Replies that are scored after one chat. Their prompts are the same but where a reply begins inside a token."""


class PrefixTree:
    """A prefix tree over token sequences, as flat lists in an order where parents come first.

    Attributes:
        tokens: Token id of each node.
        depths: Distance of each node from the root: its position in its own sequence.
        reply_tokens: For each reply token, in order, its id.
        reply_parents: And the node whose logits predict it.
        ends: For each continuation, the node of its prompt's last token.
    """

    def __init__(self, queries: Sequence[Query]):
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.reply_tokens: list[int] = []
        self.reply_parents: list[int] = []
        self.ends: list[int] = []
        self._parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}
        self._starts: list[int] = []
        known: dict[tuple[int, ...], int] = {}
        for query in queries:
            self._starts.append(len(self.tokens))
            for prompt, reply in query:
                if prompt not in known:
                    known[prompt] = self._walk(-1, prompt)
                node = known[prompt]
                self.ends.append(node)
                for place, token in enumerate(reply):
                    self.reply_tokens.append(token)
                    self.reply_parents.append(node)
                    if place + 1 < len(reply):  # nothing is read after the last token of a reply
                        node = self._child(node, token)

    def _walk(self, node: int, tokens: Sequence[int]) -> int:
        for token in tokens:
            node = self._child(node, token)
        return node

    def _child(self, parent: int, token: int) -> int:
        node = self._children.get((parent, token))
        if node is None:
            node = self._children[parent, token] = len(self.tokens)
            self.tokens.append(token)
            self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
            self._parents.append(parent)
        return node

    def path(self, node: int) -> list[int]:
        """The nodes from the root to a node."""
        path = [node]
        while (node := self._parents[node]) >= 0:
            path.append(node)
        return path[::-1]

    def ancestors(self) -> np.ndarray:
        """A boolean matrix, nodes x nodes: whether the row's node may attend to the column's."""
        matrix = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                matrix[node] |= matrix[parent]
        return matrix

    def parts(self, offset: int) -> list[Part]:
        """Cut the tree where a query leaves most of what lies before it, such as one with another system message.

        Args:
            offset: Place of the tree's root in the sequence.

        Returns:
            The parts, whose masks say in booleans what a node may attend to.
        """
        ancestors = self.ancestors()
        cuts = [0]
        for start in self._starts[1:]:
            if start < len(self.tokens) and ancestors[start, :start].sum() < (start - cuts[-1]) / 2:
                cuts.append(start)
        parts = []
        for start, end in zip(cuts, [*cuts[1:], len(self.tokens)], strict=True):
            before = np.flatnonzero(ancestors[start:end, :start].any(0))
            columns = np.concatenate([before, np.arange(start, end)])
            parts.append(
                Part(
                    slice(offset + start, offset + end),
                    torch.from_numpy(offset + before),
                    torch.from_numpy(ancestors[start:end][:, columns]),
                )
            )
        return parts


def layout(trees: Sequence[PrefixTree], *, cut: bool) -> Layout:
    """Who attends to whom in several trees that lie end to end in one sequence.

    Args:
        trees: The trees, in the order of the sequence.
        cut: Give the parts of the trees, and not the matrix of all their nodes.
    """
    depths = torch.tensor([[depth for tree in trees for depth in tree.depths]])
    if not cut:
        allowed = torch.block_diag(*(torch.from_numpy(tree.ancestors()) for tree in trees)).bool()
        return Layout(allowed[None], depths, depths)
    starts = np.cumsum([0, *(len(tree.tokens) for tree in trees)])
    parts = [part for start, tree in zip(starts, trees, strict=False) for part in tree.parts(int(start))]
    return Layout(torch.empty(1, 0, 0, dtype=torch.bool), depths, depths, parts)
