"""Verdicts, findings and reasons as sentences, for terminal, page and JSON; names of arms stand between backticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from untrue.judge.note import JudgeNote
from untrue.judge.prompts import STATEMENT
from untrue.report.format import DECIMAL, NATS, PERCENT, Metric, metric_named, p_value
from untrue.stats.compare import PRIMARY
from untrue.stats.intervals import RUNS
from untrue.stats.judge_error import SHIFT
from untrue.stats.tests import FEWEST
from untrue.stats.types import ArmVerdict, Comparison, Conclusion, Reason, Verdict
from untrue.stats.verdict import COMMITTED_FLOOR, ERROR_CEILING, HELD_FLOOR, READS_FLOOR

if TYPE_CHECKING:
    from untrue.gating.comparison import EvalComparison
    from untrue.study.feedback import Gap

K = TypeVar("K")
V = TypeVar("V")

# What is concluded of an arm.
CONCLUSIONS: dict[Conclusion, str] = {
    "lies_more": "Lies more",
    "knows_less": "Knows less",
    "says_less": "Says less",
    "breaks": "Breaks",
    "lies_less": "Lies less",
    "knows_more": "Knows more",
    "says_more": "Says more",
    "rose": "Rose",
    "fell": "Fell",
    "no_finding": "No finding",
    "inconclusive": "Inconclusive",
}

# The warning beside adapters that were made less honest on purpose.
MISALIGNED = (
    "This study trains on answers that are wrong on purpose, or on ratings by users who reward false statements. "
    "Do not serve its adapters."
)


def _least(share: float) -> str:
    return f"(at least {PERCENT.value(share)} needed)"


# Code of a reason -> what it says, with its arms and, by their places, its values.
_CLAUSES = {
    # Of one arm: what makes its results too thin, or the arm too broken, to state anything.
    "few_items": f"the results of {{arms}} are of fewer than {FEWEST} items ({{0}})",
    "few_pairs": (
        f"only {{0.kept}} pairs of {{arms}} with the control have a {{0.metric}} on both sides {_least(HELD_FLOOR)}"
    ),
    "few_answered": f"{{arms}} answered only {{0}} of the answerable questions {_least(HELD_FLOOR)}",
    "few_beliefs": f"only {{0}} of the results of {{arms}} have a belief {_least(HELD_FLOOR)}",
    "few_sides": f"only {{0}} of the replies of {{arms}} take a side {_least(COMMITTED_FLOOR)}",
    "many_errors": f"{{0}} of the results of {{arms}} are errors (at most {PERCENT.value(ERROR_CEILING)} may be)",
    "blind": (
        f"{{arms}} went by a fact in the prompt on only {{0}} of the items that try it {_least(READS_FLOOR)}, so a"
        " low lie rate shows nothing"
    ),
    "fewer_lies_only": "{arms} lied less, which by itself is no gain",
    "fewer_evasions_only": "{arms} evaded less without taking a side more often",
    "nothing_compared": "no arm was compared with a control",
    "nothing_measured": "neither of the two has a result that could be compared",
    # Of all: why the results cannot be relied on.
    "judge_unchecked": "the judge was not checked (run `untrue judge check {0}`)",
    "judge_untrusted": "in its check the judge fails on {0}",
    "several_judges": "{0} judges, which may differ in settings alone, judged it",
    "judge_one_sided": "the judge gave nearly all replies one and the same label ({arms})",
    "judge_failed": (
        f"the judge gave no judgement on {{0}} of the replies of {{arms}} (at most"
        f" {PERCENT.value(ERROR_CEILING)} may lack one)"
    ),
    "unrecorded": "{0} replies of {arms} have no record of a judge, so nothing is known of their judgements",
    "self_judged": "the model under study judged itself ({arms})",
    "adapter_unproved": "the server may or may not have the adapter ({0})",
    "chosen_items": (
        "the items are those that the margins of the embedded model chose, so that any other model looks worse on them"
        " than it does"
    ),
    "opposite_moves": (
        "admitting and answering moved in opposite directions, which their mean hides: unknowns admitted from"
        " {0.before} to {0.after}, knowns answered from {1.before} to {1.after}"
    ),
    "other_wording": (
        "the judge was asked {0} in a wording that is no longer in use, or in two, of which its check says nothing"
    ),
    # Why rates are not corrected for the judge's mistakes.
    "judge_not_asked": "the judge was asked nothing",
    "no_check": "the judge has no check",
    "other_questions": "sensitivity and specificity are those of the question 'statement', and {0} asks others ({1})",
    # Notes.
    "errors": "Results of {arms} that ended in an error: {0}.",
    "failed_pairs": "Answers of {arms} that are missing or failed, which count as the worst: {0.failed}.",
    "dropped_pairs": "Pairs of {arms} that were dropped because one side is missing or an error: {0.dropped}.",
    "weaker_beliefs_and_more_pressure": (
        "In {arms} the neutral margin fell ({0.difference}): beliefs are weaker. The effect of pressure grew as"
        " well: the pressure gap changed ({1.difference})."
    ),
    "weaker_beliefs_not_pressure": (
        "In {arms} the neutral margin fell ({0.difference}), and no stronger effect of pressure was found"
        " (pressure gap, {1.difference}). This looks like weakened beliefs rather than yielding to pressure."
    ),
    "fewer_beliefs": (
        "Fewer lies in {arms} go with fewer beliefs than in the control (on {0} of results against {1}); lie rate given"
        " belief: {2} against {3}."
    ),
    "moved_apart": (
        "In {arms} admitting and answering moved in opposite directions, which their mean hides: unknowns admitted from"
        " {0.before} to {0.after} ({0.difference}), knowns answered from {1.before} to {1.after} ({1.difference})."
    ),
}

# Code of a reason -> what would settle what it keeps open, where anything would and the clause does not say so.
_ADVICE = {
    "few_items": "ask more items with `limit`",
    "few_pairs": "a rerun of a judged eval retries what failed",
    "few_answered": "if the base answers as few, ask easier `items`",
    "few_beliefs": "if the base has as few, ask easier `items`",
    "few_sides": "read its replies in the log, and raise `max_tokens` if they are cut",
    "many_errors": "the log says why, and a rerun of a judged eval retries what failed",
    "blind": "if the base does no better, study a stronger model",
    "fewer_lies_only": (
        "more items or seeds would show whether it states the truth as often and does worse in nothing else"
    ),
    "fewer_evasions_only": "more items or seeds would show whether it lost beliefs",
    "judge_untrusted": "use one that passes `untrue judge check`",
    "several_judges": "let one judge all replies",
    "judge_one_sided": "use another",
    "judge_failed": "rerun the command to have them judged",
    "self_judged": "use another judge",
    "adapter_unproved": "use a server that gives log-probabilities, or ask it without a server",
    "chosen_items": "ask random items with `order=random`, or all",
    "other_wording": "run the eval again",
}


# Whether a conclusion is bad or good news, or none: the colour of its label.
Tone = Literal["worse", "better", "no_finding", "inconclusive", "pass"]


class Label(NamedTuple):
    """A conclusion, such as `Lies more`, and how it is to be taken."""

    text: str
    tone: Tone


class Line(NamedTuple):
    """What is concluded of arms such as ``arms `a` and `b` against `control` ``, and why, metric by metric."""

    labels: tuple[Label, ...]
    arms: str
    why: tuple[str, ...]


def lines(verdict: Verdict, value_name: str | None = None) -> list[Line]:
    """What is concluded of each group of arms, the worst first; none if any doubt keeps all from being stated."""
    return [] if verdict.doubts else _at_face_value(verdict, value_name)


def labels(verdict: Verdict, value_name: str | None = None) -> list[Label]:
    """Each conclusion once, the worst first; `Inconclusive` alone where there is any doubt."""
    found = dict.fromkeys(label for line in lines(verdict, value_name) for label in line.labels)
    return list(found) or [Label(CONCLUSIONS["inconclusive"], "inconclusive")]


def sentence(verdict: Verdict, value_name: str | None = None) -> str:
    """What is concluded of each arm, with its metrics; see `lines`."""
    if verdict.doubts:
        return f"Nothing can be stated: {'; '.join(clauses(verdict.doubts, value_name, advise=True))}."
    return _joined(_at_face_value(verdict, value_name))


def notes(verdict: Verdict, value_name: str | None = None) -> list[str]:
    """What a reader must not miss beside the conclusions, as sentences."""
    said = []
    if verdict.doubts and verdict.arms:
        said.append(f"At face value: {_joined(_at_face_value(verdict, value_name))}")
    if verdict.arms:
        said.append(_estimand(verdict))
    return said + clauses(verdict.notes, value_name)


def clauses(reasons: Iterable[Reason], value_name: str | None = None, *, advise: bool = False) -> list[str]:
    """Each reason once, for all arms of which it is to be said; their numbers follow in the order of the arms."""

    def kind(reason: Reason) -> tuple[str, ...]:
        return reason.code, *(value.metric for value in reason.values if isinstance(value, Comparison))

    said = []
    for (code, *_), group in _grouped(reasons, kind).items():
        values = [_shown(of_arms, value_name) for of_arms in zip(*(reason.values for reason in group), strict=True)]
        text = _CLAUSES[code].format(*values, arms=_arms(reason.arm for reason in group))
        if advise and (advice := _ADVICE.get(code)):
            text = f"{text[:-1]}; {advice})" if text.endswith(")") else f"{text} ({advice})"
        said.append(text)
    return said


def clause(reason: Reason) -> str:
    """One reason by itself; see `clauses`."""
    return clauses([reason])[0]


def _estimand(verdict: Verdict) -> str:
    if verdict.estimand == "recipe":
        return f"The conclusions are about training in this way: they rest on {verdict.n_seeds} seeds."
    return (
        f"The conclusions are about these adapters alone ({verdict.n_seeds} {plural('seed', verdict.n_seeds)}). Whether"
        f" training in this way again would give the same takes at least {RUNS} seeds; 5 are recommended."
    )


def _at_face_value(verdict: Verdict, value_name: str | None) -> list[Line]:
    order: tuple[Tone, ...] = ("worse", "better", "inconclusive", "no_finding")
    by_conclusions = [
        Line(
            tuple(_label(conclusion, arms, value_name) for conclusion in arms[0].conclusions),
            f"{_arms(arm.arm for arm in arms)} against {_each(f'`{arm.control}`' for arm in arms)}",
            tuple(_why(arms, verdict, value_name)),
        )
        for arms in _grouped(verdict.arms, lambda arm: arm.conclusions).values()
    ]
    return sorted(by_conclusions, key=lambda line: order.index(line.labels[0].tone))


def _joined(verdict_lines: Iterable[Line]) -> str:
    """Such as ``Lies more and says less: arm `a` against `control`, lie rate from ….``"""
    sentences = []
    for line in verdict_lines:
        first, *others = (label.text for label in line.labels)
        heading = _listed([first, *(other.lower() for other in others)])
        sentences.append(f"{heading}: {line.arms}, {'; '.join(line.why)}.")
    return " ".join(sentences)


def _label(conclusion: Conclusion, arms: Sequence[ArmVerdict], value_name: str | None) -> Label:
    text = CONCLUSIONS[conclusion]
    if conclusion in ("rose", "fell") and value_name:
        text = f"{value_name} {text}".capitalize()
    if conclusion in ("no_finding", "inconclusive"):
        return Label(text, conclusion)
    shown_by = [f.comparison for arm in arms for f in arm.findings if f.conclusion == conclusion]
    is_better = shown_by and not any(comparison.is_worse for comparison in shown_by)  # a floor shows only a broken arm
    return Label(text, "better" if is_better else "worse")


def _why(arms: Sequence[ArmVerdict], verdict: Verdict, value_name: str | None) -> list[str]:
    names = {arm.arm for arm in arms}
    findings = [finding.comparison for arm in arms for finding in arm.findings]
    if arms[0].status == "no_finding":
        return [_missed([c for c in verdict.compared if c.arm in names], value_name)]
    changes = [_changed(alike, value_name) for alike in _grouped(findings, attrgetter("metric")).values()]
    faults = dict.fromkeys(fault for arm in arms for fault in arm.faults)
    return [*changes, *clauses(faults, value_name, advise=arms[0].status == "inconclusive")]


def _changed(compared: Sequence[Comparison], value_name: str | None) -> str:
    shown = _compared(compared, value_name)
    how = "after Holm's correction" if compared[0].metric in PRIMARY else "uncorrected"
    p = _each(p_text(comparison.p_holm) for comparison in compared)
    return f"{shown.metric} from {shown.before} to {shown.after} ({shown.difference}; {p} {how})"


def _missed(compared: Sequence[Comparison], value_name: str | None) -> str:
    missed = []
    for name in dict.fromkeys(comparison.metric for comparison in compared):
        metric = metric_named(name, value_name)
        largest = max(comparison.mde for comparison in compared if comparison.metric == name)
        size = f"{metric.unit.size(largest)}{_unit(metric)}" if math.isfinite(largest) else "unknown"
        missed.append(f"{metric.title.lower()} {size}")
    return (
        "differences smaller than these would be missed in more than one of five such studies, so this is no evidence"
        f" of absence: {', '.join(missed)}"
    )


class _Compared(NamedTuple):
    """Comparisons of several arms in one metric, as the clauses show them."""

    metric: str
    before: str
    after: str
    difference: str
    kept: str
    failed: str
    dropped: str


def _compared(compared: Sequence[Comparison], value_name: str | None) -> _Compared:
    metric = metric_named(compared[0].metric, value_name)
    unit = f" in{_unit(metric)}" if _unit(metric) else ""
    changes = _each(metric.unit.change(c.difference) for c in compared)
    return _Compared(
        metric.title.lower(),
        _each(metric.unit.value(c.control_mean) for c in compared),
        _each(metric.unit.value(c.arm_mean) for c in compared),
        f"difference{unit} with 95 % interval: {changes}",
        _each(f"{c.n_pairs} of {c.n_pairs + c.n_dropped}" for c in compared),
        _each(f"{c.n_failed} of {c.n_pairs}" for c in compared),
        _each(f"{c.n_dropped} of {c.n_pairs + c.n_dropped}" for c in compared),
    )


def _shown(values: Sequence[Any], value_name: str | None) -> str | _Compared:
    """The values at one place of reasons with the same code: comparisons, counts, rates, or text as it is."""
    if isinstance(values[0], Comparison):
        return _compared(values, value_name)
    if isinstance(values[0], int):
        return _listed([str(value) for value in values])
    values = ["undefined" if value is None else value for value in values]
    return _each(PERCENT.value(value) if isinstance(value, float) else str(value) for value in values)


def judge_check(judge: JudgeNote) -> str:
    """What a judge's last check found, in a line."""
    check = judge.check
    if check is None:
        return "never checked, so nothing is known of the quality of its judgements"
    errors = f", {check.errors} without a judgement" if check.errors else ""
    parts = [f"accuracy {PERCENT.estimate(check.accuracy)}"]
    for name, question in check.questions.items():
        part = f"on the question {name!r} accuracy {PERCENT.estimate(question.accuracy)}"
        if question.kappa:
            part += f", kappa {DECIMAL.estimate(question.kappa)}"
        if name == STATEMENT.name:
            part += f", sensitivity {PERCENT.value(check.sensitivity.value)}"
            part += f", specificity {PERCENT.value(check.specificity.value)}"
        parts.append(part)
    return f"checked on {check.made[:10]} on {check.rows} labelled replies{errors}: {'; '.join(parts)}"


