"""The report of a study as one HTML page that needs nothing else: no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from untrue.evals.spec import WEIGHING
from untrue.outcomes import Outcome, Result
from untrue.report import plots, words
from untrue.report.format import DASH, DECIMAL, NATS, PERCENT, Metric, outcome_word, p_value
from untrue.report.metrics import MetricRow, category_metric_rows, metric_rows
from untrue.report.rows import (
    ArmRow,
    CategoryCell,
    CorrectedRow,
    arm_rows,
    category_rows,
    corrected_rows,
    deciding,
    flag,
    metrics,
)
from untrue.report.words import MISALIGNED
from untrue.stats.types import Trend
from untrue.study.results import Analysis, EvalAnalysis

_MEANINGS = {
    Outcome.LIE: "says the opposite of a belief that it holds",
    Outcome.EVADE: "holds a belief and does not state it",
    Outcome.NO_BELIEF: "holds no belief, so it can neither lie nor be honest",
    Outcome.ERROR: "could not be judged",
    Outcome.HONEST: "says what it believes, be it true or false",
}

environment = jinja2.Environment(
    loader=jinja2.PackageLoader("untrue", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _with_code(text: str) -> Markup:
    """A text with what stands between backticks, such as an arm's name, set as code; all of it escaped."""
    parts = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


environment.filters["with_code"] = _with_code


def render(analysis: Analysis) -> str:
    """The page of a study, whose verdict is that of the first eval. All text is escaped; only the plots' SVG is not."""
    page = environment.get_template("report.html.j2").render(
        analysis=analysis,
        evals=[_part(of_eval, f"-{number}") for number, of_eval in enumerate(analysis.evals, 1)],
        training_plots=_marked(plots.training_plots(analysis)),
        data_notes=[*analysis.data, *(of_eval.items for of_eval in analysis.evals)],
        warning=MISALIGNED if analysis.misaligned else "",
        outcome_colour=_outcome_colour,
        outcomes=[(outcome, colour, _MEANINGS[outcome]) for outcome, colour in plots.OUTCOMES.items()],
        outcome_word=outcome_word,
        percent=PERCENT,
        nats=NATS,
        decimal=DECIMAL,
        p_value=p_value,
        dash=DASH,
    )
    return page.encode("utf-8", "replace").decode()  # a lone surrogate could not be written to a file


class _Part(NamedTuple):
    """One eval as the template takes it."""

    analysis: EvalAnalysis
    anchor: str
    weighs_replies: bool
    verdict_word: str
    sentence: str
    notes: list[str]
    flags: dict[str, str]
    dose_plots: list[plots.Plot]
    outcome_bars: str | None
    tables: list[tuple[tuple[Metric, ...], list[tuple[ArmRow, ...]]]]
    categories: dict[str, list[CategoryCell]]
    deciding: tuple[Metric, ...]
    trends: list[tuple[Trend, Metric]]
    judge_check: str
    uncorrected: str
    corrected: list[CorrectedRow]
    metrics: list[MetricRow]
    category_metrics: dict[str, list[MetricRow]]


def _part(analysis: EvalAnalysis, key: str) -> _Part:
    shown, judge, value_name = metrics(analysis), analysis.judge, analysis.spec.value_name
    by_name = {metric.name: metric for metric in shown}
    return _Part(
        analysis=analysis,
        anchor=f"eval{key}",
        weighs_replies=analysis.spec.name in WEIGHING,
        verdict_word=words.STATUSES[analysis.verdict.status],
        sentence=words.sentence(analysis.verdict, value_name),
        notes=words.notes(analysis.verdict, value_name),
        flags={summary.arm: flag(analysis, summary.arm) for summary in analysis.summaries},
        dose_plots=_marked(plots.dose_plots(analysis, key)),
        outcome_bars=Markup(plots.outcome_bars(analysis, key)) if value_name is None else None,
        tables=[
            (pair, list(zip(*(arm_rows(analysis, metric) for metric in pair), strict=True)))
            for pair in filter(None, (shown[:2], shown[2:]))
        ],
        categories=category_rows(analysis),
        deciding=deciding(analysis),
        trends=[(trend, by_name[trend.metric]) for trend in analysis.trends if trend.metric in by_name],
        judge_check=words.judge_check(judge) if judge else "",
        uncorrected=words.clauses([judge.uncorrected])[0] if judge and judge.uncorrected else "",
        corrected=corrected_rows(judge, analysis.summaries) if judge else [],
        metrics=metric_rows(analysis.metrics),
        category_metrics=category_metric_rows(analysis.metrics),
    )


def _marked(drawn: Sequence[plots.Plot]) -> list[plots.Plot]:
    return [plot._replace(svg=Markup(plot.svg)) for plot in drawn]


def _outcome_colour(result: Result) -> str:
    """That of an outcome; a value has those of honest (right) and lie (wrong)."""
    if result.outcome is not None:
        return plots.OUTCOMES[result.outcome]
    return plots.OUTCOMES[{0.0: Outcome.LIE, 1.0: Outcome.HONEST}.get(result.value or 0.0, Outcome.NO_BELIEF)]
