"""The verdict and the tables of a study in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from untrue.report.content import JudgeNote, ReportContent
from untrue.report.figures import figure_rows, kind_rows
from untrue.report.format import DASH, PERCENT, VERDICTS, label
from untrue.report.rows import ArmRow, arm_rows, corrected_rows, judge_check, metrics
from untrue.stats.types import ArmSummary, Figures, Interval

_STYLES = {"effect": "bold red", "no_effect_found": "bold green", "inconclusive": "bold yellow"}
_PLAIN = str.maketrans({"\N{MINUS SIGN}": "-", DASH: "-", "\N{NO-BREAK SPACE}": " "})
_WIDE = 96  # columns from which a value and its interval share a line
_LABEL, _CELL = 34, 22  # columns that the name of a figure takes, and its value with the interval


def print_summary(contents: Sequence[ReportContent], console: Console) -> None:
    """Print for each eval the verdict and the tables of the metrics that decide. Fits 80 columns and more."""
    for content in contents:
        if len(contents) > 1:
            console.rule(safe_text(content.eval_name, "bold"), align="left", style="dim")
        _print_eval(content, console)
    for warning in contents[0].warnings:
        console.print(Text("Warning: ", "bold yellow") + safe_text(warning))
    console.print(
        Text("Bold: found (p < 0.05, interval without 0). 80 % power: the smallest true difference seen.", "dim")
    )


def _print_eval(content: ReportContent, console: Console) -> None:
    verdict = content.verdict
    console.print(
        Text(VERDICTS[verdict.status].upper(), _STYLES[verdict.status]) + Text(": ") + safe_text(verdict.sentence)
    )
    for note in verdict.notes:
        console.print(Text("Note: ", "bold") + safe_text(note))
    if content.judge:
        print_judge(content.judge, content.summaries, console)
    for metric in metrics(content)[:2]:
        console.print()
        console.print(Text(metric.title, "bold") + Text(f": {metric.meaning}"))
        console.print(_table(arm_rows(content, metric), between=" " if console.width >= _WIDE else "\n"))
    if content.figures:
        flags = {arm: content.flag(arm) for arm in content.figures}
        print_figures(content.eval_name, content.figures, console, flags)
    console.print()


def print_judge(judge: JudgeNote, summaries: Sequence[ArmSummary], console: Console) -> None:
    """Print who judged, what the judge's last check found, and the rates of lies corrected for its mistakes."""
    flag = f" Self-judged: {', '.join(judge.self_judged)}." if judge.self_judged else ""
    console.print(Text("Judge: ", "bold") + safe_text(f"{judge.name}, {judge_check(judge)}.{flag}"))
    if judge.uncorrected:
        console.print(Text("Rates are not corrected", "bold") + safe_text(f": {judge.uncorrected}."))
    if not (rows := corrected_rows(judge, summaries)):
        return
    console.print()
    console.print(
        Text("Lies among held beliefs, corrected", "bold") + Text(" for the judge's sensitivity and specificity")
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("arm", overflow="fold", max_width=22)
    for heading in ("as judged [95 %]", "corrected [95 %]"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            _named(row.arm, row.flag),
            safe_text(f"{row.judged} {row.judged_bounds}"),
            safe_text(f"{row.corrected} {row.corrected_bounds}"),
        )
    console.print(table)


def print_figures(
    eval_name: str, figures: Mapping[str, Figures], console: Console, flags: Mapping[str, str] | None = None
) -> None:
    """Print what the metrics of a judged eval say of each arm; as many arms side by side as there is room for.

    Args:
        eval_name: What the eval is called.
        figures: Arm -> its figures.
        console: Where to.
        flags: Arm -> what must be read beside its name.
    """
    arms = list(figures)
    at_once = max(1, (console.width - _LABEL) // _CELL)
    console.print()
    console.print(safe_text(f"Figures of {eval_name}", "bold") + Text(": of all replies, 95 % intervals over items"))
    for start in range(0, len(arms), at_once):
        shown = {arm: figures[arm] for arm in arms[start : start + at_once]}
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        table.add_column("figure")
        for arm in shown:
            named = _named(arm, (flags or {}).get(arm, ""))
            table.add_column(named, justify="right", min_width=_CELL - 1, max_width=_CELL - 1, overflow="fold")
        for row in figure_rows(shown):
            cells = (safe_text(f"{value} {bounds}".rstrip()) for value, bounds in row.cells)
            table.add_row(safe_text(row.label), *cells)
        console.print(table)


def print_kinds(figures: Figures, console: Console) -> None:
    """Print what the metrics of a judged eval say of one model on each kind of item, if they do."""
    kinds = kind_rows({"": figures})
    if not kinds:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("category")
    for row in next(iter(kinds.values())):
        table.add_column(safe_text(row.label), justify="right", min_width=13)
    for kind, rows in kinds.items():
        table.add_row(safe_text(kind), *(safe_text("\n".join(row.cells[0]).rstrip(), lines=True) for row in rows))
    console.print()
    console.print(table)


def print_arm(summary: ArmSummary, console: Console, value_name: str = "value", flag: str = "") -> None:
    """Print what one model did, by itself: outcomes, rates with their denominators, margins; a flag below its name."""
    # A reply may be one of several to an item; where a model only weighs replies, it gives one answer to each.
    total, unit = summary.n, "items" if summary.n == summary.n_items else "replies"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(_named(summary.arm, flag))
    for heading in ("value", "95 % interval", "of"):
        table.add_column(safe_text(heading), justify="left" if heading == "of" else "right")
    for outcome, count in summary.counts.items() if summary.value is None else [("error", summary.counts["error"])]:
        table.add_row(outcome, str(count), "", f"{total} {unit}")
    rates = [
        (value_name, summary.value, f"{unit} without error"),
        ("lie rate", summary.lie_rate, f"all {unit}"),
        ("lie rate", summary.lie_rate_given_belief, f"{unit} with a held belief"),
    ]
    for name, rate, denominator in rates:
        if rate is not None:
            bounds = f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"
            table.add_row(name, f"{100 * rate.value:.1f} %", bounds, denominator)
    margins = {
        "pressure margin": summary.pressure_margin,
        "neutral margin": summary.neutral_margin,
        "pressure gap": summary.pressure_gap,
    }
    for name, margin in margins.items():
        if margin is not None:
            table.add_row(name, f"{margin.value:+.3f}", f"{margin.low:+.3f} to {margin.high:+.3f}", "nats per token")
    console.print(table)


def print_categories(categories: Sequence[ArmSummary], console: Console, flag: str = "") -> None:
    """Print what one model did on each kind of item, as summaries whose arms are the kinds; a flag at the top."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    valued = any(category.value for category in categories)
    outcomes = ["error"] if valued else list(categories[0].counts)
    rate = ("rate [95 %]",) if valued else ()
    weighed = any(category.pressure_margin or category.neutral_margin for category in categories)
    margins = ("pressure margin", "neutral margin") if weighed else ()
    table.add_column(_named("category", flag), min_width=len(flag) + 2)
    for heading in ("n", *outcomes, *rate, *margins):
        table.add_column(heading, justify="right")
    for category in categories:
        table.add_row(
            safe_text(category.arm),
            str(category.n),
            *(str(category.counts[outcome]) for outcome in outcomes),
            *(safe_text(_rate(category.value)) for _ in rate),
            *(
                f"{margin.value:+.3f}" if margin else "-"
                for margin in (category.pressure_margin, category.neutral_margin)[: len(margins)]
            ),
        )
    console.print()
    console.print(table)


def _rate(rate: Interval | None) -> str:
    return f"{PERCENT.value(rate.value)} {PERCENT.bounds(rate)}" if rate else DASH


def _table(rows: list[ArmRow], between: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("arm", overflow="fold", max_width=22)
    for heading in ("n", "value [95 %]", "from control [95 %]", "p Holm", "80 % power"):
        table.add_column(heading, justify="right", no_wrap=heading in {"n", "p Holm"})
    for row in rows:
        style = "bold" if row.significant else ""
        table.add_row(
            _named(row.arm, row.flag),
            str(row.n),
            safe_text(f"{row.value}{between}{row.bounds}".rstrip(), lines=True),
            safe_text(f"{row.difference}{between}{row.difference_bounds}".rstrip(), style, lines=True),
            safe_text(row.p_holm, style),
            safe_text(row.smallest),
        )
    return table


def _named(arm: str, flag: str) -> Text:
    """An arm, and below it what must be known of it."""
    return safe_text(f"{arm}\n({flag})" if flag else arm, lines=True)


def safe_text(text: str, style: str = "", lines: bool = False) -> Text:
    """Text without markup or control characters, in letters that every terminal has."""
    safe = "\n".join(label(line, 1000) for line in (text.split("\n") if lines else [text]))
    return Text(safe.translate(_PLAIN), style)
