"""What a model says, apart from what it thinks first: many write `<think>…</think>` before they reply."""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"

_LEADING = re.compile(rf"\s*(?:{OPEN}.*?(?:{CLOSE}|\Z)|(?:(?!{OPEN}).)*?{CLOSE})", re.DOTALL)


def without_thinking(text: str) -> str:
    """What is said in a text, without the thinking at its beginning; as it was where there is none.

    Some chat templates open the thinking in the prompt, so that the text begins inside it and only closes it. Thinking
    that is never closed leaves nothing: the model has not come to its reply.
    """
    said = text
    while leading := _LEADING.match(said):
        said = said[leading.end() :]
    return text if said == text else said.strip()
