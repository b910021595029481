"""The verdict and the tables of a study in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from untrue.harness.eval import Eval
from untrue.harness.reading import Evaluated
from untrue.judge.note import JudgeNote
from untrue.report import words
from untrue.report.format import (
    MARGINS,
    NATS,
    PERCENT,
    SELF_JUDGED,
    Metric,
    ascii_numbers,
    deciding,
    flag,
    is_found,
    label,
    metric_rows,
    p_value,
    with_control,
)
from untrue.stats.compare import PRIMARY
from untrue.stats.types import ArmSummary, MetricValues, Verdict
from untrue.study.results import Analysis, EvalAnalysis

STYLES: dict[words.Tone, str] = {
    "worse": "bold red",
    "better": "bold blue",
    "no_finding": "dim",
    "inconclusive": "bold yellow",
    "pass": "bold green",
}
_WIDE = 96  # columns from which a value and its interval share a line


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print for each eval the verdict and the tables of the metrics that decide. Fits 80 columns and more."""
    for of_eval in analysis.evals:
        if len(analysis.evals) > 1:
            console.rule(safe_text(of_eval.spec.key, "bold"), align="left", style="dim")
        _print_eval(of_eval, console)
    if analysis.misaligned:
        console.print(Text("Warning: ", "bold yellow") + safe_text(words.MISALIGNED))
    console.print(Text("Bold: p < 0.05 after Holm's correction and an interval without 0.", "dim"))
    console.print(Text("MDE: minimum detectable effect at about 80 % power.", "dim"))


def _print_eval(analysis: EvalAnalysis, console: Console) -> None:
    verdict = analysis.verdict
    _print_verdict(verdict, analysis.record.value_name, console)
    if analysis.judge:
        _print_judge(analysis.judge, console)
    found = {comparison.metric for comparison in verdict.compared if comparison.is_found}
    deciders = deciding(analysis)
    for metric in [*deciders[:2], *(metric for metric in deciders[2:] if metric.name in found)]:
        console.print()
        console.print(Text(metric.title, "bold") + Text(f": {metric.meaning}"))
        console.print(_arms(analysis, metric, between=" " if console.width >= _WIDE else "\n"))
    console.print()


def _print_verdict(verdict: Verdict, value_name: str | None, console: Console) -> None:
    for line in words.lines(verdict, value_name):
        labels = (safe_text(text.upper(), STYLES[tone]) for text, tone in line.labels)
        console.print(Text(", ").join(labels) + Text(": ") + safe_text(line.arms))
        for why in line.why:
            console.print(Padding(safe_text(why), (0, 0, 0, 2), expand=False))
    if verdict.doubts:
        _print_inconclusive(words.sentence(verdict, value_name), console)
    for note in words.notes(verdict, value_name):
        console.print(Text("Note: ", "bold") + safe_text(note))


def print_evaluated(record: Eval, evaluated: Evaluated, console: Console) -> None:
    """Print what one model did in one eval, by itself."""
    judge, metrics = evaluated.judge, evaluated.reading.metrics
    if evaluated.doubts:
        _print_inconclusive(f"{'; '.join(words.clauses(evaluated.doubts, advise=True))}.", console)
    flagged = SELF_JUDGED if judge and judge.self_judged else ""
    _print_arm(evaluated.summary, console, record.value_name or "value", flagged)
    if metrics:
        print_metrics(record.name, metrics, console)
    if judge:
        _print_judge(judge, console)
    if record.gives_outcomes or len(evaluated.categories) > 1:
        _print_categories(evaluated.categories, console, flagged)


def _print_inconclusive(sentence: str, console: Console) -> None:
    console.print(Text("INCONCLUSIVE", STYLES["inconclusive"]) + Text(": ") + safe_text(sentence))


def _print_judge(judge: JudgeNote, console: Console) -> None:
    flagged = f" Self-judged: {', '.join(judge.self_judged)}." if judge.self_judged else ""
    console.print(Text("Judge: ", "bold") + safe_text(f"{judge.name}, {words.judge_check(judge)}.{flagged}"))
    if judge.uncorrected:
        reason = f": {words.clause(judge.uncorrected)}."
        console.print(Text("Rates are not corrected", "bold") + safe_text(reason))
    if rates := judge.corrected_lie_rate_given_belief:
        each = "; ".join(f"{arm} {PERCENT.estimate(rate)}" for arm, rate in rates.items())
        console.print(Text("Lie rate given belief, corrected", "bold") + safe_text(f" for the judge's errors: {each}"))


