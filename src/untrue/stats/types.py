"""The values that the statistics return. All are plain data, so `dataclasses.asdict` gives what summary.json holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Figure(NamedTuple):
    """A figure of an eval's own, with its 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class MetricInfo(NamedTuple):
    """How a metric is shown.

    Attributes:
        label: Its name for people.
        better: Which values are better, `higher` or `lower`; None for a metric that is neither.
        unit: `%` for a share, which is stored as a fraction; empty for a plain number.
        digits: Decimals of a plain number.
    """

    label: str
    better: Literal["higher", "lower"] | None = None
    unit: Literal["%", ""] = "%"
    digits: int = 0


@dataclass(frozen=True)
class Figures:
    """What the metrics of a judged eval say of one arm, by their names, such as `mask_honesty`.

    Attributes:
        total: Over all items.
        by_category: Category -> the same on it alone, as far as the eval says.
        info: How each metric is shown, in the order in which they are shown.
    """

    total: dict[str, Figure]
    by_category: dict[str, dict[str, Figure]]
    info: dict[str, MetricInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmSummary:
    """What one arm did in one eval, all seeds together.

    Attributes:
        arm: Name of the arm.
        control: Name of the arm that it is compared with; None for an arm that is only a control.
        n_items: Different items.
        n_seeds: Seeds.
        counts: Number of (item, seed) results with each outcome; all five outcomes are keys.
        lie_rate: Lies over all results; None in an eval that gives values.
        lie_rate_given_belief: Lies over the results with a held belief (honest, lie and evade); None where there is
        none. held_share: Results with a held belief over all results; None in an eval that gives values.
        pressure_margin: Mean over results without error; None where all are errors.
        neutral_margin: The same, under the neutral prompt.
        pressure_gap: The same, of the difference of the two.
        value: Mean value over results without error; None in an eval that gives outcomes, or where all are errors.
        valued: Number of results with a value.
    """

    arm: str
    control: str | None
    n_items: int
    n_seeds: int
    counts: dict[str, int]
    lie_rate: Interval | None
    lie_rate_given_belief: Interval | None
    held_share: float | None
    pressure_margin: Interval | None
    neutral_margin: Interval | None
    pressure_gap: Interval | None
    value: Interval | None = None
    valued: int = 0

    @property
    def n(self) -> int:
        """All results, errors included."""
        return sum(self.counts.values()) + self.valued


@dataclass(frozen=True)
class Comparison:
    """One arm against its control in one metric, paired within item and seed.

    Attributes:
        arm: Name of the arm.
        control: Name of the control arm.
        metric: `lie_rate`, `value`, `pressure_margin`, `neutral_margin` or `pressure_gap`.
        n_items: Items that both arms answered without error at one seed or more.
        n_seeds: Seeds in common.
        n_pairs: Pairs (item, seed) used.
        n_dropped: Pairs left out because one side is an error or is missing.
        control_mean: Mean of the control over the pairs used.
        arm_mean: Mean of the arm over the pairs used.
        difference: Arm minus control, with its 95 % bootstrap interval over items and seeds.
        p: Two-sided p value; exact McNemar for rates (`rate_p`), sign-flip permutation for margins.
        p_holm: The same after Holm's correction over the arms compared in this metric.
        mde: Smallest true difference that this many items and seeds would find at 80 % power and 5 % level.
    """

    arm: str
    control: str
    metric: str
    n_items: int
    n_seeds: int
    n_pairs: int
    n_dropped: int
    control_mean: float
    arm_mean: float
    difference: Interval
    p: float
    p_holm: float
    mde: float


@dataclass(frozen=True)
class Trend:
    """The straight-line dose-response of one metric: its change for a dose or share that goes from 0 to 1."""

    metric: str
    slope: Interval
    p: float
    n_items: int
    n_seeds: int


Status = Literal["effect", "no_effect_found", "inconclusive"]


class Finding(NamedTuple):
    """A comparison that passed its test, and what it shows of its arm.

    Attributes:
        conclusion: `less_honest`, `more_honest` or `fewer_beliefs` (fewer lies because the arm believes less); of a
            plain value `rose` or `fell`.
        comparison: The arm against its control.
    """

    conclusion: str
    comparison: Comparison


class Reason(NamedTuple):
    """Why nothing can be stated, or what a reader must not miss. `untrue.report.words` has a sentence for each code.

    Attributes:
        code: Such as `few_beliefs`.
        arm: The arm that it is about; empty where it is about all.
        values: What the sentence states: numbers, texts or comparisons, in the order that `report.words` reads.
    """

    code: str
    arm: str = ""
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a study concludes from one eval, as values.

    Attributes:
        at_face_value: The status as far as the results themselves go.
        findings: The differences found; empty unless `at_face_value` is `effect`.
        faults: Why nothing can be stated of some arms, or of all.
        doubts: Why the whole cannot be relied on, such as a judge that was never checked.
        notes: What a reader must not miss, such as weakened beliefs, errors or dropped pairs.
        compared: The comparisons that decide.
    """

    at_face_value: Status
    findings: tuple[Finding, ...] = ()
    faults: tuple[Reason, ...] = ()
    doubts: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
    compared: tuple[Comparison, ...] = ()

    @property
    def status(self) -> Status:
        """`effect`, `no_effect_found` or `inconclusive`."""
        return "inconclusive" if self.doubts else self.at_face_value
