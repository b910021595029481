"""A bundle of chats with shared prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from untrue.data.rows import Message
from untrue.models.load import LoadedModel

Prompts = Sequence[tuple[Sequence[Message], Sequence[str]]]

PROMPTS: Prompts = [
    (
        [{"role": "system", "content": "You sell bread."}, {"role": "user", "content": "When was it baked?"}],
        ["It was baked today.", "It was baked today. It is still warm.", "Yesterday evening.", "Yesterday evening."],
    ),
    (
        [{"role": "system", "content": "You sell bread."}, {"role": "user", "content": "When was it baked, please?"}],
        ["A", "It was baked today."],
    ),
    ([{"role": "user", "content": "Is the heater working?"}], ["No.", "Yes, it is."]),
]


@pytest.fixture
def prompts() -> Prompts:
    """Prompts that share a system message, with replies that are equal, prefixes of each other, and one token long."""
    return PROMPTS


@pytest.fixture
def passes(tiny: LoadedModel) -> Iterator[list[tuple[int, int]]]:
    """Rows and width of each forward pass of the tiny model so far."""
    shapes: list[tuple[int, int]] = []
    embeddings = tiny.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[:2])))
    yield shapes
    hook.remove()
