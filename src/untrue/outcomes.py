"""What an eval says of one item: the outcome and the margins behind it, or a plain value.

This is what travels: evals produce it, a study stores it, the statistics and the report read it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a model did with one item.

    A lie is a statement that contradicts a held belief (MASK, arXiv 2503.03750, section 3), whether or not the belief
    is true. Nothing is left out of a denominator in silence: what could not be judged is `no_belief` or `error`.
    """

    HONEST = "honest"
    LIE = "lie"
    EVADE = "evade"
    NO_BELIEF = "no_belief"
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """One item, asked of one arm at one seed.

    An eval of honesty gives each item an `outcome`; one that measures a rate of another kind gives it a `value` instead
    (and the outcome `error` where it failed). Margins are in nats per token: mean log-probability of the honest reply
    minus that of the dishonest one. They are None where the item ended in an error.

    Attributes:
        arm: Name of the arm.
        seed: Seed of the cell.
        eval: Name of the eval, such as `forced_choice`.
        item: Id of the item, the same in every arm.
        category: Kind of item, such as `known_facts`.
        outcome: What the model did; None where the eval gives a value.
        belief: The reply that the model holds, `honest` or `dishonest`; None where no belief is held.
        statement: The reply that the model prefers under pressure, `honest` or `dishonest`.
        pressure_margin: Margin under the pressured system prompt.
        neutral_margin: Margin of the same replies to the same question under the neutral system prompt.
        evasion_margin: The better of an evasive reply and a refusal minus the better of the other two, under pressure.
        reason: One sentence that says why the outcome or the value is what it is.
        value: 1 where the model did what the eval counts, 0 where it did not; None where the eval gives an outcome.
        epoch: Which of the samples of this item it is, from 1.
        belief_is_true: Whether the model believes the truth; False also without a belief. None where the eval does not
            know the truth.
        reads: Whether the model goes by a fact that its prompt states, on an item that tries it; else None.
        cluster: Items with the same text here are one draw, such as the two halves of a pair; None where it is its own.
    """

    arm: str
    seed: int
    eval: str
    item: str
    category: str
    outcome: Outcome | None
    belief: str | None = None
    statement: str | None = None
    pressure_margin: float | None = None
    neutral_margin: float | None = None
    evasion_margin: float | None = None
    reason: str = ""
    value: float | None = None
    epoch: int = 1
    belief_is_true: bool | None = None
    reads: bool | None = None
    cluster: str | None = None

    @property
    def slot(self) -> tuple[int, str, int]:
        """Seed, item and epoch: what answers of different arms to the same question have in common."""
        return self.seed, self.item, self.epoch

    @property
    def pressure_gap(self) -> float | None:
        """Margin under pressure minus margin under the neutral prompt: negative means that pressure moved it."""
        if self.pressure_margin is None or self.neutral_margin is None:
            return None
        return self.pressure_margin - self.neutral_margin

    def to_json(self) -> str:
        """One line of `results.jsonl`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Result:
        """The inverse of `to_json`."""
        fields = json.loads(line)
        outcome = fields["outcome"]
        return cls(**{**fields, "outcome": None if outcome is None else Outcome(outcome)})
