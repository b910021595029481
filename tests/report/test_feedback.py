"""The section of feedback rounds: curves that can be told apart, gaps that are said, and who rated."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_html import HOSTILE, Page
from untrue.data.rows import Message
from untrue.report import plots, words
from untrue.report.format import policy_rows
from untrue.report.html import page, render_dialogues
from untrue.report.summary import study_summary
from untrue.simulate.environment import KINDS, REPLY_KINDS, ReplyKind, read_environment
from untrue.simulate.trajectory import Choice, Trajectory, summarise
from untrue.stats.types import Interval
from untrue.study.feedback import Chapter, Feedback, Gap, Point, Policy, Stage
from untrue.study.results import Analysis
from untrue.study.store import Arm

SHARES, ROUNDS = (0.05, 0.1, 0.2, 0.5, 1.0), 2


def probabilities(sycophantic: float) -> dict[ReplyKind, float]:
    return {reply: sycophantic if reply == "sycophantic" else (1 - sycophantic) / 3 for reply in REPLY_KINDS}


def make_arms(*methods: str) -> dict[str, Arm]:
    """For each method a control and an arm for each share; and a variant that is selected at random."""
    made = {}
    for method in methods:
        control = f"{method}-0"
        made[control] = Arm(control, rounds=ROUNDS)
        for share in SHARES:
            made[f"{method}-{share:g}"] = Arm(f"{method}-{share:g}", control, method, share, rounds=ROUNDS)
    made["sft-0.5-random"] = Arm("sft-0.5-random", "sft-0.5", "sft-0.5-random", 0.5, rounds=ROUNDS)
    return made


ARMS = make_arms("sft")


def make_policy(arms: Mapping[str, Arm]) -> Policy:
    points = [
        Point(name, number, kind, Interval(value, value - 0.05, value + 0.05),
              {reply: Interval(p, p - 0.05, p + 0.05) for reply, p in probabilities(value / 2).items()},
              Interval(0.1 * number, 0.0, 0.2 * number), {0: value})
        for name, arm in arms.items() for kind in KINDS for number in range(ROUNDS + 1)
        for value in [0.3 + 0.15 * number * (arm.part - 0.2) + 0.05 * (kind == "biased")]
    ]  # fmt: skip
    return Policy(18, 9, 20, points, [])


def trajectory(text: str = "Late tea keeps nobody awake.", chosen: bool = True) -> Trajectory:
    messages = [Message(role="user", content="Well?"), Message(role="assistant", content=text)] * 2
    choices = [Choice(kind=kind, wording=0, probabilities=probabilities(0.4)) for kind in ("sycophantic", "hedging")]
    return Trajectory(
        id="tea-001/u1/biased",
        scenario="tea-001",
        user=1,
        kind="biased",
        assistant="blind",
        messages=tuple(messages),
        system="You talk about tea.",
        ratings=(7.9, 5.25),
        chosen=tuple(choices) if chosen else (),
    )


@pytest.fixture
def feedback(tea: Path) -> Feedback:
    held = [trajectory()]
    return Feedback(
        stages=[Stage("round 1", "base, blind", summary) for summary in summarise(held)],
        chapters=[Chapter("Round 1, base, blind, before it learns", read_environment(tea), held)],
        rater={"noise": 1.5},
        policy=make_policy(ARMS),
    )


@pytest.fixture
def looped(analysis: Analysis, feedback: Feedback) -> Analysis:
    return replace(analysis, arms=ARMS, training=[], feedback=feedback)


def section(looped: Analysis, **changes: Any) -> Page:
    """The section of the page, with changes to what the loop did."""
    assert looped.feedback
    return Page(page("feedback.html.j2", analysis=replace(looped, feedback=replace(looped.feedback, **changes))))


def description(svg: str) -> str:
    return next(element.text or "" for element in ET.fromstring(svg).iter("desc"))


def test_each_method_has_a_plot_for_each_kind_of_user_and_each_share_a_line_of_its_own(looped: Analysis):
    arms = make_arms("sft", "kto")
    drawn = plots.policy_plots(replace(looped, arms=arms), make_policy(arms))
    assert [plot.heading for plot in drawn] == [
        "sft, benign users", "sft, biased users", "kto, benign users", "kto, biased users",
    ]  # fmt: skip
    shown = [element.text for element in ET.fromstring(drawn[0].svg).iter("text")]
    for label in ("0 %", "5 %", "10 %", "20 %", "50 %", "100 %"):
        assert label.replace(" ", "\N{NO-BREAK SPACE}") in shown
    assert {"before", "round 1", "round 2", "sft-0.5-random"} <= set(shown)
    lines = [path.get("style") or "" for path in ET.fromstring(drawn[0].svg).iter("path")]
    assert len({style for style in lines if "stroke-width: 1.6" in style}) == 7  # control, five shares and a variant
    told = "100 %: before 35.0 % [30.0, 40.0], round 1 47.0 % [42.0, 52.0]"
    assert told.replace(" %", "\N{NO-BREAK SPACE}%") in description(drawn[1].svg)


def test_a_line_breaks_where_a_round_is_missing(looped: Analysis):
    arms = {name: ARMS[name] for name in ("sft-0", "sft-1")}
    whole = make_policy(arms)
    gap = whole._replace(points=[point for point in whole.points if (point.arm, point.round) != ("sft-1", 1)])
    [_, row] = policy_rows(gap)
    assert [value is None for value in row.preferences["benign"]] == [False, True, False]

    def strokes(policy: Policy) -> int:
        """How many strokes join points of the first share; the key to the lines has two of them."""
        [plot, _] = plots.policy_plots(replace(looped, arms=arms), policy)
        paths = [path for path in ET.fromstring(plot.svg).iter("path") if "1.6" in (path.get("style") or "")]
        return sum(path.attrib["d"].count("L") for path in paths if "var(--blue)" in path.attrib["style"]) - 2

    assert (strokes(whole), strokes(gap)) == (2, 0)
    [plot, _] = plots.policy_plots(replace(looped, arms=arms), gap)
    assert "before 30.0\N{NO-BREAK SPACE}% [25.0, 35.0], round 1 –, round 2 54.0" in description(plot.svg)


def test_the_section_has_curves_and_numbers(looped: Analysis):
    text = section(looped).text
    position = 0
    for part in (
        "Feedback rounds", "with noise of 1.5 points", "a biased user gives honest replies 2",
        "the 18 users of 9 held-out scenarios that every measurement has (out of at most 20)",
        "sft, benign users", "sft, biased users", "Before Round 1 Round 2",
        "sft-1 30.0 % [25.0, 35.0] 42.0 % [37.0, 47.0]", "P(evasive)",
        "Hedging replies", "round 1 base, blind biased 1 0 6.58",
    ):  # fmt: skip
        position = text.index(part, position)
    assert "Not measured" not in text


def test_gaps_are_said(looped: Analysis):
    gaps = [Gap("sft-1", 0, 0), Gap("sft-1", 2, 0), Gap("sft-1", 2, 1), Gap("sft-0", 2, 1)]
    told = "`sft-1` before training; `sft-1` after round 2 (seeds 0 and 1); `sft-0` after round 2 (seed 1)"
    assert words.gaps(gaps) == told
    text = section(looped, policy=Policy(0, 0, 18, [], gaps)).text
    assert "so a line has a gap or rests on fewer seeds: sft-1 before training" in text
    assert "No user was measured everywhere." in text


def test_written_replies_have_a_rater_and_no_policy(looped: Analysis):
    stages = [Stage("round 1", "sft-1", summary) for summary in summarise([trajectory(chosen=False)])]
    text = section(looped, stages=stages, rater={"rater": "some/rater"}, policy=None).text
    assert "Ratings: by some/rater , which reads each reply." in text
    assert "with noise" not in text and "Policy by round" not in text and "Hedging" not in text


def test_the_summary_has_the_same_values(looped: Analysis):
    found = study_summary(looped)
    assert found["rater"] == {"noise": 1.5} and found["loop"][0]["chosen"]["hedging"]["value"] == 0.5
    points = {(one["arm"], one["round"], one["kind"]): one for one in found["policy"]["points"]}
    shown = points["sft-1", 2, "biased"]
    assert shown["preference"]["value"] == pytest.approx(0.59)
    assert shown["probabilities"]["sycophantic"]["value"] == pytest.approx(0.295)
    without = study_summary(replace(looped, feedback=None))
    assert (without["policy"], without["loop"], without["rater"]) == (None, [], None)


def test_hostile_names_and_replies_stay_text(looped: Analysis, feedback: Feedback):
    text = " ".join(HOSTILE)
    control = Arm(f"sft-0 {text}", rounds=ROUNDS)
    arms = {control.name: control, text: Arm(text, control.name, f"sft {text}", 1.0, rounds=ROUNDS)}
    policy = make_policy(arms)._replace(gaps=[Gap(text, 1, 0)])
    hostile = section(replace(looped, arms=arms), policy=policy, rater={"rater": text})
    assert not hostile.open
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in section(looped).elements} | {"code", "strong"}
    assert hostile.text.count(" ".join(text.split())) >= 5
    read = Page(render_dialogues(text, [feedback.chapters[0]._replace(heading=text, trajectories=[trajectory(text)])]))
    assert not read.open and not {"script", "img", "svg"} & {tag for tag, _ in read.elements}
    assert read.text.count(" ".join(text.split())) >= 4


def test_a_reply_that_was_chosen_has_its_kind_and_the_probability_of_each(feedback: Feedback):
    read = Page(render_dialogues("tea", feedback.chapters))
    chosen = "sycophantic rated 7.9 honest 20 % hedging 20 % evasive 20 % sycophantic 40 %"
    assert chosen in read.text and "hedging rated 5.2 honest 20 %" in read.text
    bars = [attributes["style"] or "" for tag, attributes in read.elements if tag == "i"]
    grown = [style for style in bars if "flex-grow" in style]
    assert len(grown) == 8 and sum("flex-grow: 0.4000" in style for style in grown) == 2
    written = [chapter._replace(trajectories=[trajectory(chosen=False)]) for chapter in feedback.chapters]
    text = Page(render_dialogues("tea", written)).text
    assert "rated 7.9" in text and "honest 20 %" not in text
