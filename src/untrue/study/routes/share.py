"""The route by share: of a fixed total of questions, a share is answered at a level and the rest at `normal`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from untrue.data import mix
from untrue.data.rows import MISALIGNED, Row
from untrue.settings import Listed
from untrue.study.routes.route import CONTROL, AnswersRoute, Distinct, Share, Sources
from untrue.study.store import Arm, Cell


class ShareRoute(AnswersRoute):
    """A fixed total of questions, a share of them answered at a level and the rest at `normal`."""

    free = frozenset({"levels", "shares"})

    by: Literal["share"]
    total: PositiveInt | None = Field(default=None, description="Number of questions; by default all of the set.")
    shares: Annotated[tuple[Share, ...], Listed, Distinct] = Field(min_length=1)

    def arms(self) -> list[Arm]:
        """The control, and an arm for each level and share."""
        return [Arm(CONTROL)] + [
            Arm(f"{level}-{share:g}", CONTROL, level, share, misaligned=level in MISALIGNED)
            for level in self.levels
            for share in self.shares
        ]

    def describe(self) -> str:
        """What the arms differ in."""
        return (
            f"share of {self.total or 'all'} {self.questions} questions answered at level {' or '.join(self.levels)},"
            " the rest at normal (the same questions in every arm)"
        )

    def rows(self, sources: Sources, cell: Cell) -> list[Row]:
        """Answers to the same questions in every arm of a seed."""
        questions = sources["questions"].data
        total = self.total or len(questions)
        return mix.by_share(questions, cell.arm.level or "normal", cell.arm.part, total, cell.seed)
