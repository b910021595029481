"""The report of a study as one HTML page that needs nothing else: no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from untrue.outcomes import Outcome
from untrue.report import plots
from untrue.report.content import LoopRow, ReportContent
from untrue.report.figures import FigureRow, figure_rows, kind_rows
from untrue.report.format import DASH, NATS, PERCENT, VERDICTS, outcome_word, p_value
from untrue.report.rows import (
    ArmRow,
    CategoryCell,
    CorrectedRow,
    Metric,
    arm_rows,
    category_rows,
    corrected_rows,
    deciding,
    judge_check,
    metrics,
)
from untrue.stats.types import Trend

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


def render(*contents: ReportContent, loop: Sequence[LoopRow] = (), rater: Mapping[str, Any] | None = None) -> str:
    """The page of a study, whose verdict is that of the first eval. All text is escaped; only the plots' SVG is not.

    Args:
        *contents: One for each eval of the study.
        loop: What a loop of feedback did, if there was one; its dialogues are in a page beside this one.
        rater: Who rated them, as the run directory records it.

    Raises:
        KeyError: A verdict's status is not one that is known.
    """
    first = contents[0]
    page = environment.get_template("report.html.j2").render(
        content=first,
        evals=[_part(content, f"-{number}") for number, content in enumerate(contents, 1)],
        training_plots=_marked(plots.training_plots(first)),
        data_notes=list(dict.fromkeys(note for content in contents for note in content.data_notes)),
        loop_rows=loop,
        rater=rater,
        outcome_colour=_outcome_colour,
        outcome_word=outcome_word,
        outcomes=[(outcome, colour, _MEANINGS[outcome]) for outcome, colour in plots.OUTCOMES.items()],
        percent=PERCENT,
        nats=NATS,
        p_value=p_value,
        dash=DASH,
    )
    return page.encode("utf-8", "replace").decode()  # a lone surrogate could not be written to a file


class _Part(NamedTuple):
    """One eval as the template takes it."""

    content: ReportContent
    anchor: str
    verdict_word: str
    dose_plots: list[plots.Plot]
    outcome_bars: str | None
    tables: list[tuple[tuple[Metric, ...], list[tuple[ArmRow, ...]]]]
    categories: dict[str, list[CategoryCell]]
    deciding: tuple[Metric, ...]
    trends: list[tuple[Trend, Metric]]
    judge_check: str
    corrected: list[CorrectedRow]
    figures: list[FigureRow]
    figures_by_kind: dict[str, list[FigureRow]]


def _part(content: ReportContent, key: str) -> _Part:
    shown = metrics(content)
    by_name = {metric.name: metric for metric in shown}
    return _Part(
        content=content,
        anchor=f"eval{key}",
        verdict_word=VERDICTS[content.verdict.status],
        dose_plots=_marked(plots.dose_plots(content, key)),
        outcome_bars=Markup(plots.outcome_bars(content, key)) if content.value_name is None else None,
        tables=[
            (pair, list(zip(*(arm_rows(content, metric) for metric in pair), strict=True)))
            for pair in filter(None, (shown[:2], shown[2:]))
        ],
        categories=category_rows(content),
        deciding=deciding(content),
        trends=[(trend, by_name[trend.metric]) for trend in content.trends if trend.metric in by_name],
        judge_check=judge_check(content.judge) if content.judge else "",
        corrected=corrected_rows(content.judge, content.summaries) if content.judge else [],
        figures=figure_rows(content.figures),
        figures_by_kind=kind_rows(content.figures),
    )


def _marked(drawn: Sequence[plots.Plot]) -> list[plots.Plot]:
    return [plot._replace(svg=Markup(plot.svg)) for plot in drawn]


def _outcome_colour(outcome: Outcome | float) -> str:
    """That of an outcome; a value has those of honest (right) and lie (wrong)."""
    if isinstance(outcome, Outcome):
        return plots.OUTCOMES[outcome]
    return plots.OUTCOMES[{0.0: Outcome.LIE, 1.0: Outcome.HONEST}.get(outcome, Outcome.NO_BELIEF)]
