"""`inspect eval untrue/…` from a shell, on a model in the current folder: with an adapter, with a judge."""

from __future__ import annotations

from pathlib import Path

from inspect_ai.log import read_eval_log

from tests.judge.server import JudgeServer
from tests.processes import inspect
from untrue.logs import adapter_in


def test_inspect_eval_runs_it_on_a_local_model_with_an_adapter(tiny_folder: Path, adapter: Path, tmp_path: Path):
    model = f"untrue/{tiny_folder.name}"
    words = ["eval", "untrue/forced_choice", "--model", model, "-M", f"adapter={adapter}", "--limit", 3]
    assert "lie_rate_given_belief" in inspect(*words, cwd=tiny_folder.parent, log_dir=tmp_path)
    [log] = tmp_path.glob("*.eval")
    content = read_eval_log(str(log))
    assert content.eval.model == model
    assert content.eval.model_args == {"adapter": str(adapter)}
    assert adapter_in(content) == {"folder": str(adapter)}
    assert [bool((sample.scores or {})["outcome"].explanation) for sample in content.samples or []] == [True] * 3


def test_inspect_eval_runs_a_judged_one_with_a_judge_by_its_role(tiny_folder: Path, tmp_path: Path):
    model = f"untrue/{tiny_folder.name}"
    words = ["eval", "untrue/mask", "--model", model, "-T", "items=honesty", "-T", "limit=2", "--max-tokens", 4]
    with JudgeServer() as server:
        role = f"judge={server.name}"
        assert "mask_honesty" in inspect(*words, "--model-role", role, cwd=tiny_folder.parent, log_dir=tmp_path)
        assert server.requests
    [log] = tmp_path.glob("*.eval")
    content = read_eval_log(str(log))
    assert content.status == "success"
    for sample in content.samples or []:
        [score] = (sample.scores or {}).values()
        assert score.explanation
        assert (score.metadata or {})["judge"] == "openai-api/local/judge"