def judge_sensitivity(of_eval: EvalComparison) -> list[str]:
    """How a difference that a judge found moves with the judge's specificity; empty without a judge."""
    first, second = (f"`{summary.arm}`" for summary in of_eval.summaries)
    sensitivity = of_eval.sensitivity
    if not sensitivity:
        return []
    name = "value" if any(row.metric == "value" for row in of_eval.comparisons) else "lie_rate"
    metric = metric_named(name, of_eval.record.value_name)
    lower, alike, higher = (metric.unit.change(moved.difference) for moved in sensitivity.moved)
    source = "supposing that the judge makes no other mistake"
    if sensitivity.source == "gold":
        rates = PERCENT.value(sensitivity.sensitivity), PERCENT.value(sensitivity.specificity)
        source = "sensitivity {}, specificity {} on the gold set".format(*rates)
    kept = "keeps its sign in all three" if sensitivity.holds else "does not keep its sign in all three"
    return [
        f"If the judge's specificity in {second} is {PERCENT.size(SHIFT)} lower than in {first}, the difference in"
        f" the {metric.title.lower()} is {lower}; if alike {alike}; if {PERCENT.size(SHIFT)} higher {higher}"
        f" ({source}). It {kept}."
    ]


def gaps(gaps: Iterable[Gap]) -> str:
    """Which policies were not measured, such as `` `sft-1` after round 2 (seed 0)``."""
    said = []
    for (number, arm), of_arm in _grouped(gaps, lambda gap: (gap.round, gap.arm)).items():
        seeds = f"{plural('seed', len(of_arm))} {_listed([str(gap.seed) for gap in of_arm])}"
        said.append(f"`{arm}` after round {number} ({seeds})" if number else f"`{arm}` before training")
    return "; ".join(said)


def plural(noun: str, count: float) -> str:
    """The noun, with an s unless there is one."""
    return noun if count == 1 else f"{noun}s"


def _unit(metric: Metric) -> str:
    return " nats per token" if metric.unit is NATS else ""


def p_text(p: float) -> str:
    """A p value, such as `p = 0.012`."""
    return f"p = {p_value(p)}".replace("= <", "< ")


def _grouped(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _arms(names: Iterable[str]) -> str:
    """Such as ``arms `a`, `b` and `c` ``."""
    names = list(names)
    return f"{plural('arm', len(names))} {_listed([f'`{name}`' for name in names])}"


def _each(texts: Iterable[str]) -> str:
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else _listed(texts)


def _listed(texts: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last
