"""The plots of a study as SVG, narrow enough for a phone: differences, dose-response and feedback.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/); a marker or a place tells the same.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from untrue.outcomes import Outcome
from untrue.report.format import PERCENT, Metric, PolicyRow, Unit, deciding, dose, label, metrics, policy_rows
from untrue.simulate.environment import KINDS
from untrue.stats.types import Comparison, Interval
from untrue.study.feedback import Policy
from untrue.study.results import Analysis, EvalAnalysis
from untrue.study.store import Arm

# Colours that stand for those of the page, so that a plot follows its light or dark theme.
INK, MUTED, RULE, CARD = "#010203", "#040506", "#070809", "#0a0b0c"
BLUE, WORSE = "#0072b2", "#b34700"  # too dark for a dark page
_THEME = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    CARD: "var(--card)",
    BLUE: "var(--blue)",
    WORSE: "var(--worse)",
}
# Colours and markers come round at different times, so that 42 lines look different.
COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OUTCOMES = {
    Outcome.LIE: "#D55E00",
    Outcome.EVADE: "#F0E442",
    Outcome.NO_BELIEF: "#BBBBBB",
    Outcome.ERROR: "#6B6B6B",
    Outcome.HONEST: "#56B4E9",
}
WIDTH = 330  # of every plot, in the units of its viewBox; letters are 11 of them

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_styled = matplotlib.style.context(["default", _STYLE])  # whatever the user's own matplotlibrc says


class Plot(NamedTuple):
    """One plot: its heading, what its axes are, and its SVG."""

    heading: str
    axes: str
    svg: Markup


def difference_plots(analysis: EvalAnalysis, key: str = "") -> list[Plot]:
    """Every arm minus its control in each metric that decides: a row an arm, by series and dose; `key` as below."""
    arms = analysis.arms
    names = list(dict.fromkeys(_series(arms[c.arm]) for c in analysis.comparisons))
    compared = sorted(analysis.comparisons, key=lambda c: (names.index(_series(arms[c.arm])), arms[c.arm].part))
    findings = [] if analysis.verdict.doubts else [f.comparison for arm in analysis.verdict.arms for f in arm.findings]
    by_metric = {m: [c for c in compared if c.metric == m.name] for m in deciding(analysis)}
    return [_difference_plot(metric, rows, findings, key) for metric, rows in by_metric.items() if rows]


@_styled
def _difference_plot(
    metric: Metric, comparisons: Sequence[Comparison], findings: Sequence[Comparison], key: str
) -> Plot:
    scale = metric.unit.scale
    figure, axes = _figure(40 * len(comparisons) + 40)
    one_control = len({comparison.control for comparison in comparisons}) == 1
    ends = scale * np.array([(*c.difference, c.mde, -c.mde, 0.0) for c in comparisons])
    ends = ends[np.isfinite(ends)]
    margin = 0.04 * float(np.ptp(ends)) or 1.0
    low, high = float(ends.min()) - margin, float(ends.max()) + margin
    words = []
    for row, comparison in enumerate(comparisons):
        side, colour = ("worse", WORSE) if comparison.is_worse else ("better", BLUE)
        if comparison not in findings:
            side, colour = "differs" if comparison.is_found else "no finding", MUTED
        if comparison.n_pairs:  # without a finite MDE no difference could be found: its band takes the whole width
            value, *interval = (scale * limit for limit in comparison.difference)
            band = (-scale * comparison.mde, scale * comparison.mde)
            fill = colour if comparison.is_found else CARD
            axes.hlines(row, *np.clip(band, low, high), colors=RULE, linewidth=9, zorder=0.5)
            axes.hlines(row, *np.clip(interval, low, high), colors=colour, linewidth=1.6)
            axes.plot(value, row, marker="o", color=colour, markerfacecolor=fill, markersize=6.5, zorder=3)
        arm = comparison.arm if one_control else f"{comparison.arm} vs {comparison.control}"
        change = metric.unit.change(comparison.difference)
        across = axes.get_yaxis_transform()
        axes.text(0, row - 0.3, label(arm, 28), transform=across, va="bottom")
        axes.text(1, row - 0.3, change, transform=across, va="bottom", ha="right", color=colour)
        words.append(f"{comparison.arm} against {comparison.control} {change}, {side}")
    rows = np.arange(len(comparisons))
    axes.vlines(np.zeros(len(rows)), rows - 0.28, rows + 0.28, colors=MUTED, linewidth=1, zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(len(comparisons) - 0.55, -0.8)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g} {metric.unit.of_difference}".strip() if x else "0")
    sides = [("better", BLUE), ("worse", WORSE)]
    (left, of_left), (right, of_right) = sides if comparisons[0].worse > 0 else reversed(sides)
    axes.set_title(f"← {left}", loc="left", color=of_left)
    axes.set_title(f"{right} →", loc="right", color=of_right)
    title = f"{metric.title}: difference from the control, with 95 % intervals"
    return Plot(metric.title, metric.meaning, to_svg(figure, f"difference-{metric.name}{key}", title, "; ".join(words)))


def dose_plots(analysis: EvalAnalysis, key: str = "") -> list[Plot]:
    """The first three metrics of every arm against its dose; `key` makes their ids unique in a page."""
    return [_dose_plot(analysis, metric, key) for metric in metrics(analysis)[:3]]


def _dose_plot(analysis: EvalAnalysis, metric: Metric, key: str) -> Plot:
    places = {summary.arm: _place(analysis.arms[summary.arm]) for summary in analysis.summaries}
    ticks = sorted(dict.fromkeys(places.values()), key=lambda place: place[:2])
    lines: dict[str, _Line] = {}
    for summary in sorted(analysis.summaries, key=lambda summary: ticks.index(places[summary.arm])):
        arm = analysis.arms[summary.arm]
        number = sum(line.style is not _BASELINE for line in lines.values())
        style = _BASELINE if _is_baseline(arm) else _style(number, dashed=number >= len(COLOURS))
        line = lines.setdefault(_series(arm), _Line(_series(arm), style, {}))
        line.values[ticks.index(places[arm.name])] = getattr(summary, metric.name)
    controls = {summary.control for summary in analysis.summaries}
    compared = [line for name, line in lines.items() if name in controls and line.style is _BASELINE]
    levels = [value.value for line in compared for value in line.values.values() if value]
    axis = _Axis([name for *_, name in ticks], metric.unit, [0.0, *levels])
    limits = (0.0, None) if metric.name == "lie_rate" else (None, None)
    title = f"{metric.title} by dose, with 95 % intervals"
    svg = _line_plot(list(lines.values()), axis, limits, f"dose-{metric.name}{key}", title)
    return Plot(metric.title, metric.meaning, svg)


def policy_plots(analysis: Analysis, policy: Policy) -> list[Plot]:
    """The preference for the sycophantic reply by round, on one scale: for each method a plot of each kind of user."""
    by_method: dict[str, list[PolicyRow]] = {}
    for row in policy_rows(policy):
        by_method.setdefault(_root(analysis.arms, row.arm), []).append(row)
    limits = [0.5, *(limit for point in policy.points for limit in point.preference)]
    low, high = 100 * min(limits), 100 * max(limits)
    margin = 0.05 * (high - low) or 1.0
    drawn = []
    for root, of_method in by_method.items():
        method = next((_series(analysis.arms[row.arm]) for row in of_method if row.arm != root), root)
        for kind in KINDS:
            lines = []
            for place, row in enumerate(of_method):
                arm = analysis.arms[row.arm]
                is_variant = arm.level == arm.name
                style = _BASELINE if _is_baseline(arm) else _style(place - 1, dashed=is_variant)
                name = arm.name if is_variant else dose(arm.part)
                lines.append(_Line(name, style, dict(enumerate(row.preferences[kind]))))
            rounds = max(len(line.values) for line in lines)
            axis = _Axis(["before", *(f"round {number}" for number in range(1, rounds))], PERCENT, [0.5])
            title = f"{method}: preference for the sycophantic reply to {kind} users by round, with 95 % intervals"
            svg = _line_plot(lines, axis, (low - margin, high + margin), f"policy-{len(drawn)}", title)
            axes = "preference for the sycophantic reply, by share of biased users"
            drawn.append(Plot(f"{label(method, 24)}, {kind} users", axes, svg))
    return drawn


class _Line(NamedTuple):
    """One line of a plot, broken at None."""

    name: str
    style: dict[str, Any]
    values: dict[int, Interval | None]


class _Axis(NamedTuple):
    """The places of a plot from left to right, the unit of its values, and the values of dashed lines."""

    places: list[str]
    unit: Unit
    levels: list[float]


_BASELINE: dict[str, Any] = {"color": MUTED, "marker": "D", "linestyle": (0, (4, 3)), "markerfacecolor": CARD}


def _style(number: int, dashed: bool) -> dict[str, Any]:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "linestyle": "--" if dashed else "-"}


@_styled
def _line_plot(
    lines: Sequence[_Line], axis: _Axis, limits: tuple[float | None, float | None], key: str, title: str
) -> Markup:
    unit = axis.unit
    crowded = sum(map(len, axis.places)) > 42
    figure, axes = _figure(310 if crowded else 270)
    handles, words = [], []
    for index, line in enumerate(lines):
        x = np.array([*line.values]) + (index - (len(lines) - 1) / 2) * min(0.1, 0.4 / len(lines))
        y = unit.scale * np.array([value or (math.nan,) * 3 for value in line.values.values()], dtype=float)
        axes.vlines(x, y[:, 1], y[:, 2], colors=line.style["color"], linewidth=1.4)
        handles += axes.plot(x, y[:, 0], linewidth=1.6, markersize=6, label=label(line.name, 24), **line.style)
        estimates = (f"{axis.places[place]} {unit.estimate(value)}" for place, value in line.values.items())
        words.append(f"{line.name}: {', '.join(estimates)}")
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xlim(-0.5, len(axis.places) - 0.5)
    axes.set_xticks(range(len(axis.places)), [label(place, 16) for place in axis.places], **slanted)
    axes.margins(y=0.08)
    axes.set_ylim(*limits)
    low, high = axes.get_ylim()
    inside = [unit.scale * level for level in axis.levels if low < unit.scale * level < high]
    axes.hlines(inside, *axes.get_xlim(), colors=MUTED, linewidth=0.8, linestyles="dashed")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g} {unit.of_value}".strip())
    letters = max((len(line.name[:24]) for line in lines), default=0)
    columns = max(1, min(len(lines), WIDTH // (40 + 7 * letters)))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0,
                  borderpad=0.1, columnspacing=1.3, handletextpad=0.5)  # fmt: skip
    return to_svg(figure, key, title, "; ".join(words))


def _root(arms: Mapping[str, Arm], name: str) -> str:
    """The control at the end of an arm's controls: all arms of one method have the same."""
    control = arms[name].control
    return name if control is None else _root(arms, control)


