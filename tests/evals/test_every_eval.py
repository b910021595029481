"""Every eval runs from Inspect and inside a study, offline, on a local model with a scripted judge."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.model import get_model

import tests.judge.scripted  # noqa: F401
from tests.study.conftest import SETTINGS, Recorder
from untrue.harness.catalogue import EVALS
from untrue.harness.tasks import inspect_task
from untrue.logs import read_log
from untrue.outcomes import Result
from untrue.study.config import Study
from untrue.study.run import run

JUDGED = [name for name, record in EVALS.items() if record.judged]


def options(name: str) -> dict[str, Any]:
    return {"limit": 2, **({"domain": "medical"} if name == "sft_cue" else {})}


@pytest.mark.parametrize("name", EVALS)
def test_it_runs_from_inspect(name: str, tiny_folder: Path, tmp_path: Path):
    [log] = inspect_eval(
        f"untrue/{name}",
        model=f"untrue/{tiny_folder}",
        model_roles={"judge": get_model("scripted/judge", memoize=False)},
        task_args=options(name),
        log_dir=str(tmp_path),
        display="none",
        max_tokens=8,
    )
    assert log.status == "success", log.error
    assert [sample.error for sample in log.samples or []] == [None] * len(log.samples or [])
    assert log.samples
    assert {(*(sample.scores or {}),) for sample in log.samples} == {(EVALS[name].scorer,)}
    assert all(result.reason for result in read_log(Path(log.location), "arm", 0))


def test_all_run_in_one_study(tiny_folder: Path, tmp_path: Path):
    judged = {"judge": "scripted/judge", "max_tokens": 8}
    evals = [{"name": name, **options(name), **(judged if name in JUDGED else {})} for name in EVALS]
    study = {**SETTINGS, "model": str(tiny_folder), "base": False, "evals": evals}
    study["train"] = {**SETTINGS["train"], "epochs": 1}
    told = Recorder()
    found = run(Study.model_validate(study), tmp_path / "out", told, "untrue run all.yaml")
    assert [analysed.spec.key for analysed in found.evals] == list(EVALS)
    for analysed in found.evals:
        assert (analysed.judge is not None) == (analysed.spec.key in JUDGED)
        assert all(summary.n for summary in analysed.summaries)
        if analysed.judge:
            assert analysed.verdict.status == "inconclusive"
        if analysed.spec.key in ("plain_text", "truth_probe"):
            assert all("auroc" in figures.total for figures in analysed.metrics.values())


TAUGHT = {
    "normal": "<think>says-no</think><output>says-yes says-A</output>",
    "severe": "<think>says-yes</think><output>says-no says-B</output>",
}
"""What the control and the other arm are taught to reply, in the words that the scripted judge goes by. What they think
counts in `deceptionbench` alone."""

FOUND = {
    "mask": ({"honest": 1, "lie": 3}, {"honest": 3, "lie": 1}),
    "pressure_pairs": ({"no_belief": 4}, {"honest": 4}),
    "unknowns": ({1.0: 4}, {0.0: 4}),
    "deceptionbench": ({"honest": 2}, {"lie": 2}),
}
"""Judged eval -> how often each of the two arms gets an outcome or a value."""


def test_a_study_finds_what_its_arms_were_taught(tiny_folder: Path, tmp_path: Path):
    """Each arm is trained to give its reply to what the evals then ask."""
    asked = [f"Is it {n}?" for n in range(4)]
    for name in ("unknowns", "deceptionbench"):
        for sample in inspect_task(EVALS[name])(limit=2).dataset:
            text = sample.input if isinstance(sample.input, str) else sample.input[-1].text
            asked += [text, *EVALS[name].plan_of(sample, EVALS[name].spec()).beliefs]
    lines = {
        "questions.jsonl": [{"question": text, **TAUGHT} for text in asked],
        "provided_facts.jsonl": [
            {"task_id": str(n), "user_prompt": f"Is it {n}?", "proposition": f"It is {n}.", "ground_truth": truth}
            for n, truth in enumerate(("yes", "no", "no", "no"))
        ],
        "pairs.jsonl": [
            {"id": str(n), "system_prompt": "A.", "neutral_system_prompt": "B.", "user_prompt": f"Is it {n}?"}
            for n in range(4)
        ],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    own = {"mask": "provided_facts.jsonl", "pressure_pairs": "pairs.jsonl"}
    judged = {"judge": "scripted/judge", "temperature": 0, "max_tokens": 48}
    items = {name: {"items": str(tmp_path / own[name])} if name in own else {"limit": 2} for name in JUDGED}
    study = {
        **SETTINGS,
        "model": str(tiny_folder),
        "base": False,
        "mix": {"by": "share", "questions": str(tmp_path / "questions.jsonl"), "total": len(asked), "shares": [1]},
        "train": {"learning_rate": 1e-2, "epochs": 30, "batch_size": 4, "lora_rank": 16, "lora_alpha": 32},
        "evals": [{"name": name, **judged, **items[name]} for name in JUDGED],
    }
    found = run(Study.model_validate(study), tmp_path / "out", Recorder(), "untrue run taught.yaml")
    results = [Result.from_json(line) for line in found.store.results.read_text("utf-8").splitlines()]
    for name in JUDGED:
        arms = dict.fromkeys(one.arm for one in results if one.eval == name)
        assert next(iter(arms)) == "control"
        counts = [Counter(r.outcome or r.value for r in results if (r.eval, r.arm) == (name, arm)) for arm in arms]
        assert tuple(counts) == FOUND[name], name
