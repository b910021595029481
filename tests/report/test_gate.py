"""The verdict of a gate as text, JSON, JUnit, Markdown and page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from xml.etree import ElementTree

import pytest
from rich.console import Console

from untrue.gating.losses import Slice
from untrue.gating.measurements import Flip, Flips
from untrue.gating.verdict import Endpoint, GateVerdict
from untrue.report.gate import (
    gate_parts,
    gate_summary,
    junit,
    markdown,
    parts_page,
    print_parts,
    sentences,
    to_json,
)
from untrue.stats.types import Interval, Reason

HOSTILE = "<script>x</script>|`a`\x1b[31m\n# b & c"

LIES = Endpoint("forced_choice", "lie_rate", "", 100, 2, 0.1, 0.14, Interval(0.04, -0.01, 0.09), 0.05, 0.3, 320,
                "inconclusive", 888)  # fmt: skip
RIGHT = Endpoint("capability", "value", "accuracy", 215, 0, 0.8, 0.7, Interval(0.1, 0.05, 0.15), 0.05, 0.001, 90,
                 "regression")  # fmt: skip

FLIPS = Flips(100, (
    Flip("fact-1", "known_facts", 0, 1, "honest", "lie"),
    Flip("fact-2", "known_facts", 0, 1, "honest", "lie"),
    Flip(HOSTILE, "self", 1, 2, "lie", "honest (untrue belief)"),
))  # fmt: skip


@pytest.fixture
def verdict() -> GateVerdict:
    flipped = {"forced_choice": FLIPS, "capability": Flips(215, ())}
    return GateVerdict(
        "base", "mine", "regression", (LIES, RIGHT), (), (), ("Margins are left out.",), 0.05, {}, flipped
    )


def shown(verdict: GateVerdict) -> str:
    out = io.StringIO()
    print_parts(gate_parts(verdict), Console(file=out, width=200))
    return out.getvalue()


def gate_page(verdict: GateVerdict) -> str:
    return parts_page(gate_parts(verdict))


def test_a_regression_names_the_categories_that_lost(verdict: GateVerdict) -> None:
    worse = RIGHT._replace(slices=(Slice("known_facts", 40, 0.12), Slice("law", 175, -0.01)))
    [sentence, *_] = sentences(replace(verdict, endpoints=(worse,)))
    assert (
        sentence.replace("\N{NO-BREAK SPACE}", " ")
        .replace("\N{MINUS SIGN}", "-")
        .endswith("By category: known facts +12.0 pp (40), law -1.0 pp (175).")
    )


def test_reasons_say_what_decides_first(verdict: GateVerdict) -> None:
    said = sentences(verdict)
    assert said[0].startswith("capability, accuracy: worse by +10.0")
    assert "a loss of up to +9.0" in said[1] and said[1].endswith("About 320 items would settle it.")
    assert said[-1] == "Margins are left out."


@pytest.mark.parametrize(
    "output",
    [
        shown,
        lambda verdict: to_json(gate_summary(verdict)),
        junit,
        markdown,
        gate_page,
    ],
)
def test_every_output_says_that_a_certain_loss_is_certainly_small(verdict: GateVerdict, output) -> None:
    small = replace(verdict, status="pass", endpoints=(RIGHT._replace(delta=0.2, status="pass"),))
    said = " ".join(output(small).replace("\N{NO-BREAK SPACE}", " ").split())
    assert "certainly less than 20.0 pp, so it is tolerated." in said
    assert "certainly less" not in output(verdict)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "About 320 items would settle it."),
        ({"available": 215}, "About 320 items would settle it, and there are only 215: these items cannot."),
        ({"available": None}, "About 320 items would settle it, if there are as many."),
        ({"needed": 0}, "How many items would settle it cannot be said."),
        ({"needed": 90}, "As many items would settle it in most cases: it is close."),
        (
            {"needed": 0, "n_unjudged": 9},
            "The judge failed on 9 of the candidate's replies: have them judged (rerun the command",
        ),
        ({"n_items": 5}, "There are 5 items, and at least 6 are needed."),
        (
            {"n_items": 0, "loss": Interval(nan, nan, nan)},
            "no item has a value on both sides, so no loss can be excluded.",
        ),
        ({"loss": Interval(0.0, -inf, inf)}, "a loss of any size cannot be excluded, and 5.0"),
    ],
)
def test_what_would_settle_it_is_said_as_far_as_it_is_known(changes: dict, said: str, verdict: GateVerdict) -> None:
    [sentence, *_] = sentences(replace(verdict, endpoints=(LIES._replace(**changes),)))
    assert said in sentence and "\N{EN DASH}" not in sentence


def test_the_terminal_has_verdict_reasons_and_tables(verdict: GateVerdict) -> None:
    text = shown(verdict)
    assert text.startswith("REGRESSION: mine against base")
    assert "100 (2 failed)" in text and "accuracy" in text and "about these weights" in text
    assert "\x1b" not in shown(replace(verdict, candidate=HOSTILE))


@pytest.mark.parametrize("output", [shown, markdown, gate_page])
def test_flips_are_counted_by_their_ways(verdict: GateVerdict, output: Callable[[GateVerdict], str]) -> None:
    none = output(replace(verdict, flips={"forced_choice": Flips(0, ()), "capability": Flips(0, ())}))
    assert "flipped" not in none and "capability: <" not in none
    text = output(verdict)
    assert "3 of 100 answers flipped: 2 \u00d7 honest \u2192 lie; 1 \u00d7 lie \u2192 honest (untrue belief)." in text
    assert "None of 215 answers flipped." in text


def test_the_page_and_the_json_have_every_flip(verdict: GateVerdict) -> None:
    page = gate_page(verdict)
    assert "fact-1" in page and "(seed 1, epoch 2)" in page and "<script>x" not in page
    flipped = json.loads(to_json(gate_summary(verdict)))["flips"]
    assert flipped["capability"] == {"n_answers": 215, "flips": []}
    assert flipped["forced_choice"]["n_answers"] == 100
    assert flipped["forced_choice"]["flips"][0] == {
        "item": "fact-1", "category": "known_facts", "seed": 0, "epoch": 1, "baseline": "honest", "candidate": "lie"
    }  # fmt: skip


def test_json_is_whole_and_plain(verdict: GateVerdict) -> None:
    endless = replace(verdict, endpoints=(LIES._replace(loss=Interval(float("nan"), float("-inf"), float("inf"))),))
    said = json.loads(to_json(gate_summary(verdict)))
    assert (said["verdict"], said["alpha"]) == ("regression", 0.05)
    assert said["endpoints"][0]["loss"] == {"value": 0.04, "low": -0.01, "high": 0.09}
    assert [said["endpoints"][1][key] for key in ("metric", "status", "is_small")] == ["value", "regression", False]
    assert json.loads(to_json(gate_summary(endless)))["endpoints"][0]["loss"] == dict.fromkeys(("value", "low", "high"))


def test_junit_has_a_test_for_each_endpoint(verdict: GateVerdict) -> None:
    suite = ElementTree.fromstring(junit(replace(verdict, candidate=HOSTILE)))
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["forced_choice.lie_rate", "capability.value", "verdict"]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "3")
    assert [failure.get("type") for failure in suite.iter("failure")] == ["inconclusive", "regression", "regression"]
    assert "\x1b" not in str(cases[0].get("classname"))
    passed = replace(verdict, status="pass", endpoints=(LIES._replace(status="pass"),))
    assert ElementTree.fromstring(junit(passed)).get("failures") == "0"


def test_a_broken_candidate_and_doubts_are_told_by_name(verdict: GateVerdict) -> None:
    broken = replace(verdict, faults=(("capability", Reason("many_errors", "candidate", (0.5,))),), endpoints=())
    assert sentences(broken)[0].startswith(
        "The candidate is broken. capability: 50.0\xa0% of the results of arm `mine`"
    )
    doubtful = replace(broken, status="inconclusive", doubts=(("mask", Reason("self_judged", "baseline")),))
    assert sentences(doubtful)[0] == "mask: the model under study judged itself (arm `base`)."
    assert ElementTree.fromstring(junit(doubtful)).get("failures") == "1"


def test_hostile_names_are_only_names(verdict: GateVerdict) -> None:
    hostile = replace(verdict, candidate=HOSTILE, baseline=HOSTILE, notes=(HOSTILE,))
    text, page = markdown(hostile), gate_page(hostile)
    assert "<script" not in text and "\x1b" not in text and "\n# b" not in text and "`a`" not in text
    assert "<script" not in page and "&lt;script&gt;" in page and "\x1b" not in page


def test_markdown_is_a_table(verdict: GateVerdict) -> None:
    lines = markdown(verdict).splitlines()
    assert lines[0] == "### Honesty gate: regression"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1
    assert "loss [90 %]" in rows[0] and "loss [95 %]" in markdown(replace(verdict, alpha=0.025))
