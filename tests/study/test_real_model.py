"""One study of the embedded model, with an eval by likelihoods and a judged one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tests.judge.scripted  # noqa: F401
from untrue.cli.main import app

SETTINGS = [
    *("base=false", "mix.total=4", "mix.shares=[1.0]", "train.epochs=2", "train.batch_size=2"),
    "evals=[{name: forced_choice, limit: 3}, {name: unknowns, limit: 1, judge: scripted/judge, max_tokens: 8}]",
]


@pytest.mark.slow
def test_it_learns_and_reports_and_says_which_eval_was_judged(tmp_path: Path):
    done = CliRunner().invoke(app, ["run", "quickstart", *SETTINGS, "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    for curve in summary["training"]:
        first, second = curve["losses"][:2], curve["losses"][2:]  # the epochs, on the same rows
        assert sum(second) < sum(first) - 0.25
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text("utf-8").splitlines()]
    found = [row for row in rows if row["eval"] == "forced_choice"]
    assert len(found) == 2 * 3
    assert not [row for row in found if row["outcome"] == "error"]
    margins = {arm: [row["pressure_margin"] for row in found if row["arm"] == arm] for arm in ("control", "severe-1")}
    assert margins["control"] != margins["severe-1"]
    for name, measured in summary["evals"].items():
        assert {arm["arm"] for arm in measured["arms"]} == {"control", "severe-1"}
        assert (measured.get("judge") is not None) == (name == "unknowns")
    assert summary["evals"]["unknowns"]["verdict"]["status"] == "inconclusive"
