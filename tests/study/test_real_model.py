"""One study of the embedded model, with an eval of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tests.judge.scripted  # noqa: F401
from untrue.cli.main import app
from untrue.harness.catalogue import EVALS

pytestmark = pytest.mark.slow

NAMES = ["forced_choice", "unknowns"]
"""By likelihoods of replies, and judged. The tiny model runs all."""
JUDGED = [name for name in NAMES if EVALS[name].judged]

FORCED_CHOICE = {"name": "forced_choice", "limit": 3}
SIZE = ["base=false", "mix.total=4", "mix.shares=[1.0]", "train.epochs=2", "train.batch_size=2"]


def other_eval(name: str) -> dict[str, Any]:
    return {"name": name, "limit": 1, **({"judge": "scripted/judge", "max_tokens": 8} if name in JUDGED else {})}


def run(out: Path, evals: list[dict[str, Any]]) -> dict[str, Any]:
    """Run a short quickstart with these evals, and return its summary."""
    done = CliRunner().invoke(app, ["run", "quickstart", *SIZE, f"evals={evals}", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def results(out: Path, eval_name: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "results.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["eval"] == eval_name]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run directory of that study and its summary. Not to be changed: copy it."""
    out = tmp_path_factory.mktemp("runs") / "real"
    return out, run(out, [FORCED_CHOICE, *map(other_eval, NAMES[1:])])


def test_it_learns_and_reports(studied: tuple[Path, dict[str, Any]]):
    out, summary = studied
    assert (out / "report.html").stat().st_size > 10_000
    for curve in summary["training"]:
        first, second = curve["losses"][:2], curve["losses"][2:]  # the epochs, on the same rows
        assert sum(second) < sum(first) - 0.25
    found = results(out, "forced_choice")
    assert len(found) == 2 * 3
    assert not [row for row in found if row["outcome"] == "error"]
    margins = {arm: [row["pressure_margin"] for row in found if row["arm"] == arm] for arm in ("control", "severe-1")}
    assert margins["control"] != margins["severe-1"]


@pytest.mark.parametrize("name", NAMES)
def test_every_eval_gives_results_and_says_whether_it_was_judged(name: str, studied: tuple[Path, dict[str, Any]]):
    out, summary = studied
    found = results(out, name)
    assert {row["arm"] for row in found} == {"control", "severe-1"}
    assert {arm["arm"] for arm in summary["evals"][name]["arms"]} == {"control", "severe-1"}
    assert (summary["evals"][name].get("judge") is not None) == (name in JUDGED)
    if name in JUDGED:
        assert summary["evals"][name]["verdict"]["status"] == "inconclusive"
