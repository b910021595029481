"""A new route is one file, `level.py`, and one line: it plans, runs, resumes and reports as those built in do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.study.routes.level import LevelRoute
from untrue.study import routes
from untrue.study.config import load
from untrue.study.plan import plan

STUDY = """\
name: levels
question: Does the level matter?
model: {model}
dtype: float32
base: false
mix:
  by: level
  questions: medical
  total: 8
train: {{learning_rate: 1.0e-2, num_train_epochs: 1, batch_size: 4, lora_r: 4, lora_alpha: 8}}
evals: [{{name: forced_choice, limit: 5}}, {{name: sft_cue, domain: medical, limit: 3}}]
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(routes.ROUTES, "level", LevelRoute)  # the one line


@pytest.fixture
def file(tiny_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "levels.yaml"
    path.write_text(STUDY.format(model=tiny_folder), "utf-8")
    return path


def test_it_is_planned_and_its_keys_are_checked(file: Path, untrue):
    study = load(file)
    cells = plan(study, study.mix.read())
    assert [cell.name for cell in cells] == ["normal-s0", "subtle-s0", "severe-s0"]
    assert len({cell.identity for cell in cells}) == 3
    wrong = load(file, ["mix.total=9"])
    assert not {cell.identity for cell in plan(wrong, wrong.mix.read())} & {cell.identity for cell in cells}
    done = untrue("run", file, "mix.totl=9")
    assert (done.exit_code, "mix.totl: unknown key. Did you mean 'total'?" in done.output) == (2, True)


def test_it_runs_resumes_and_reports_from_the_command_line(file: Path, tmp_path: Path, untrue):
    out = tmp_path / "run"
    done = untrue("run", file, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    for measured in summary["evals"].values():
        compared = {(found["arm"], found["control"]) for found in measured["comparisons"]}
        assert compared == {("subtle", "normal"), ("severe", "normal")}
    assert summary["study"]["mix"] == {"by": "level", "questions": "medical", "total": 8}
    assert "level of all 8 answers" in (out / "report.html").read_text("utf-8")
    assert not (out / "dialogues.html").exists()
    results = (out / "results.jsonl").read_text("utf-8")

    (out / "cells/severe-s0/logs/forced_choice.eval").unlink()
    adapters = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/adapter/*")}
    assert untrue("run", file, "--out", out).exit_code == 0
    assert untrue("report", out).exit_code == 0
    assert (out / "results.jsonl").read_text("utf-8") == results
    assert {path: path.stat().st_mtime_ns for path in out.glob("cells/*/adapter/*")} == adapters
    refused = untrue("run", file, "mix.total=6", "--out", out)
    assert "holds a study with mix.total 8, now 6" in refused.output
