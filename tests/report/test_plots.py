"""The plots show every arm, and no label can become markup."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from untrue.report import plots
from untrue.report.format import deciding
from untrue.stats.types import ArmVerdict, Finding, Interval, Reason, Verdict
from untrue.study.results import Analysis, EvalAnalysis
from untrue.study.store import Arm

Make = Callable[..., Analysis]


def words(svg: str) -> list[str]:
    """The text that a plot shows, its title and description left out."""
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def test_differences_are_a_row_an_arm_by_series_and_dose(make_analysis: Make) -> None:
    [of_eval] = make_analysis((0.5, 0.05), ("severe", "normal")).evals
    drawn = plots.difference_plots(of_eval)
    compared = {comparison.metric for comparison in of_eval.comparisons}
    assert [plot.heading for plot in drawn] == [m.title for m in deciding(of_eval) if m.name in compared]
    arms = ["severe-5", "severe-50", "normal-5", "normal-50"]
    for plot in drawn:
        assert [word for word in words(plot.svg) if word in of_eval.arms] == arms
        assert {"← better", "worse →"} <= set(words(plot.svg)) or {"← worse", "better →"} <= set(words(plot.svg))


def test_only_what_a_conclusion_rests_on_is_coloured(forced_choice: EvalAnalysis) -> None:
    [finding, *others] = [replace(c, p_holm=0.001) for c in forced_choice.comparisons if c.metric == "lie_rate"]
    finding = replace(finding, difference=Interval(0.2, 0.1, 0.3), worse=1)
    arm = ArmVerdict(finding.arm, finding.control, ("lies_more",), (Finding("lies_more", finding),))
    compared = replace(forced_choice, comparisons=[finding, *others], verdict=Verdict(arms=(arm,)))
    [plot] = plots.difference_plots(compared)
    described = described_arms(plot.svg)
    assert described[finding.arm].endswith("+20.0\N{NO-BREAK SPACE}pp [+10.0, +30.0], worse")
    assert {text.rpartition(", ")[2] for name, text in described.items() if name != finding.arm} <= {
        "differs",
        "no finding",
    }
    doubted = replace(compared, verdict=replace(compared.verdict, doubts=(Reason("several_judges", values=(2,)),)))
    [plot] = plots.difference_plots(doubted)
    assert described_arms(plot.svg)[finding.arm].endswith(", differs")
    assert plot.svg.count("var(--worse)") == 1  # the word beside the axis


def described_arms(svg: str) -> dict[str, str]:
    """Arm -> what the description says of it."""
    description = next(element for element in ET.fromstring(svg) if element.tag == "desc").text or ""
    return {text.partition(" ")[0]: text for text in description.split("; ")}


def test_a_difference_without_pairs_or_limits_is_drawn(forced_choice: EvalAnalysis) -> None:
    first, second, *others = [c for c in forced_choice.comparisons if c.metric == "lie_rate"]
    absent = replace(first, n_pairs=0, difference=Interval(math.nan, math.nan, math.nan), mde=math.inf)
    endless = replace(second, difference=Interval(0.1, -math.inf, math.inf), mde=math.inf)
    [plot] = plots.difference_plots(replace(forced_choice, comparisons=[absent, endless, *others]))
    assert described_arms(plot.svg)[absent.arm] == f"{absent.arm} against {absent.control} –, no finding"
    assert "nan" not in plot.svg and "inf" not in plot.svg
    assert plots.difference_plots(replace(forced_choice, comparisons=[])) == []
    [plot] = plots.difference_plots(replace(forced_choice, comparisons=[replace(first, control="severe-50"), second]))
    assert f"{first.arm} vs severe-50" in words(plot.svg)


def test_doses_are_in_order_with_the_control_first(forced_choice: EvalAnalysis) -> None:
    before = matplotlib.rcParams.copy()
    drawn = plots.dose_plots(forced_choice)
    assert matplotlib.rcParams.copy() == before
    for plot in drawn:
        shown = words(plot.svg)
        places = [shown.index(place) for place in ("control", "5\N{NO-BREAK SPACE}%", "20\N{NO-BREAK SPACE}%")]
        assert places == sorted(places)
        assert "severe" in shown


def test_arms_without_a_dose_or_a_margin_are_drawn(forced_choice: EvalAnalysis) -> None:
    arms = {"base": Arm("base", trained=False), **forced_choice.arms}
    base = replace(forced_choice.summaries[0], arm="base")
    [plot, *_] = plots.dose_plots(replace(forced_choice, arms=arms, summaries=[base, *forced_choice.summaries]))
    assert {"base", "control"} < set(words(plot.svg))
    untrained = replace(
        forced_choice,
        arms={name: replace(arm, trained=False) for name, arm in forced_choice.arms.items()},
        summaries=[replace(s, pressure_margin=None, neutral_margin=None) for s in forced_choice.summaries],
    )
    for plot in plots.dose_plots(untrained):
        assert untrained.arms.keys() <= set(words(plot.svg))


def test_matched_controls_stand_at_their_dose(make_analysis: Make) -> None:
    [forced_choice] = make_analysis((0.1, 0.5), ("severe", "normal")).evals
    arms = {n: replace(arm, control=None) if "normal" in n else arm for n, arm in forced_choice.arms.items()}
    summaries = [replace(s, control=arms[s.arm].control) for s in forced_choice.summaries]
    shown = words(plots.dose_plots(replace(forced_choice, arms=arms, summaries=summaries))[0].svg)
    assert "normal-10" not in shown and shown.count("10\N{NO-BREAK SPACE}%") == 1


def test_twelve_series_look_different(make_analysis: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    legends = list[list[Line2D]]()
    monkeypatch.setattr(Figure, "legend", lambda figure, handles, **_: legends.append(handles))
    plots.dose_plots(make_analysis((0.5,), [f"series-{number}" for number in range(12)]).evals[0])
    for control, *series in legends:
        assert (len(series), control.get_label()) == (12, "control")
        assert len({(line.get_color(), line.get_marker()) for line in series}) == 12
        assert len({(line.get_color(), line.get_linestyle()) for line in series}) == 12


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "]]>--><b>", "$\\frac{", "a\x00\x1b\ud800", "日本語"])
def test_a_label_is_never_markup(forced_choice: EvalAnalysis, name: str) -> None:
    arms = {name: Arm(name, "control", name, trained=False)}
    one = replace(forced_choice, arms=arms, summaries=[replace(forced_choice.summaries[1], arm=name)])
    compared = replace(one, comparisons=[replace(forced_choice.comparisons[0], arm=name)])
    for plot in [*plots.difference_plots(compared), *plots.dose_plots(one)]:
        svg = plot.svg
        tags = {element.tag for element in ET.fromstring(svg).iter()}
        assert tags <= {"svg", "title", "desc", "defs", "clipPath", "g", "path", "rect", "use", "text"}
        assert "http" not in svg and "<!--" not in svg
