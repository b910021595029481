"""The plots of a study: differences, dose-response and feedback, as SVG for page or phone.

Every plot is narrow, so that its letters stay readable at 390 px; a wide screen shows several side by side. Colours
are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), and a marker or a place tells the same as each colour.
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
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from untrue.outcomes import Outcome
from untrue.report.format import PERCENT, Metric, PolicyRow, deciding, dose, label, metrics, policy_rows
from untrue.simulate.environment import KINDS
from untrue.stats.types import ArmSummary, Comparison, Interval
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
    names = list(dict.fromkeys(_series(analysis.arms[c.arm]) for c in analysis.comparisons))

    def order(comparison: Comparison) -> tuple[int, float]:
        arm = analysis.arms[comparison.arm]
        return names.index(_series(arm)), _dose(arm) or 0.0

    compared = sorted(analysis.comparisons, key=order)
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
    axes.xaxis.set_major_formatter(lambda x, _: _signed(x, metric.unit.of_difference))
    sides = [("better", BLUE), ("worse", WORSE)]
    (left, of_left), (right, of_right) = sides if comparisons[0].worse > 0 else reversed(sides)
    axes.set_title(f"← {left}", loc="left", color=of_left)
    axes.set_title(f"{right} →", loc="right", color=of_right)
    title = f"{metric.title}: difference from the control, with 95 % intervals"
    return Plot(metric.title, metric.meaning, to_svg(figure, f"difference-{metric.name}{key}", title, "; ".join(words)))


def dose_plots(analysis: EvalAnalysis, key: str = "") -> list[Plot]:
    """The first three metrics of every arm against its dose, with intervals; `key` makes their ids unique in a page."""
    return [_dose_plot(analysis, metric, key) for metric in metrics(analysis)[:3]]


@_styled
def _dose_plot(analysis: EvalAnalysis, metric: Metric, key: str) -> Plot:
    places, arms = _places(analysis), analysis.arms
    crowded = sum(len(place) for place in places) > 42
    figure, axes = _figure(300 if crowded else 250)
    baselines = [s for s in analysis.summaries if _is_baseline(arms[s.arm])]
    names = list(dict.fromkeys(_series(arms[s.arm]) for s in analysis.summaries if s not in baselines))
    handles, words = [], []

    def draw(summaries: Sequence[ArmSummary], colour: str, marker: str, shift: float, line: str) -> None:
        estimates = [(places[_place(analysis, s)] + shift, s, getattr(s, metric.name)) for s in summaries]
        points = sorted((p for p in estimates if p[2] is not None), key=lambda point: point[0])
        x = [x for x, _, _ in points]
        y = np.array([estimate for _, _, estimate in points], dtype=float).reshape(-1, 3) * metric.unit.scale
        axes.vlines(x, y[:, 1], y[:, 2], colors=colour, linewidth=1.6)
        axes.plot(x, y[:, 0], color=colour, linewidth=1.6, linestyle=line)
        for at, (_, summary, _), value in zip(x, points, y[:, 0], strict=True):
            fill = CARD if summary.control is None else colour
            axes.plot(at, value, marker=marker, color=colour, markerfacecolor=fill, markersize=6.5, zorder=3)
        for _, summary, estimate in points:
            words.append(f"{summary.arm} {metric.unit.estimate(estimate)}")

    for summary in baselines:
        estimate: Interval | None = getattr(summary, metric.name)
        if estimate is not None and summary.arm in _controls(analysis):
            axes.axhline(estimate.value * metric.unit.scale, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    draw(baselines, INK, "D", 0.0, line="")
    for index, name in enumerate(names):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        line = "-" if index < len(COLOURS) else "--"
        series = [s for s in analysis.summaries if s not in baselines and _series(arms[s.arm]) == name]
        dosed = [s for s in series if _dose(arms[s.arm]) is not None]
        shift = (index - (len(names) - 1) / 2) * min(0.16, 0.4 / len(names))
        draw(dosed, colour, marker, shift, line)
        draw([s for s in series if s not in dosed], colour, marker, shift, line="")
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle=line, label=label(name, 24)))
    if baselines:
        handles.append(Line2D([], [], color=MUTED, marker="D", markerfacecolor=CARD, markeredgecolor=INK,
                              linestyle=(0, (4, 3)), linewidth=1, label="control"))  # fmt: skip

    axes.set_xlim(-0.8, len(places) - 0.5)
    axes.set_xticks(list(places.values()), [label(place, 16) for place in places])
    if crowded:
        axes.tick_params("x", labelrotation=40)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.margins(y=0.08)
    if metric.name == "lie_rate":
        axes.set_ylim(bottom=0)
    elif axes.get_ylim()[0] < 0 < axes.get_ylim()[1]:
        axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if metric.unit.of_value:
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g} {metric.unit.of_value}")
    _legend(figure, handles)
    title = f"{metric.title} by dose, with 95 % intervals"
    return Plot(metric.title, metric.meaning, to_svg(figure, f"dose-{metric.name}{key}", title, "; ".join(words)))


def policy_plots(analysis: Analysis, policy: Policy) -> list[Plot]:
    """The preference for the sycophantic reply by round: for each method one plot of each kind of user, a line an arm.

    All have one scale.
    """
    by_method: dict[str, list[PolicyRow]] = {}
    for row in policy_rows(policy):
        by_method.setdefault(_root(analysis.arms, row.arm), []).append(row)
    limits = [limit for point in policy.points for limit in point.preference]
    drawn = []
    for root, of_method in by_method.items():
        method = next((_series(analysis.arms[row.arm]) for row in of_method if row.arm != root), root)
        for kind in KINDS:
            lines = {row.arm: row.preferences[kind] for row in of_method}
            title = f"{method}: preference for the sycophantic reply to {kind} users by round, with 95 % intervals"
            svg = _rounds_plot(analysis.arms, lines, limits, f"policy-{len(drawn)}", title)
            axes = "preference for the sycophantic reply, by share of biased users"
            drawn.append(Plot(f"{label(method, 24)}, {kind} users", axes, svg))
    return drawn


@_styled
def _rounds_plot(
    arms: Mapping[str, Arm],
    lines: Mapping[str, Sequence[Interval | None]],
    limits: Sequence[float],
    key: str,
    title: str,
) -> Markup:
    """One line an arm, from before training on; it breaks where a round is missing. Variants of an arm are dashed."""
    shares = sorted({arm.part for arm in arms.values() if arm.trained and not _is_baseline(arm)})
    figure, axes = _figure(290)
    handles, words = [], []
    for place, (name, values) in enumerate(lines.items()):
        arm, is_variant = arms[name], arms[name].level == name
        number = len(shares) + place if is_variant else shares.index(arm.part) if arm.part else 0
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "--" if is_variant else "-"}
        if _is_baseline(arm):
            style = {"color": MUTED, "marker": "D", "linestyle": (0, (4, 3)), "markerfacecolor": CARD}
        shift = (place - (len(lines) - 1) / 2) * min(0.05, 0.4 / len(lines))
        x = np.arange(len(values)) + shift
        y = 100 * np.array([value or (math.nan,) * 3 for value in values], dtype=float)
        axes.vlines(x, y[:, 1], y[:, 2], colors=style["color"], linewidth=1.2)
        axes.plot(x, y[:, 0], linewidth=1.6, markersize=6, **style)
        named = arm.name if is_variant else dose(arm.part)
        handles.append(Line2D([], [], linewidth=1.6, markersize=6, label=label(named, 24), **style))
        words.append(f"{name}: {', '.join(map(PERCENT.estimate, values))}")
    rounds = max(map(len, lines.values()))
    axes.set_xlim(-0.35, rounds - 0.65)
    axes.set_xticks(range(rounds), ["before", *(f"round {number}" for number in range(1, rounds))])
    low, high = 100 * min([0.5, *limits]), 100 * max([0.5, *limits])
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(50, color=MUTED, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g} %")
    _legend(figure, handles)
    return to_svg(figure, key, title, "; ".join(words))


def _root(arms: Mapping[str, Arm], name: str) -> str:
    """The control at the end of an arm's controls: all arms of one method have the same."""
    control = arms[name].control
    return name if control is None else _root(arms, control)


