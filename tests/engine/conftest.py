"""A bundle of chats with shared prefixes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from untrue.data.rows import Message

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
