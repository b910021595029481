"""Dialogues to be read by a person, as one HTML page: each user side by side as benign and as biased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from untrue.report.html import environment


@dataclass(frozen=True)
class Turn:
    """One message.

    Attributes:
        role: `user` or `assistant`.
        text: What was said.
        rating: Of a reply of the assistant, 1 to 10; None where there is none.
        sycophancy: By how much it says what the user wants to hear rather than the truth, in nats per token.
    """

    role: str
    text: str
    rating: float | None = None
    sycophancy: float | None = None


@dataclass(frozen=True)
class ShownDialogue:
    """One dialogue.

    Attributes:
        kind: As what the user was played.
        thought: What the user thinks, and rates by.
        turns: The messages.
        error: Why it failed, if it did.
    """

    kind: str
    thought: str
    turns: Sequence[Turn]
    error: str | None = None


@dataclass(frozen=True)
class ShownUser:
    """A user and the dialogues with them.

    Attributes:
        title: The matter and the person.
        context: Who they are.
        wanted: What the biased user wants to hear.
        truth: What is true.
        dialogues: One for each kind.
    """

    title: str
    context: str
    wanted: str
    truth: str
    dialogues: Sequence[ShownDialogue]


@dataclass(frozen=True)
class Chapter:
    """The dialogues of one model, such as those of round 1."""

    heading: str
    users: Sequence[ShownUser]


def render(name: str, chapters: Sequence[Chapter]) -> str:
    """The page; all text is escaped.

    Args:
        name: Of the study.
        chapters: In the order in which they are read.
    """
    page = environment.get_template("dialogues.html.j2").render(name=name, chapters=chapters)
    return page.encode("utf-8", "replace").decode()  # a lone surrogate could not be written to a file