def _signed(value: float, unit: str) -> str:
    """A tick of an axis of differences."""
    return f"{value:+g} {unit}".strip().replace("-", "\N{MINUS SIGN}") if value else "0"


def _dose(arm: Arm) -> float | None:
    """Dose or share of an arm, 0.05 for 5 %; None for the model as it was."""
    return arm.part if arm.trained else None


def _series(arm: Arm) -> str:
    """The line of the dose plot on which an arm lies; arms of one series are joined."""
    return arm.level or arm.name


def _is_baseline(arm: Arm) -> bool:
    """Whether an arm has neither control nor dose: it is drawn by itself, not as a point of a line."""
    return arm.control is None and not _dose(arm)


def _controls(analysis: EvalAnalysis) -> set[str | None]:
    """Names of the arms that others are compared with."""
    return {summary.control for summary in analysis.summaries} - {None}


def _figure(height: float) -> tuple[Figure, Axes]:
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03)
    figure = Figure((WIDTH / 72, height / 72), layout=layout)
    return figure, figure.add_subplot()


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    """Above the axes, in as many columns as fit."""
    letters = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, min(len(handles), WIDTH // (40 + 7 * letters)))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0,
                  borderpad=0.1, columnspacing=1.3, handletextpad=0.5)  # fmt: skip


def _place(analysis: EvalAnalysis, summary: ArmSummary) -> str:
    arm = analysis.arms[summary.arm]
    value = _dose(arm)
    return arm.name if value is None or _is_baseline(arm) else dose(value)


def _places(analysis: EvalAnalysis) -> dict[str, float]:
    """Where each dose stands on the axis, equally spaced: the control first, then arms without a dose, then doses."""

    def order(summary: ArmSummary) -> tuple[int, float]:
        arm = analysis.arms[summary.arm]
        value = _dose(arm)
        return (0, 0.0) if _is_baseline(arm) else (1, 0.0) if value is None else (2, value)

    names = dict.fromkeys(_place(analysis, summary) for summary in sorted(analysis.summaries, key=order))
    return {
        name: index - 0.3 * (name in analysis.arms and _is_baseline(analysis.arms[name]))
        for index, name in enumerate(names)
    }


def to_svg(figure: Figure, key: str, title: str, description: str) -> Markup:
    """The figure as one `<svg>` element, to be put into a page as it is; matplotlib escapes its text.

    It has no fixed size: it fills the width of what holds it.
    """
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
