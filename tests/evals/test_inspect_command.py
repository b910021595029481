"""`inspect eval untrue/forced_choice` from a shell, on a model in the current folder, with an adapter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inspect_ai.log import read_eval_log


def test_inspect_eval_runs_it_on_a_local_model_with_an_adapter(tiny_folder: Path, adapter: Path, tmp_path: Path):
    model = f"untrue/{tiny_folder.name}"
    words = ["eval", "untrue/forced_choice", "--model", model, "-M", f"adapter={adapter}", "--limit", "3"]
    command = [sys.executable, "-c", "from inspect_ai._cli.main import main; main()", *words]
    done = subprocess.run(
        [*command, "--log-dir", str(tmp_path), "--display", "plain"],
        cwd=tiny_folder.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "lie_rate_held" in done.stdout
    [log] = tmp_path.glob("*.eval")
    content = read_eval_log(str(log))
    assert content.eval.model == model
    assert content.eval.model_args == {"adapter": str(adapter)}
    assert [bool((sample.scores or {})["outcome"].explanation) for sample in content.samples or []] == [True] * 3
