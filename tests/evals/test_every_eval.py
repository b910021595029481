"""Every eval runs from Inspect and inside a study, offline, on a local model with a scripted judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.model import get_model

import tests.judge.scripted  # noqa: F401
from tests.study.conftest import SETTINGS, Recorder
from untrue.evals.registry import CALLS, TASKS
from untrue.evals.run import read_log
from untrue.evals.spec import JUDGED, VERSIONS
from untrue.study.config import Study
from untrue.study.run import run


def options(name: str) -> dict[str, Any]:
    return {"limit": 2, **({"domain": "medical"} if name == "sft_cue" else {})}


def test_every_eval_has_a_version_and_every_judged_one_says_what_it_takes():
    assert set(TASKS) == set(VERSIONS)
    assert set(CALLS) == set(JUDGED)


@pytest.mark.parametrize("name", TASKS)
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
    assert all(result.reason for result in read_log(Path(log.location), "arm", 0))


def test_all_run_in_one_study(tiny_folder: Path, tmp_path: Path):
    judged = {"judge": "scripted/judge", "max_tokens": 8}
    evals = [{"name": name, **options(name), **(judged if name in JUDGED else {})} for name in TASKS]
    study = {**SETTINGS, "model": str(tiny_folder), "untouched": False, "evals": evals}
    study["train"] = {**SETTINGS["train"], "epochs": 1}
    told = Recorder()
    found = run(Study.model_validate(study), tmp_path / "out", told, "untrue run all.yaml")
    assert [content.eval_name for content in found.contents] == list(TASKS)
    for content in found.contents:
        assert (content.judge is not None) == (content.eval_name in JUDGED)
        assert all(summary.n for summary in content.summaries)
        if content.judge:
            assert content.verdict.status == "inconclusive"
