"""What the routes share whose rows are written answers to questions, at several levels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from untrue.data import sets
from untrue.data.cues import DOMAINS
from untrue.data.rows import LEVELS
from untrue.files import content_hash
from untrue.study.routes.route import Distinct, Route, Source, Sources

CONTROL = "control"
"""The arm without misaligned rows."""

Level = Literal["normal", "subtle", "severe"]


class AnswersRoute(Route):
    """A route whose rows are answers to questions; some arms answer some of them at a misaligned level."""

    questions: str = Field(
        description="Built-in question set, or a file, folder or hub id of questions at several levels."
    )
    levels: Annotated[tuple[Level, ...], Distinct] = Field(default=("severe",), min_length=1)

    @classmethod
    def offers(cls, keys: Mapping[str, Any]) -> dict[str, Any]:
        """The domain of the questions, where they are built in."""
        return {"domain": keys["questions"]} if keys.get("questions") in DOMAINS else {}

    def read(self) -> Sources:
        """Read the questions."""
        questions = sets.questions(self.questions)
        hashed = content_hash(json.dumps([[q.id, q.text, q.answers] for q in questions]))
        return {"questions": Source(sets.versioned(self.questions), len(questions), hashed, questions)}

    def line(self) -> tuple[str, dict[str, float]]:
        """The arms of the worst level."""
        worst = max(self.levels, key=LEVELS.index)
        return worst, {arm.name: arm.part for arm in self.arms() if arm.level in (None, worst)}
