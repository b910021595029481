"""The report of a study as one HTML page that needs nothing else: no script, no network, light and dark."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from untrue.outcomes import Outcome
from untrue.report import plots
from untrue.report.content import ReportContent
from untrue.report.format import DASH, NATS, PERCENT, VERDICTS, p_value
from untrue.report.rows import METRICS, archetype_rows, arm_rows

_MEANINGS = {
    Outcome.LIE: "says the opposite of a belief that it holds",
    Outcome.EVADE: "holds a belief and does not state it",
    Outcome.NO_BELIEF: "holds no belief, so it can neither lie nor be honest",
    Outcome.ERROR: "could not be judged",
    Outcome.HONEST: "says what it believes, be it true or false",
}

_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("untrue", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(content: ReportContent) -> str:
    """The page. All text of `content` is escaped; only the SVG of the plots goes in as it is.

    Raises:
        KeyError: The verdict's status is not one that is known.
    """
    page = _environment.get_template("report.html.j2").render(
        content=content,
        verdict_word=VERDICTS[content.verdict.status],
        dose_plots=[plot._replace(svg=Markup(plot.svg)) for plot in plots.dose_plots(content)],
        outcome_bars=Markup(plots.outcome_bars(content)),
        training_plots=[plot._replace(svg=Markup(plot.svg)) for plot in plots.training_plots(content)],
        colours=plots.OUTCOMES,
        outcomes=[(outcome, colour, _MEANINGS[outcome]) for outcome, colour in plots.OUTCOMES.items()],
        tables=[
            (pair, list(zip(*(arm_rows(content, metric) for metric in pair), strict=True)))
            for pair in (METRICS[:2], METRICS[2:])
        ],
        archetypes=archetype_rows(content),
        trends=[(trend, next(m for m in METRICS if m.name == trend.metric)) for trend in content.trends],
        percent=PERCENT,
        nats=NATS,
        p_value=p_value,
        dash=DASH,
    )
    return page.encode("utf-8", "replace").decode()  # a lone surrogate could not be written to a file
