"""An arm is one treatment, and a cell is one arm at one seed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One treatment.

    Attributes:
        name: Such as `severe-0.1`.
        control: Name of the arm that it is compared with; None for one that is only a control.
        level: The line of the dose plot on which it lies, such as the level of its rows; None for a control.
        part: Its place on the dose axis: a share or a dose.
        trained: False for the model as it was.
        misaligned: Whether it learns from misaligned data.
        rounds: How often it is trained, each time from the adapter of the time before.
    """

    name: str
    control: str | None = None
    level: str | None = None
    part: float = 0.0
    trained: bool = True
    misaligned: bool = False
    rounds: int = 1


@dataclass(frozen=True)
class Cell:
    """One arm at one seed: mix, train, evaluate.

    Attributes:
        arm: The treatment.
        seed: Of the draw of rows, of the adapter's first weights and of the order of training.
        identity: Hash of all that determines the adapter.
    """

    arm: Arm
    seed: int
    identity: str

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        return f"{self.arm.name}-s{self.seed}"
