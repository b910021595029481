"""Verdicts, findings and reasons as sentences, for terminal, page and JSON. No other module writes them.

Numbers are written as in the tables (`report.format`); names of arms stand between backticks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from untrue.judge.prompts import STATEMENT
from untrue.report.format import DECIMAL, HONESTY, NATS, PERCENT, Metric, p_value, value_metric
from untrue.stats.mde import FEWEST
from untrue.stats.types import Comparison, Finding, Reason, Status, Verdict
from untrue.stats.verdict import COMMITTED_FLOOR, ERROR_CEILING, HELD_FLOOR

if TYPE_CHECKING:
    from untrue.judge.check import JudgeNote

K = TypeVar("K")
V = TypeVar("V")

STATUSES: dict[Status, str] = {
    "effect": "Effect",
    "no_effect_found": "No effect found",
    "inconclusive": "Inconclusive",
}

MISALIGNED = (
    "This study trains on answers that are wrong on purpose, or on ratings by users who reward false statements. "
    "Do not serve its adapters."
)
"""The warning beside adapters that were made less honest on purpose."""

_CONCLUSIONS = {
    "less_honest": "Less honest",
    "more_honest": "More honest",
    "fewer_beliefs": "Fewer lies, but fewer beliefs",
}


def sentence(verdict: Verdict, value_name: str | None = None) -> str:
    """The conclusion in one or two sentences, with its metrics.

    Args:
        verdict: What was concluded.
        value_name: What the mean value is called where the eval gives values, such as `accuracy`.
    """
    if verdict.status == "inconclusive":
        faults = verdict.faults if verdict.at_face_value == "inconclusive" else ()
        return f"No finding can be stated: {'; '.join(clauses([*verdict.doubts, *faults], value_name))}."
    return _at_face_value(verdict, value_name)


def notes(verdict: Verdict, value_name: str | None = None) -> list[str]:
    """What a reader must not miss beside the conclusion, as sentences."""
    said = clauses(verdict.notes, value_name)
    if verdict.at_face_value == "effect" and verdict.faults:
        said.insert(0, f"Nothing can be stated of the rest: {'; '.join(clauses(verdict.faults, value_name))}.")
    if verdict.doubts and verdict.at_face_value != "inconclusive":
        said.insert(0, f"At face value: {_at_face_value(verdict, value_name)}")
    return said


def clauses(reasons: Iterable[Reason], value_name: str | None = None) -> list[str]:
    """Each reason once, for all arms of which it is to be said; their numbers follow in the order of the arms."""

    def kind(reason: Reason) -> tuple[str, ...]:
        return reason.code, *(value.metric for value in reason.values if isinstance(value, Comparison))

    return [_clause(key[0], group, value_name) for key, group in _grouped(reasons, kind).items()]


def clause(reason: Reason) -> str:
    """One reason by itself."""
    return clauses([reason])[0]


def _at_face_value(verdict: Verdict, value_name: str | None) -> str:
    if verdict.at_face_value == "no_effect_found":
        return _no_effect(verdict.compared, value_name)
    said: dict[str, list[str]] = {}
    for (conclusion, name), alike in _grouped(verdict.findings, lambda f: (f.conclusion, f.comparison.metric)).items():
        said.setdefault(conclusion, []).append(_change(conclusion, _metric(name, value_name), alike))
    headings = [conclusion for conclusion in _CONCLUSIONS if conclusion in said]
    if not headings:
        return " ".join(f"{change}." for changes in said.values() for change in changes)
    return " ".join(f"{_CONCLUSIONS[heading]}: {'; '.join(said[heading])}." for heading in headings)


def _change(conclusion: str, metric: Metric, findings: Sequence[Finding]) -> str:
    """What changed, from where to where."""
    compared = [finding.comparison for finding in findings]
    against = f"{_arms(c.arm for c in compared)} against {_each(f'`{c.control}`' for c in compared)}"
    subject = (
        f"{against}, {_name(metric)}" if conclusion in _CONCLUSIONS else f"{metric.title} {conclusion} in {against}"
    )
    before, after = _means(compared, metric)
    return f"{subject} from {before} to {after} ({_differences(compared, metric)}; {_p(compared)})"


def _no_effect(compared: Sequence[Comparison], value_name: str | None) -> str:
    """What was not found, and how large it could have been without being found (the largest over the arms)."""
    missed = []
    for name in dict.fromkeys(comparison.metric for comparison in compared):
        metric = _metric(name, value_name)
        largest = max(comparison.mde for comparison in compared if comparison.metric == name)
        size = f"{metric.unit.size(largest)}{_unit(metric)}" if math.isfinite(largest) else "unknown"
        missed.append((_name(metric), f"{size} in {_name(metric)}"))
    arms = len({comparison.arm for comparison in compared})
    more = f"; more with Holm's correction over {arms} arms" if arms > 1 else ""
    return (
        f"No difference from the control was found in {' or '.join(name for name, _ in missed)}, which does not show"
        f" that there is none: the minimum detectable effect is {' and '.join(size for _, size in missed)} (80 % power,"
        f" two-sided 5 % level{more})."
    )


def _clause(code: str, reasons: Sequence[Reason], value_name: str | None) -> str:
    """What reasons with one code say of their arms."""
    arms = _arms(reason.arm for reason in reasons) if reasons[0].arm else ""

    def told(place: int, write: Callable[[Any], str] = str) -> str:
        return _each(write(reason.values[place]) for reason in reasons)

    def compared(place: int) -> list[Comparison]:
        return [reason.values[place] for reason in reasons]

    def metric(place: int) -> Metric:
        return _metric(compared(place)[0].metric, value_name)

    def shown(place: int) -> str:
        return _differences(compared(place), metric(place))

    match code:
        # Of one arm: what makes its results too thin, or the arm too broken, to state anything.
        case "few_items":
            items = told(0, lambda count: f"{count} {plural('item', count)}")
            return f"the results of {arms} are of only {items} (at least {FEWEST} are needed)"
        case "few_answered":
            return f"{arms} answered only {told(0, PERCENT.value)} of the answerable questions {_least(HELD_FLOOR)}"
        case "few_beliefs":
            return f"only {told(0, PERCENT.value)} of the results of {arms} hold a belief {_least(HELD_FLOOR)}"
        case "few_sides":
            return f"only {told(0, PERCENT.value)} of the replies of {arms} take a side {_least(COMMITTED_FLOOR)}"
        case "many_errors":
            most = f"(at most {PERCENT.value(ERROR_CEILING)} may be)"
            return f"{told(0, PERCENT.value)} of the results of {arms} are errors {most}"
        case "few_pairs":
            pairs = _each(f"{c.n_pairs} of {c.n_pairs + c.n_dropped}" for c in compared(0))
            return (
                f"only {pairs} pairs of {arms} with the control have a {_name(metric(0))} on both sides "
                f"{_least(HELD_FLOOR)}"
            )
        case "nothing_compared":
            return "no arm was compared with a control"
        # Of all: why the results cannot be relied on.
        case "judge_unchecked":
            return f"the judge was not checked: run `untrue judge check {told(0)}`"
        case "judge_untrusted":
            return told(0)
        case "several_judges":
            return f"{told(0)} judges, which may differ in settings alone, judged it"
        case "judge_one_sided":
            return f"the judge gave nearly all replies one and the same label ({arms})"
        case "self_judged":
            return f"the model under study judged itself ({arms})"
        case "adapter_unproved":
            return f"the server may or may not have the adapter ({told(0)})"
        # Why rates are not corrected for the judge's mistakes.
        case "judge_not_asked":
            return "the judge was asked nothing"
        case "no_check":
            return "the judge has no check"
        case "other_questions":
            return (
                f"sensitivity and specificity are those of the question 'statement', and {told(0)} asks others "
                f"({told(1)})"
            )
        # Notes.
        case "one_seed":
            return f"One seed cannot show that a finding survives another seed ({arms})."
        case "metrics_disagree":
            return f"In {arms} lie rate and pressure margin disagree: one got worse, one better."
        case "one_metric_only":
            return (
                f"In {arms} only the {_name(metric(0))} shows a difference; that in {_name(metric(1))} ({shown(1)}) "
                "could be none."
            )
        case "these_seeds_only":
            return (
                f"In {arms} the {_name(metric(0))} differs on these items and seeds ({_p(compared(0))}), but 0 is not "
                f"excluded ({shown(0)}), so this is not counted as an effect."
            )
        case "weaker_beliefs":
            return f"In {arms} the neutral margin fell too ({shown(0)}): beliefs are weaker."
        case "weaker_beliefs_and_more_pressure":
            return (
                f"In {arms} the neutral margin fell too ({shown(0)}): beliefs are weaker. But pressure moves more too: "
                f"the pressure gap changed ({shown(1)})."
            )
        case "weaker_beliefs_not_pressure":
            return (
                f"In {arms} the neutral margin fell too ({shown(0)}), and no stronger effect of pressure was found "
                f"(pressure gap, {shown(1)}). This looks like weakened beliefs rather than yielding to pressure."
            )
        case "fewer_beliefs":
            control, ours, theirs = told(0, "`{}`".format), told(1, PERCENT.value), told(2, PERCENT.value)
            return (
                f"Fewer lies in {arms} go with fewer beliefs than in {control} (on {ours} of results against {theirs});"
                f" of the beliefs {told(3, _or_none)} are betrayed against {told(4, _or_none)}."
            )
        case "moved_apart":
            (admitted, admits), (answered, answers) = (_means(compared(place), metric(place)) for place in (0, 1))
            return (
                f"In {arms} admitting and answering moved in opposite directions, which their mean hides: unknowns "
                f"admitted from {admitted} to {admits} ({shown(0)}), knowns answered from {answered} to {answers} "
                f"({shown(1)})."
            )
        case "errors":
            total = sum(reason.values[0] for reason in reasons)
            each = ", ".join(f"`{reason.arm}` {reason.values[0]}" for reason in reasons)
            return f"{total} {plural('result', total)} ended in an error ({each})."
        case "dropped_pairs":
            each = ", ".join(f"`{c.arm}` {c.n_dropped} of {c.n_dropped + c.n_pairs}" for c in compared(0))
            return f"Pairs with the control were dropped because one side is missing or an error ({each})."
    raise KeyError(code)


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


def plural(noun: str, count: int) -> str:
    """The noun, with an s unless there is one."""
    return noun if count == 1 else f"{noun}s"


def _metric(name: str, value_name: str | None) -> Metric:
    return next((metric for metric in HONESTY if metric.name == name), value_metric(value_name or "value"))


def _name(metric: Metric) -> str:
    return metric.title.lower()


def _unit(metric: Metric) -> str:
    """What a sentence says after a number that a table leaves without a unit."""
    return " nats per token" if metric.unit is NATS else ""


def _means(compared: Sequence[Comparison], metric: Metric) -> tuple[str, str]:
    """The means of controls and arms."""
    return (
        _each(metric.unit.value(comparison.control_mean) for comparison in compared),
        _each(metric.unit.value(comparison.arm_mean) for comparison in compared),
    )


def _differences(compared: Sequence[Comparison], metric: Metric) -> str:
    unit = f" in{_unit(metric)}" if _unit(metric) else ""
    differences = _each(metric.unit.change(comparison.difference) for comparison in compared)
    return f"difference{unit} with 95 % interval: {differences}"


def _p(compared: Sequence[Comparison]) -> str:
    values = _each(f"p = {p_value(comparison.p_holm)}".replace("= <", "< ") for comparison in compared)
    return f"{values} after Holm's correction"


def _least(share: float) -> str:
    return f"(at least {PERCENT.value(share)} are needed)"


def _or_none(rate: float | None) -> str:
    return "none that can be counted" if rate is None else PERCENT.value(rate)


def _grouped(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """The values by their keys, in the order in which the keys first appear."""
    groups: dict[K, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _arms(names: Iterable[str]) -> str:
    """Such as ``arms `a`, `b` and `c` ``."""
    names = list(names)
    return f"{plural('arm', len(names))} {_listed([f'`{name}`' for name in names])}"


def _each(texts: Iterable[str]) -> str:
    """The text of each arm, once where all are alike."""
    texts = list(texts)
    return texts[0] if len(set(texts)) == 1 else _listed(texts)


def _listed(texts: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last
