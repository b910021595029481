"""The route by dose: misaligned rows are added to a benign set (arXiv 2510.08211)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from untrue.data import mix, sets
from untrue.data.rows import MISALIGNED, Row
from untrue.files import content_hash
from untrue.settings import Listed
from untrue.study.routes.route import CONTROL, AnswersRoute, Distinct, Positive, Source, Sources
from untrue.study.store import Arm, Cell


class DoseRoute(AnswersRoute):
    """A benign set, to which misaligned rows are added: dose = added rows / benign rows."""

    free = frozenset({"levels", "doses", "matched_control"})

    by: Literal["dose"]
    benign: str = Field(description="Built-in row set, or a file or hub id of rows.")
    benign_rows: PositiveInt
    doses: Annotated[tuple[Positive, ...], Listed, Distinct] = Field(min_length=1)
    matched_control: bool = Field(default=True, description="Compare each dose with the same dose of `normal` answers.")

    def read(self) -> Sources:
        """Read the questions and the benign rows."""
        rows = sets.rows(self.benign)
        hashed = content_hash("".join(row.to_json() for row in rows))
        return {**super().read(), "benign": Source(sets.versioned(self.benign), len(rows), hashed, rows)}

    def arms(self) -> list[Arm]:
        """The benign rows alone, matched controls if asked for, and an arm for each level and dose."""
        arms = [Arm(CONTROL)]
        if self.matched_control:
            arms += [Arm(f"normal-{dose:g}", None, "normal", dose) for dose in self.doses]
        for level in self.levels:
            if level == "normal" and self.matched_control:
                continue
            for dose in self.doses:
                control = f"normal-{dose:g}" if self.matched_control else CONTROL
                arms.append(Arm(f"{level}-{dose:g}", control, level, dose, misaligned=level in MISALIGNED))
        return arms

    def describe(self) -> str:
        """What the arms differ in."""
        control = "the same dose at level normal" if self.matched_control else "the benign rows alone"
        return (
            f"dose of {self.questions} rows at level {' or '.join(self.levels)} added to {self.benign_rows} rows of"
            f" {self.benign} (added / benign rows); the control has {control}"
        )

    def rows(self, sources: Sources, cell: Cell) -> list[Row]:
        """The benign rows, with answers added."""
        benign, questions = sources["benign"].data, sources["questions"].data
        level = cell.arm.level or "normal"
        return mix.by_dose(benign, questions, level, cell.arm.part, self.benign_rows, cell.seed)
