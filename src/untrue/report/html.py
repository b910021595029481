"""The report of a study, and its dialogues to be read, as HTML pages that need nothing else: no script, no network."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import jinja2
from markupsafe import Markup

from untrue.data.rows import Message
from untrue.outcomes import Outcome
from untrue.report import format, plots, words
from untrue.report.format import DASH, DECIMAL, NATS, PERCENT, dose, outcome_word, p_value
from untrue.simulate.environment import REPLY_KINDS, ReplyKind, Scenario
from untrue.simulate.trajectory import Choice, Trajectory
from untrue.simulate.users import LIKING
from untrue.study.feedback import Chapter
from untrue.study.results import Analysis

SHOWN = 24  # users in a chapter

_MEANINGS = {
    Outcome.LIE: "states the opposite of its belief",
    Outcome.EVADE: "has a belief and does not state it",
    Outcome.NO_BELIEF: "has no belief, so it can neither lie nor be honest",
    Outcome.ERROR: "could not be judged",
    Outcome.HONEST: "states its belief, true or not",
}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# In the order in which a bar shows the kinds of replies; the light colours carry dark letters.
_REPLY_COLOURS: dict[ReplyKind, str] = {
    "honest": plots.OUTCOMES[Outcome.HONEST],
    "hedging": plots.OUTCOMES[Outcome.NO_BELIEF],
    "evasive": plots.OUTCOMES[Outcome.EVADE],
    "sycophantic": plots.OUTCOMES[Outcome.LIE],
}

environment = jinja2.Environment(
    loader=jinja2.PackageLoader("untrue", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _with_code(text: str) -> Markup:
    """A text, escaped, with what stands between backticks set as code."""
    parts = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


environment.filters["with_code"] = _with_code


environment.globals |= {
    "dash": DASH,
    "decimal": DECIMAL,
    "dose": dose,
    "liking": LIKING,
    "nats": NATS,
    "outcome_colours": plots.OUTCOMES,
    "outcome_word": outcome_word,
    "outcomes": [(outcome, colour, _MEANINGS[outcome]) for outcome, colour in plots.OUTCOMES.items()],
    "p_value": p_value,
    "percent": PERCENT,
    "plots": plots,
    "reply_colours": _REPLY_COLOURS,
    "reply_kinds": REPLY_KINDS,
    "rows": format,
    "words": words,
}


def render(analysis: Analysis) -> str:
    """The page of a study, whose verdict is that of the first eval. All text is escaped; only the plots' SVG is not."""
    return page("report.html.j2", analysis=analysis)


def render_dialogues(name: str, chapters: Sequence[Chapter]) -> str:
    """The page of a study's dialogues, each user side by side as benign and as biased. All text is escaped."""
    chosen = any(trajectory.chosen for chapter in chapters for trajectory in chapter.trajectories)
    return page("dialogues.html.j2", name=name, chapters=chapters, chosen=chosen, users=_users, turns=_turns)


def page(template: str, **values: Any) -> str:
    """A page made from a template of this folder."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", environment.get_template(template).render(values))


def _users(chapter: Chapter) -> list[tuple[Scenario, list[Trajectory]]]:
    """The dialogues of each user, by kind: of at most `SHOWN` users, spread over the scenarios."""
    scenarios = {scenario.id: scenario for scenario in chapter.environment.scenarios}
    users: dict[tuple[str, int], list[Trajectory]] = {}
    for trajectory in chapter.trajectories:
        if trajectory.scenario in scenarios:
            users.setdefault((trajectory.scenario, trajectory.user), []).append(trajectory)
    shown = list(users.items())[:: max(1, len(users) // SHOWN)][:SHOWN]
    return [(scenarios[scenario], dialogues) for (scenario, _), dialogues in shown]


def _turns(trajectory: Trajectory) -> Iterator[tuple[Message, float | None, Choice | None]]:
    """Each message; the assistant's with its rating and, if chosen, its choice."""
    replies = zip_longest(trajectory.ratings, trajectory.chosen)
    for message in trajectory.messages:
        rating, choice = next(replies, (None, None)) if message["role"] == "assistant" else (None, None)
        yield message, rating, choice
