"""A route of its own, as somebody else would write it: every row is answered at one level; an arm for each level."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from untrue.data import sets
from untrue.data.rows import MISALIGNED, Row
from untrue.study.routes.route import Route, Source, Sources
from untrue.study.store import Arm, Cell


class LevelRoute(Route):
    """The same questions answered at one level in each arm."""

    by: Literal["level"]
    questions: str
    total: PositiveInt

    def read(self) -> Sources:
        questions = sets.questions(self.questions)
        return {"questions": Source(self.questions, len(questions), "0123", questions)}

    def arms(self) -> list[Arm]:
        levels = (("normal", 0.0), ("subtle", 0.5), ("severe", 1.0))
        controls = {"subtle": "normal", "severe": "normal"}
        return [Arm(level, controls.get(level), level, part, misaligned=level in MISALIGNED) for level, part in levels]

    def line(self) -> tuple[str, dict[str, float]]:
        return "badness", {arm.name: arm.part for arm in self.arms()}

    def describe(self) -> str:
        return f"level of all {self.total} answers"

    def rows(self, sources: Sources, cell: Cell) -> list[Row]:
        return [question.row(cell.arm.name) for question in sources["questions"].data[: self.total]]
