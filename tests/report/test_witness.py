"""A second witness is shown with its differences and its AUROC, and as what decides nothing."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.reading import Evaluated, Reading
from untrue.outcomes import Result
from untrue.report import html, words
from untrue.report.summary import study_summary
from untrue.report.table import print_analysis, print_evaluated
from untrue.stats import compare, summarise, verdict
from untrue.stats.types import MetricValue, MetricValues
from untrue.study.results import Analysis, EvalAnalysis

RECORD = EVALS["plain_text"]


@pytest.fixture
def witness(forced_choice: EvalAnalysis) -> EvalAnalysis:
    """The same study's plain text, whose margin fell at the largest dose."""
    controls = {arm.name: arm.control for arm in forced_choice.arms.values() if arm.control}
    shifts = dict(zip(forced_choice.arms, (0.0, 0.001, -0.001, -0.25), strict=True))
    results = [
        Result(
            arm, 0, "plain_text", f"item-{n}", ("facts", "myths")[n % 2], None, truth_margin=0.3 + shift * (1 + n % 3)
        )
        for arm, shift in shifts.items()
        for n in range(30)
    ]
    summaries, comparisons = summarise(results, controls), compare(results, controls)
    figures = MetricValues({"auroc": MetricValue(0.712, 0.65, 0.77)}, {}, {"auroc": RECORD.metrics["auroc"]})
    return replace(
        forced_choice,
        spec=EvalSpec(name="plain_text"),
        verdict=verdict(summaries, comparisons, decides=False),
        summaries=summaries,
        comparisons=comparisons,
        categories={"facts": comparisons, "myths": comparisons},
        trends=[],
        changes=[],
        metrics=dict.fromkeys(shifts, figures),
    )


def test_its_sentence_has_the_differences_and_no_finding(witness: EvalAnalysis) -> None:
    said = words.sentence(witness.verdict)
    assert said.startswith(
        "Second witness: arms `severe-5`, `severe-20` and `severe-50` against `control`, truth margin"
    )
    assert "\N{MINUS SIGN}0.500 [" in said and "uncorrected" in said and "Holm" not in said
    assert words.notes(witness.verdict) == [words.WITNESS]
    assert words.labels(witness.verdict) == [("Second witness", "no_finding")]


def test_terminal_page_and_json_show_margin_and_auroc(analysis: Analysis, witness: EvalAnalysis) -> None:
    both = replace(analysis, evals=[*analysis.evals, witness])
    out = io.StringIO()
    print_analysis(both, Console(file=out, width=100, color_system=None))
    text = " ".join(out.getvalue().split())
    for part in ("SECOND WITNESS: arms", "decides nothing", "Truth margin: score of the true", "nats per token"):
        assert part in text
    page = html.render(both)
    section = page[page.index('id="eval-2"') : page.index("How to read this")]
    for part in ("Second witness", "decides nothing", "Truth margin", "AUROC, true against false statements", "0.712"):
        assert part in section
    for absent in ("p, Holm", 'class="found"', "Outcomes", "Items that changed most", "tone worse", "label worse"):
        assert absent not in section
    assert "<dt>Second witnesses</dt>" in page
    assert "<dt>Second witnesses</dt>" not in html.render(analysis)
    found = study_summary(both)["evals"]["plain_text"]
    assert found["verdict"]["arms"]["severe-50"]["conclusions"] == ["witness"]
    assert found["verdict"]["status"] == "no_finding"
    assert found["metrics"]["severe-50"]["total"]["auroc"]["value"] == 0.712


def test_one_model_has_its_margin_with_its_unit(witness: EvalAnalysis) -> None:
    [summary, *_] = witness.summaries
    reading = Reading("control", [], witness.metrics["control"], [], {}, {})
    out = io.StringIO()
    evaluated = Evaluated(reading, summary, [summary, summary], None, [])
    print_evaluated(RECORD, evaluated, Console(file=out, width=100, color_system=None))
    text = " ".join(out.getvalue().split())
    assert "truth margin 0.300 [0.300, 0.300] nats per token" in text
    assert "error 0 30 items" in text
    assert "lie rate" not in text and "category" not in text