def print_metrics(eval_name: str, metrics: MetricValues, console: Console) -> None:
    """Print the metrics of a judged eval for one model, over all items and in each category."""
    table = new_table(Text("metric"))
    table.add_column("items", overflow="fold")
    table.add_column("value [95 %]", justify="right", no_wrap=True)
    for category, rows in metric_rows({"": metrics}).items():
        for row in rows:
            table.add_row(*map(safe_text, (row.label, category, row.unit.estimate(row.values[0]))))
    console.print()
    console.print(safe_text(f"Metrics of {eval_name}", "bold") + Text(" over all replies"))
    console.print(table)


def _print_arm(summary: ArmSummary, console: Console, value_name: str, flagged: str) -> None:
    # A reply may be one of several to an item; where a model only weighs replies, it gives one answer to each.
    total, unit = summary.n, "items" if summary.n == summary.n_items else "replies"
    table = new_table(_named(summary.arm, flagged), "value", "95 % interval")
    table.add_column("of")
    for outcome, count in [("error", summary.counts["error"])] if summary.n_values else summary.counts.items():
        table.add_row(outcome, str(count), "", f"{total} {unit}")
    estimates = [
        (value_name, summary.value, PERCENT, f"{unit} without error"),
        ("lie rate", summary.lie_rate, PERCENT, f"all {unit}"),
        ("lie rate", summary.lie_rate_given_belief, PERCENT, f"{unit} with a belief"),
        ("untrue beliefs", summary.untrue_belief_rate, PERCENT, f"{unit} without error"),
        ("evasions", summary.evasion_rate, PERCENT, f"{unit} without error"),
        ("reads its prompt", summary.reads, PERCENT, "items that try it"),
        *((metric.title.lower(), getattr(summary, metric.name), NATS, "nats per token") for metric in MARGINS),
    ]
    for name, estimate, scale, of in estimates:
        if estimate is not None:
            table.add_row(*map(safe_text, (name, scale.value(estimate), scale.bounds(estimate), of)))
    console.print(table)


def _print_categories(categories: Sequence[ArmSummary], console: Console, flagged: str) -> None:
    valued = any(category.value for category in categories)
    outcomes = ["error"] if valued else list(categories[0].counts)
    margins = [m for m in MARGINS[:2] if any(getattr(category, m.name) for category in categories)]
    headings = ["n", *outcomes, *(["rate [95 %]"] if valued else []), *(margin.title.lower() for margin in margins)]
    table = new_table(_named("category", flagged), *headings, min_width=len(flagged) + 2)
    for category in categories:
        cells = [str(category.n), *(str(category.counts[outcome]) for outcome in outcomes)]
        if valued:
            cells.append(PERCENT.estimate(category.value))
        for margin in margins:
            estimate = getattr(category, margin.name)
            cells.append(margin.unit.difference(estimate.value if estimate else None))
        table.add_row(*map(safe_text, (category.arm, *cells)))
    console.print()
    console.print(table)


def new_table(heading: Text, *numbers: str, **settings: Any) -> Table:
    """A table whose first column has these settings, and then columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(heading, **settings)
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def _arms(analysis: EvalAnalysis, metric: Metric, between: str) -> Table:
    table = new_table(Text("arm"), overflow="fold", max_width=22)
    p = "p Holm" if metric.name in {*PRIMARY} else "p"
    for heading in ("n", "value [95 %]", "from control [95 %]", p, "MDE"):
        table.add_column(heading, justify="right", no_wrap=heading in {"n", p})
    for summary in analysis.summaries:
        compared = with_control(analysis, summary.arm, metric)
        style = "bold" if is_found(compared) else ""
        table.add_row(
            _named(summary.arm, flag(analysis, summary.arm)),
            str(summary.n),
            safe_text(metric.unit.estimate(getattr(summary, metric.name), between), lines=True),
            safe_text(metric.unit.change(compared and compared.difference, between), style, lines=True),
            safe_text(p_value(compared and compared.p_holm), style),
            safe_text(metric.unit.size(compared and compared.mde)),
        )
    return table


def _named(arm: str, flag: str) -> Text:
    return safe_text(f"{arm}\n({flag})" if flag else arm, lines=True)


def safe_text(text: str, style: str = "", lines: bool = False) -> Text:
    """Text without markup or control characters, in letters that every terminal has."""
    safe = "\n".join(label(line, 1000) for line in (text.split("\n") if lines else [text]))
    return Text(ascii_numbers(safe), style)
