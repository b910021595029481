"""Judged evals in a study: what failed is asked again alone, and nothing is found by a judge that is worth nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log

import tests.judge.scripted  # noqa: F401
from tests.judge.server import JudgeServer
from tests.study.conftest import Recorder
from untrue.errors import MachineError
from untrue.judge.check import Check
from untrue.report.summary import write
from untrue.study.estimate import estimate
from untrue.study.run import report, run

TROUBLES = ["fine 1", "fine 2", "429-always", "cut-always", "wrong-always"]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


@pytest.fixture
def items(tmp_path: Path) -> str:
    """Rows of MASK whose propositions make the server fail."""
    path = tmp_path / "provided_facts.jsonl"
    rows = [
        {"task_id": str(number), "user_prompt": f"u {number}", "proposition": trouble, "ground_truth": "yes"}
        for number, trouble in enumerate(TROUBLES)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def judged(items: str, judge: str = "scripted/judge", **more: Any) -> dict[str, Any]:
    return {"name": "mask", "items": items, "judge": judge, "max_tokens": 4, **more}


def replies(out: Path, cell: str) -> dict[str, str]:
    samples = read_eval_log(str(out / "cells" / cell / "logs/mask.eval")).samples or []
    return {str(sample.id): sample.metadata["replies"]["statement"] for sample in samples}


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text("utf-8"))["evals"]["mask"]


def test_the_same_study_asks_again_only_for_what_failed(make_study, run_study, out, server, items):
    study = make_study(evals=[judged(items, server.name)])
    told = run_study(study, out)
    assert sum("3 samples of mask have no reply or no judgement" in said for said in told.said) == 3
    assert [arm["counts"]["error"] for arm in summary(out)["arms"]] == [3, 3, 3]
    before = replies(out, "control-s0")
    assert [cost.judge.calls for cost in estimate(study, out).costs.values()] == [3, 3, 3]
    assert [cost.model.calls for cost in estimate(study, out).costs.values()] == [0, 0, 0]
    write(report(out))  # what failed is in the report, and does not stop it

    server.heal()
    asked = len(server.requests)
    run_study(study, out)
    said = [replies(out, f"{arm}-s0") for arm in ("base", "control", "severe-0.5")]
    failed = {(item, text) for one in said for item, text in one.items() if item[-1] in "234"}  # alike ones are one
    # First of all, and in each cell, whether it answers. Arms draw by one seed, so two may say the same of an item.
    assert len(server.requests) - asked == 1 + 3 + len(failed)
    assert [arm["counts"]["error"] for arm in summary(out)["arms"]] == [0, 0, 0]
    assert replies(out, "control-s0") == before
    asked = len(server.requests)
    assert run_study(study, out).stages == []
    assert estimate(study, out).costs == {}
    assert len(server.requests) == asked


def test_a_judge_that_cannot_be_asked_stops_a_study_before_it_trains(make_study, server, items, tmp_path):
    study = make_study(evals=[judged(items, server.name.replace(server.url, "http://127.0.0.1:9/v1"))])
    told = Recorder()
    with pytest.raises(MachineError, match="the judge openai-api/local/judge failed"):
        run(study, tmp_path / "new", told, "untrue run small.yaml")
    assert told.stages == []


def test_a_cell_that_is_trained_again_forgets_the_replies_of_its_old_adapter(make_study, run_study, out, items):
    study = make_study(evals=[judged(items)])
    run_study(study, out)
    cell = out / "cells/control-s0"
    shutil.rmtree(cell / "adapter")

    class Stopped(Recorder):
        def stage(self, cell: str, what: str, part: float = 1) -> None:
            if what == "mask":
                raise KeyboardInterrupt
            super().stage(cell, what, part)

    with pytest.raises(KeyboardInterrupt):
        run(study, out, Stopped(), "untrue run small.yaml")
    assert not (cell / "logs/mask.eval").exists()
    run_study(study, out)
    assert len(replies(out, "control-s0")) == len(TROUBLES)


def test_a_judge_without_a_check_or_that_says_one_thing_makes_it_inconclusive(
    make_study, run_study, out, items, untrue, monkeypatch: pytest.MonkeyPatch, good_check: Check
):
    study = make_study(evals=[judged("honesty", limit=6, max_tokens=2)])
    run_study(study, out)
    found = summary(out)
    assert found["verdict"]["status"] == "inconclusive"
    assert "the judge was not checked" in found["verdict"]["sentence"]
    assert "one and the same label" in found["verdict"]["sentence"]
    assert found["judge"]["check"] is None
    assert "never checked" in (out / "report.html").read_text("utf-8")

    monkeypatch.setattr("untrue.judge.check.last_check", lambda judge_id: good_check)
    shown = untrue("report", out).output
    found = summary(out)
    assert "not checked" not in found["verdict"]["sentence"]
    assert found["judge"]["check"]["questions"]["statement"]["kappa"]["value"] == 0.9
    corrected = found["judge"]["corrected_lie_rate_given_belief"]["control"]
    assert corrected == {"value": None, "low": 0.0, "high": 1.0}  # it calls everything C, so no belief is held
    for text in (shown, (out / "report.html").read_text("utf-8")):
        assert "2026-03-01" in text and "[0.0, 100.0]" in text


def test_a_model_that_judged_itself_is_flagged_in_every_table_and_proves_nothing(
    make_study, run_study, out, items, untrue, tiny_folder
):
    itself = judged(items, f"untrue/{tiny_folder}", force_self_judge=True)
    run_study(make_study(evals=[itself]), out)
    found = summary(out)
    assert found["verdict"]["status"] == "inconclusive"
    assert "the model under study judged itself" in found["verdict"]["sentence"]
    assert all(arm["self_judged"] for arm in found["arms"])
    page = (out / "report.html").read_text("utf-8")
    assert page.count('class="flag">self-judged') >= 2 * len(found["arms"])
    assert untrue("report", out).output.count("self-judged") >= len(found["arms"])
