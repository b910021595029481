"""What a model says, apart from what it thinks first: many write `<think>…</think>` before they reply."""

import re

OPEN, CLOSE = "<think>", "</think>"

# What models write around their thinking.
TAGS = {
    OPEN: CLOSE,
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[THINK]": "[/THINK]",  # Magistral
    "<|START_THINKING|>": "<|END_THINKING|>",  # Cohere
}


def _leading(closes_where: str) -> re.Pattern[str]:
    """Thinking at the beginning of a text: opened there, or in the prompt, so that it is only closed."""
    parts = []
    for opening, closing in TAGS.items():
        opens, closes = re.escape(opening), re.escape(closing)
        parts += [rf"{opens}.*?(?:{closes}|\Z)", rf"(?:(?!{opens}).)*?{closes}{closes_where}"]
    return re.compile(rf"\s*(?:{'|'.join(parts)})", re.DOTALL)


# After a tag that is only closed the reply begins; a sentence that speaks of the tag goes on after a space.
_FIRST = _leading(r"(?![ \t]+\w)")

_MORE = _leading("")  # after thinking, a tag that is only closed is of thinking inside thinking


def without_thinking(text: str) -> str:
    """What is said in a text, without the thinking at its beginning; as it was where there is none.

    Some chat templates open the thinking in the prompt, so that the text begins inside it and only closes it. Thinking
    that is never closed leaves nothing: the model has not come to its reply.
    """
    said, leading = text, _FIRST.match(text)
    while leading:
        said = said[leading.end() :]
        leading = _MORE.match(said)
    return text if said == text else said.strip()