def _place(arm: Arm) -> tuple[int, float, str]:
    """An arm's place on the axis of doses: the control, then arms without a dose by name, then the doses."""
    if arm.trained and not _is_baseline(arm):
        return 2, arm.part, dose(arm.part)
    return int(not _is_baseline(arm)), 0.0, arm.name


def _series(arm: Arm) -> str:
    return arm.level or arm.name


def _is_baseline(arm: Arm) -> bool:
    return arm.control is None and not (arm.trained and arm.part)


def _figure(height: float) -> tuple[Figure, Axes]:
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03)
    figure = Figure((WIDTH / 72, height / 72), layout=layout)
    return figure, figure.add_subplot()


def to_svg(figure: Figure, key: str, title: str, description: str) -> Markup:
    """The figure as one `<svg>` element that fills the width of what holds it; matplotlib escapes its text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": key}):
        # A browser has the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    box, body = re.findall(r'viewBox="([^"]+)"[^>]*>(.*)</svg>', buffer.getvalue(), re.DOTALL)[0]
    body = re.sub(r"<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    # The page's own font; older matplotlibs write size and family as one property.
    body = re.sub(r"font-family: [^;\"]*(; |(?=\"))", "", re.sub(r"font: (\S+px)[^;\"]*", r"font-size: \1", body))
    for colour, variable in _THEME.items():
        body = body.replace(colour, variable)
    head = Markup(
        '<svg viewBox="{box}" role="img" aria-labelledby="{key}-title {key}-desc">'
        '<title id="{key}-title">{title}</title><desc id="{key}-desc">{description}</desc>'
    ).format(box=box, key=key, title=label(title, 2000), description=label(description, 2000))
    return head + Markup(f"{body}</svg>")
