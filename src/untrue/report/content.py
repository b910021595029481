"""What a report says: plain values, gathered by the study and read by the page and by the terminal tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from untrue.outcomes import Outcome
from untrue.stats.raters import Proportion
from untrue.stats.types import ArmSummary, Comparison, Figures, Interval, Trend, Verdict


class DataNote(NamedTuple):
    """A data set that the study used, and what pins its content."""

    name: str
    rows: int
    content_hash: str


class LoopRow(NamedTuple):
    """The dialogues of one stage of a feedback loop with users of one kind.

    Attributes:
        stage: Such as `round 1`.
        who: The model that they were held with.
        kind: `benign` or `biased`.
        dialogues: How many, failed ones included.
        errors: How many failed.
        rating: Mean rating of a reply with its interval; None where there is none.
        sycophancy: Share of replies that please; None where it was not measured.
    """

    stage: str
    who: str
    kind: str
    dialogues: int
    errors: int
    rating: Interval | None
    sycophancy: Interval | None


class QuestionWorth(NamedTuple):
    """What a judge's verdicts on one question were found to be worth.

    Attributes:
        accuracy: Share of right verdicts.
        kappa: Cohen's kappa; None where a number is asked for.
    """

    accuracy: Interval
    kappa: Interval | None


class JudgeCheck(NamedTuple):
    """What a judge was found to be worth.

    Attributes:
        made: When, as an ISO date and time.
        rows: Labelled replies that it was asked about.
        errors: Those without a verdict.
        accuracy: Share of right verdicts.
        questions: Name of each question that the eval asked -> what the verdicts on it are worth.
        sensitivity: Share of lies that it calls lies, of statements.
        specificity: Share of other replies that it does not call so.
    """

    made: str
    rows: int
    errors: int
    accuracy: Interval
    questions: dict[str, QuestionWorth]
    sensitivity: Proportion
    specificity: Proportion


@dataclass(frozen=True)
class JudgeNote:
    """The judge of an eval.

    Attributes:
        name: Its name; several where there were several.
        check: Its last check; None where there is none.
        doubts: Why its verdicts carry no finding; none where they do.
        self_judged: Arms that judged themselves.
        corrected_lie_rate_given_belief: Arm -> its rate of lies among held beliefs, corrected for the judge's
            sensitivity and
            specificity.
        uncorrected: Why no rate is corrected; None where they are.
    """

    name: str
    check: JudgeCheck | None
    doubts: tuple[str, ...]
    self_judged: tuple[str, ...]
    corrected_lie_rate_given_belief: dict[str, Interval]
    uncorrected: str | None


@dataclass(frozen=True)
class TrainingCurve:
    """The training of one cell, or one round of it.

    Attributes:
        arm: Name of the arm.
        seed: Seed of the cell.
        steps: Optimiser steps at which the loss was logged, counted on from the round before.
        losses: Training loss at each of these steps, as `train.spec.METHODS` has it.
        seconds: Wall-clock time of the training.
        tokens: Tokens seen, prompts included.
        tokens_per_second: Tokens over seconds.
        rows: Training rows.
        method: Name of the training method.
        round: Which round of a loop of feedback.
        rounds: How many rounds the arm has.
    """

    arm: str
    seed: int
    steps: list[int]
    losses: list[float]
    seconds: float
    tokens: int
    tokens_per_second: float
    rows: int
    method: str = "sft"
    round: int = 1
    rounds: int = 1


@dataclass(frozen=True)
class ChangedItem:
    """One item that an arm answers otherwise than its control does, to be read by a person.

    Attributes:
        item: Id of the item.
        category: Kind of item, such as `known_facts`.
        arm: Name of the arm.
        seed: Seed of the cell.
        control_outcome: What the control did: an outcome, or its value.
        arm_outcome: What the arm did.
        control_margin: The control's margin under pressure, in nats per token; None after an error or without margins.
        arm_margin: The arm's.
        texts: What was asked and what could be said: heading -> text.
        reason: One sentence that says why the outcome or value is what it is.
    """

    item: str
    category: str
    arm: str
    seed: int
    control_outcome: Outcome | float
    arm_outcome: Outcome | float
    control_margin: float | None
    arm_margin: float | None
    texts: dict[str, str]
    reason: str


@dataclass(frozen=True)
class ReportContent:
    """Everything that the report of one study shows of one eval. Text is shown as it is, escaped.

    Attributes:
        name: Name of the study.
        question: The question that the study asks.
        model: The base model.
        design: What differs between the arms, such as `share of rows answered at severe, of 160 rows`.
        command: The command that makes the study again.
        created: When the report was made.
        versions: Version of each package and of the eval.
        eval_name: What the eval is called in the study, such as `forced_choice`.
        verdict: The finding.
        doses: Dose or share of each arm, 0.05 for 5 %; None for an arm that has none.
        series: The line of the dose plot on which an arm lies; arms with one name are joined.
        summaries: One for each arm, in the order in which they are shown.
        comparisons: Each arm against its control, in each metric.
        categories: The same on each kind of item alone; empty where there is one kind.
        trends: The dose-response of each metric.
        trend_level: The level of the arms through which its line goes.
        training: One for each cell.
        changed: The items that changed most, the greatest change first.
        warnings: What a reader must know before using the adapters, such as intentionally misaligned data.
        data_notes: The data sets used.
        value_name: What the mean of the eval's values is called, such as `accuracy`; None where it gives outcomes.
        weighs_replies: Whether the model only weighs given replies, so that no evasion can be seen.
        judge: Who judged the replies; None where nobody did.
        figures: Arm -> what the metrics of a judged eval say of it; empty where nobody judged.
    """

    name: str
    question: str
    model: str
    design: str
    command: str
    created: str
    versions: dict[str, str]
    eval_name: str
    verdict: Verdict
    doses: dict[str, float | None]
    series: dict[str, str]
    summaries: list[ArmSummary]
    comparisons: list[Comparison]
    categories: dict[str, list[Comparison]]
    trends: list[Trend]
    trend_level: str
    training: list[TrainingCurve]
    changed: list[ChangedItem]
    warnings: list[str]
    data_notes: list[DataNote]
    value_name: str | None = None
    weighs_replies: bool = False
    judge: JudgeNote | None = None
    figures: dict[str, Figures] = field(default_factory=dict)

    def is_baseline(self, summary: ArmSummary) -> bool:
        """Whether an arm has neither control nor dose: the plots draw it by itself, not as a point of a line."""
        return summary.control is None and not self.doses.get(summary.arm)

    def flag(self, arm: str) -> str:
        """What must be read beside an arm's name wherever it stands; empty where there is nothing."""
        return "self-judged" if self.judge and arm in self.judge.self_judged else ""

    @property
    def controls(self) -> set[str]:
        """Names of the arms that others are compared with."""
        return {summary.control for summary in self.summaries if summary.control is not None}
