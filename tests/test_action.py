"""The step of `action.yml` that runs the gate: which verdict it reports."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ACTION = Path(__file__).parents[1] / "action.yml"


@pytest.mark.parametrize(
    ("code", "has_report", "verdict", "exit_code"),
    [
        (0, True, "pass", 0),
        (1, True, "regression", 1),
        (3, True, "inconclusive", 3),
        (1, False, "error", 4),  # as Python exits where the package is broken
        (0, False, "error", 4),  # `--help` among the arguments
        (2, False, "error", 2),
        (4, False, "error", 4),
        (137, False, "error", 137),
    ],
)
def test_there_is_a_verdict_only_with_its_report(
    code: int, has_report: bool, verdict: str, exit_code: int, tmp_path: Path
) -> None:
    [step] = [step for step in yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"] if step.get("id") == "gate"]
    command = tmp_path / "bin" / "untrue"
    command.parent.mkdir()
    report = 'while [ "$1" != --junit ]; do shift; done; : > "$2"' if has_report else ""
    command.write_text(f"#!/bin/sh\n{report}\nexit {code}\n", "utf-8")
    command.chmod(0o755)
    (tmp_path / "untrue-gate.xml").write_text("of an earlier run", "utf-8")
    files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    inputs = {"CANDIDATE": "new", "BASELINE": "old", "CONFIG": "", "ARGUMENTS": "alpha=0.1"}
    environment = {**inputs, **{name: str(path) for name, path in files.items()}}
    environment["PATH"] = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment)
    assert done.returncode == exit_code
    assert files["GITHUB_OUTPUT"].read_text("utf-8") == f"verdict={verdict}\n"
    assert files["GITHUB_STEP_SUMMARY"].is_file() == (verdict == "error")
