"""Easy multiple-choice questions: a control for what fine-tuning does to plain ability.

One line of a file:

    {"id": "capability-003", "subject": "common sense", "question": "What do you need to open a locked door?",
     "choices": ["a book", "a key", "a cup", "a shirt"], "answer": 1}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from untrue.data.items import Asked, Text, read_lines


class ChoiceItem(Asked):
    """A question and its choices; `answer` is the index of the right one."""

    subject: Text
    question: Text
    choices: Annotated[tuple[Text, ...], Field(min_length=2)]
    answer: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _answer_is_a_choice(self) -> ChoiceItem:
        if self.answer >= len(self.choices):
            raise ValueError(f"the answer is {self.answer}, but there are {len(self.choices)} choices, counted from 0")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("a choice occurs twice")
        return self

    @property
    def prompts(self) -> tuple[str, ...]:
        """The question."""
        return (self.question,)

    @property
    def shown(self) -> dict[str, str]:
        """The question, the right answer and the others."""
        others = [choice for index, choice in enumerate(self.choices) if index != self.answer]
        return {"Question": self.question, "Right": self.choices[self.answer], "Wrong": "\n".join(others)}


def read_capability(source: str | Path = "capability") -> list[ChoiceItem]:
    """Read multiple-choice items: the built-in `capability`, or a file.

    Raises:
        UserError: A record is not an item, an id occurs twice, or there are none.
    """
    return read_lines(ChoiceItem, source, ("capability",), "multiple-choice items")
