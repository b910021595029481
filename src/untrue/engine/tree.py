"""Token sequences laid into one prefix tree, so that each distinct prefix token is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from untrue.engine.attention import Part, added, suits, using_tree_attention

if TYPE_CHECKING:
    from untrue.engine.likelihood import Bundle


class PrefixTree:
    """A prefix tree over token sequences, as flat lists in an order where parents come first.

    Attributes:
        tokens: Token id of each node.
        depths: Distance of each node from the root: its position in its own sequence.
        reply_tokens: For each reply token of the bundle, in order, its id.
        reply_parents: And the node whose logits predict it.
        ends: For each query, the node of its prompt's last token.
    """

    def __init__(self, bundle: Bundle):
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.reply_tokens: list[int] = []
        self.reply_parents: list[int] = []
        self.ends: list[int] = []
        self._parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}
        self._starts: list[int] = []
        for query in bundle:
            self._starts.append(len(self.tokens))
            end = -1
            for token in query.prompt:
                end = self._child(end, token)
            self.ends.append(end)
            for reply in query.replies:
                node = end
                for place, token in enumerate(reply):
                    self.reply_tokens.append(token)
                    self.reply_parents.append(node)
                    if place + 1 < len(reply):  # nothing is read after the last token of a reply
                        node = self._child(node, token)

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


def attending(model: Any, trees: Sequence[PrefixTree]) -> tuple[torch.Tensor, AbstractContextManager[None]]:
    """How a base model is made to attend inside each of several trees that lie end to end in one sequence.

    Args:
        model: The base model.
        trees: The trees, in the order of the sequence.

    Returns:
        The attention mask to call it with, and a context to call it in.
    """
    if not suits(model):
        allowed = torch.block_diag(*(torch.from_numpy(tree.ancestors()) for tree in trees))
        return added(allowed, model)[None, None], nullcontext()
    starts = np.cumsum([0, *(len(tree.tokens) for tree in trees)])
    parts = [part for start, tree in zip(starts, trees, strict=False) for part in tree.parts(int(start))]
    parts = [part._replace(mask=added(part.mask, model)) for part in parts]
    return parts[0].mask[None, None], using_tree_attention(model, parts)
