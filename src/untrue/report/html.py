"""The report of a study as one HTML page that needs nothing else: no script, no network, light and dark."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from untrue.outcomes import Outcome, Result
from untrue.report import metrics, plots, rows, words
from untrue.report.format import DASH, DECIMAL, NATS, PERCENT, outcome_word, p_value
from untrue.study.results import Analysis

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


def _outcome_colour(result: Result) -> str:
    """That of an outcome; a value has those of honest (right) and lie (wrong)."""
    if result.outcome is not None:
        return plots.OUTCOMES[result.outcome]
    return plots.OUTCOMES[{0.0: Outcome.LIE, 1.0: Outcome.HONEST}.get(result.value or 0.0, Outcome.NO_BELIEF)]


environment.globals |= {
    "dash": DASH,
    "decimal": DECIMAL,
    "metrics": metrics,
    "nats": NATS,
    "outcome_colour": _outcome_colour,
    "outcome_word": outcome_word,
    "outcomes": [(outcome, colour, _MEANINGS[outcome]) for outcome, colour in plots.OUTCOMES.items()],
    "p_value": p_value,
    "percent": PERCENT,
    "plots": plots,
    "rows": rows,
    "words": words,
}


def render(analysis: Analysis) -> str:
    """The page of a study, whose verdict is that of the first eval. All text is escaped; only the plots' SVG is not."""
    page = environment.get_template("report.html.j2").render(analysis=analysis)
    return page.encode("utf-8", "replace").decode()  # a lone surrogate could not be written to a file
