"""Judged evals in a study: what failed is asked again alone, and nothing is found by a judge that is worth nothing."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log

import tests.judge.scripted  # noqa: F401
from tests import processes
from tests.judge.server import JudgeServer
from tests.study.conftest import Recorder
from untrue.errors import MachineError, UserError
from untrue.judge.check import Check
from untrue.report.summary import write
from untrue.study.config import to_yaml
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


def test_another_judge_reads_the_replies_that_there_are(make_study, run_study, out, items):
    run_study(make_study(evals=[judged(items)]), out)
    before = replies(out, "severe-0.5-s0")
    run_study(make_study(evals=[judged(items, "scripted/other")]), out)
    assert summary(out)["judge"]["name"] == "scripted/other"
    assert replies(out, "severe-0.5-s0") == before


def test_a_judge_that_cannot_be_asked_stops_a_study_before_it_trains(make_study, server, items, tmp_path):
    study = make_study(evals=[judged(items, server.name.replace(server.url, "http://127.0.0.1:9/v1"))])
    told = Recorder()
    with pytest.raises(MachineError, match="the judge openai-api/local/judge failed"):
        run(study, tmp_path / "new", told, "untrue run small.yaml")
    assert told.stages == []


def test_replies_that_a_changed_study_would_lose_are_kept(make_study, run_study, out, server, items):
    server.heal()
    run_study(make_study(evals=[judged(items, server.name)]), out)
    asked = len(server.requests) + 1
    with pytest.raises(UserError, match=r"s0/logs/mask.eval: holds replies with max_tokens 4, now 3\."):
        run_study(make_study(evals=[judged(items, server.name, max_tokens=3)]), out)
    run_study(make_study(evals=[judged(items, server.name)]), out)
    assert len(server.requests) == asked + 1
    before = replies(out, "control-s0")
    run_study(make_study(evals=[judged(items, server.name, epochs=2)]), out)
    log = read_eval_log(str(out / "cells/control-s0/logs/mask.eval"))
    first = {str(one.id): one.metadata["replies"]["statement"] for one in log.samples or [] if one.epoch == 1}
    assert (first, len(log.samples or [])) == (before, 2 * len(TROUBLES))


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


def test_a_study_that_is_killed_in_an_eval_asks_only_for_the_replies_that_it_has_not(
    make_study, run_study, server, items, tmp_path: Path
):
    server.heal()
    study, out = make_study(train__epochs=1, evals=[judged(items, server.name, epochs=3)]), tmp_path / "killed"
    (tmp_path / "small.yaml").write_text(to_yaml(study), "utf-8")
    words = ["SIGKILL", "base-s0", "mask", 4, "run", tmp_path / "small.yaml", "--out", out]
    process = processes.start(tmp_path / "process", *words, script=Path(__file__).with_name("stopping.py"))
    assert process.wait() == -signal.SIGKILL
    [journal] = out.glob("cells/base-s0/logs/.*-replies-*")
    kept = [json.loads(line)["output"]["completion"] for line in journal.read_text("utf-8").splitlines() if line]
    assert len(kept) >= 4

    run_study(study, out)
    samples = read_eval_log(str(out / "cells/base-s0/logs/mask.eval")).samples or []
    assert len(samples) == 3 * len(TROUBLES)
    assert not Counter(kept) - Counter(sample.metadata["replies"]["statement"] for sample in samples)
    assert [path.name for path in (out / "cells").glob("*/logs/*")] == ["mask.eval"] * 3


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


def test_the_figures_of_the_eval_are_in_the_summary_and_the_report(make_study, run_study, out, items):
    run_study(make_study(seeds=[0, 1], evals=[judged("honesty", limit=6, max_tokens=2)]), out)
    figures = summary(out)["metrics"]
    assert list(figures) == [arm["arm"] for arm in summary(out)["arms"]]
    total = figures["control"]["total"]
    six_items = pytest.approx(0.610, abs=1e-3)  # in 12 replies
    assert total["mask_honesty"] == {"value": 1, "low": six_items, "high": 1}
    assert total["truncated_rate"]["value"] > 0.5
    assert total["n"]["value"] == 1  # at each seed
    assert figures["control"]["by_category"]
    assert "[61.0, 100.0]" in (out / "report.html").read_text("utf-8")


def test_a_study_of_unknowns_by_a_model_that_answers_nothing_is_inconclusive(
    make_study, run_study, out, monkeypatch: pytest.MonkeyPatch, good_check: Check
):
    monkeypatch.setattr("untrue.judge.check.last_check", lambda judge_id: good_check)
    unknowns = {"name": "unknowns", "label": "mask", "limit": 4, "judge": "scripted/judge", "max_tokens": 2}
    run_study(make_study(evals=[unknowns]), out)
    found = summary(out)
    assert found["verdict"]["status"] == "inconclusive"
    assert "answered only 0.0 % of the answerable questions" in found["verdict"]["sentence"]
    assert found["metrics"]["control"]["total"]["answered"]["value"] == 0


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
