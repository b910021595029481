"""The plots show every arm, and no label can become markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import pytest

from untrue.report import plots
from untrue.report.content import ReportContent

Make = Callable[..., ReportContent]


def words(svg: str) -> list[str]:
    """The text that a plot shows, its title and description left out."""
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def test_doses_are_in_order_with_the_control_first(content: ReportContent) -> None:
    for plot in plots.dose_plots(content):
        shown = words(plot.svg)
        places = [shown.index(place) for place in ("control", "5\N{NO-BREAK SPACE}%", "20\N{NO-BREAK SPACE}%")]
        assert places == sorted(places)
        assert "severe" in shown


def test_arms_without_a_dose_or_a_margin_are_drawn(content: ReportContent) -> None:
    content = replace(
        content,
        doses=dict.fromkeys(content.doses),
        summaries=[replace(s, pressure_margin=None, neutral_margin=None) for s in content.summaries],
    )
    for plot in plots.dose_plots(content):
        assert set(content.doses) <= set(words(plot.svg))


def test_matched_controls_stand_at_their_dose(make_content: Make) -> None:
    content = make_content((0.1, 0.5), ("severe", "normal"))
    content = replace(
        content, summaries=[replace(s, control=None) if "normal" in s.arm else s for s in content.summaries]
    )
    shown = words(plots.dose_plots(content)[0].svg)
    assert "normal-10" not in shown and shown.count("10\N{NO-BREAK SPACE}%") == 1


def test_bars_carry_the_counts(content: ReportContent) -> None:
    shown = words(plots.outcome_bars(content))
    for summary in content.summaries:
        assert summary.arm in shown
        assert str(summary.counts["lie"]) in shown and str(summary.counts["honest"]) in shown


def test_bars_of_an_arm_without_results_are_empty(content: ReportContent) -> None:
    empty = replace(content.summaries[0], counts=dict.fromkeys(content.summaries[0].counts, 0))
    assert "n 0" in words(plots.outcome_bars(replace(content, summaries=[empty])))


def test_one_training_plot_a_series(make_content: Make) -> None:
    content = make_content((0.1, 0.5), ("severe", "normal"))
    assert [plot.heading for plot in plots.training_plots(content)] == [
        "Training loss: severe",
        "Training loss: normal",
    ]
    only_control = replace(content, training=[c for c in content.training if c.arm == "control"])
    assert [plot.heading for plot in plots.training_plots(only_control)] == ["Training loss"]
    assert plots.training_plots(replace(content, training=[])) == []


def test_the_loss_of_each_method_has_its_own_name_and_scale(make_content: Make) -> None:
    content = make_content((0.1, 0.5), ("severe", "normal"))
    assert {plot.axes for plot in plots.training_plots(content)} == {"nats per supervised token"}
    supervised = [curve for curve in content.training if "normal" not in curve.arm]
    kto = [replace(c, method="kto", losses=[0.5] * 120) for c in content.training if "normal" in c.arm]
    first, second = plots.training_plots(replace(content, training=supervised + kto))
    assert (first.axes, second.axes) == ("nats per supervised token", "KTO's own loss, which has no unit")
    assert [first] == plots.training_plots(replace(content, training=supervised))
    assert "control" not in words(second.svg)  # whose loss is another quantity


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "]]>--><b>", "$\\frac{", "a\x00\x1b\ud800", "日本語"])
def test_a_label_is_never_markup(content: ReportContent, name: str) -> None:
    content = replace(
        content,
        doses={name: None},
        series={name: name},
        summaries=[replace(content.summaries[1], arm=name)],
        training=[replace(content.training[0], arm=name)],
    )
    drawn = [*plots.dose_plots(content), *plots.training_plots(content)]
    for svg in [plots.outcome_bars(content), *(plot.svg for plot in drawn)]:
        tags = {element.tag for element in ET.fromstring(svg).iter()}
        assert tags <= {"svg", "title", "desc", "defs", "clipPath", "g", "path", "rect", "use", "text"}
        assert "http" not in svg and "<!--" not in svg


def test_no_global_state(content: ReportContent) -> None:
    before = matplotlib.rcParams.copy()
    plots.dose_plots(content)
    assert matplotlib.rcParams.copy() == before
