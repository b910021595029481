"""A cache of keys and values for rows of any length, which come and go."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class Slots(Cache):
    """Keys and values of the rows of a batch, written in place at each row's own length.

    transformers' own caches either grow by copying all they hold for each token, or give every row the same length.

    Attributes:
        rows: Rows that there is room for.
        capacity: Tokens that a row has room for.
    """

    def __init__(self, like: Cache, rows: int, capacity: int, *, columns: bool):
        """Allocate, in the shapes of a filled cache.

        Args:
            like: A cache of the same model.
            rows: Rows that there is room for.
            capacity: Tokens that a row has room for.
            columns: Keep keys token by token side by side, which `attention.py` reads faster; SDPA wants the other.
        """
        self.rows, self.capacity = rows, capacity
        self._place = _Place()
        self._own: list[Any] = [_Layer(layer, rows, capacity, columns, self._place) for layer in like.layers]
        super().__init__(layers=self._own)

    def fill(self, row: int, source: Cache, source_row: int, places: torch.Tensor | slice) -> None:
        """Copy the keys and values at some places of another cache's row into the start of a row."""
        sources: list[Any] = source.layers
        for layer, other in zip(self._own, sources, strict=True):
            for mine, theirs in ((layer.keys, other.keys), (layer.values, other.values)):
                copied = theirs[source_row, :, places]
                mine[row, :, : copied.shape[1]] = copied

    def append_at(self, lengths: list[int]) -> None:
        """Say where the next forward pass writes: row i at its length."""
        device = self._own[0].keys.device
        self._place.lengths = torch.tensor(lengths, device=device)
        self._place.rows = torch.arange(len(lengths), device=device)
        self._place.tokens = max(lengths) + 1


class _Place:
    """Where a forward pass writes, the same in all layers. (They do not hold the cache: a circle would keep it.)"""

    rows: torch.Tensor
    lengths: torch.Tensor
    tokens: int = 0


class _Layer(DynamicLayer):
    def __init__(self, like: Any, rows: int, capacity: int, columns: bool, place: _Place):
        super().__init__()
        self._place = place
        _, heads, _, width = like.keys.shape
        # Zeros: what lies beyond a row's length is multiplied by a weight of 0, and must be a number.
        if columns:
            self.keys = like.keys.new_zeros(rows, heads, width, capacity).transpose(2, 3)
        else:
            self.keys = like.keys.new_zeros(rows, heads, capacity, width)
        self.values = like.values.new_zeros(rows, heads, capacity, like.values.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        place, keys, values = self._place, self.keys, self.values
        assert keys is not None and values is not None
        keys[place.rows, :, place.lengths] = key_states[:, :, 0]
        values[place.rows, :, place.lengths] = value_states[:, :, 0]
        rows = len(place.rows)
        return keys[:rows, :, : place.tokens], values[:rows, :, : place.tokens]

    def get_seq_length(self) -> int:
        return self._place.tokens
