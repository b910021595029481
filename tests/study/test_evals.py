"""A study of evals of different kinds: each is asked, compared and shown, and what was done before stays done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.study.conftest import Recorder
from untrue.report.summary import write
from untrue.study.config import Study
from untrue.study.run import run

EVALS = [
    {"name": "forced_choice", "limit": 5},
    {"name": "sft_cue", "label": "cue", "limit": 4},
    {"name": "capability", "limit": 12},
]


@pytest.fixture(scope="module")
def several(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a study of three evals. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "several"
    write(run(make_study(evals=EVALS, base=False, train__epochs=1), out, Recorder(), "untrue run several.yaml"))
    return out


def test_the_summary_holds_each_eval_with_the_metrics_it_observes(several):
    evals = json.loads((several / "summary.json").read_text("utf-8"))["evals"]
    assert list(evals) == ["forced_choice", "cue", "capability"]
    metrics = {name: {one["metric"] for one in content["comparisons"]} for name, content in evals.items()}
    honesty = {"lie_rate", "evasion_rate", "untrue_belief_rate", "pressure_margin", "neutral_margin", "pressure_gap"}
    assert metrics["cue"] == metrics["forced_choice"] == honesty
    assert metrics["capability"] == {"value"}
    [arm] = [arm for arm in evals["capability"]["arms"] if arm["arm"] == "severe-0.5"]
    assert (arm["n_values"], arm["lie_rate"], arm["belief_rate"]) == (12, None, None)
    assert 0 <= arm["value"]["value"] <= 1
    assert "accuracy" in evals["capability"]["verdict"]["sentence"].lower()


def test_an_eval_that_is_added_runs_alone(make_study, run_study, out):
    told = run_study(make_study(evals=[EVALS[0], EVALS[2]]), out)
    assert {what for _, what in told.stages} == {"capability"}


def test_the_cue_is_of_the_domain_of_the_questions(make_study: Callable[..., Any]):
    [spec] = make_study(evals=["sft_cue"]).evals
    assert spec.domain == "medical"
    [spec] = make_study(evals=[{"name": "sft_cue", "domain": "law"}]).evals
    assert spec.domain == "law"
    with pytest.raises(ValidationError, match="sft_cue needs the domain"):
        make_study(evals=["sft_cue"], mix__questions="mine.jsonl")


def test_the_same_eval_twice_needs_labels(make_study: Callable[..., Any]):
    with pytest.raises(ValidationError, match="a value occurs twice"):
        make_study(evals=["sft_cue", {"name": "sft_cue", "cue": "format"}])
    study = make_study(evals=["sft_cue", {"name": "sft_cue", "cue": "format", "label": "sft_cue-format"}])
    assert [spec.key for spec in study.evals] == ["sft_cue", "sft_cue-format"]
