"""What one item of a judged eval takes: calls of the model under study, and of its judge."""

from __future__ import annotations

from typing import NamedTuple

REPLY_TOKENS = 200
"""Tokens of a reply, roughly, where its limit is not lower."""

REPLY = "word" * REPLY_TOKENS
"""What stands for a reply that is not there yet: four characters a token."""


class Calls(NamedTuple):
    """The texts that are sent for one item.

    Attributes:
        once: To the model, once whatever the epochs.
        each: To the model, in each epoch.
        judged_once: To the judge, about the replies to `once`.
        judged_each: To the judge, in each epoch. At the most: what a judgement makes needless is not asked.
    """

    once: list[str]
    each: list[str]
    judged_once: list[str]
    judged_each: list[str]
