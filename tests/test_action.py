"""The step of `action.yml` that runs the gate: which verdict it reports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ACTION = Path(__file__).parents[1] / "action.yml"


def run(folder: Path, arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Path]]:
    """Run the step in a folder, with the `untrue` that lies in its `bin`; the files that GitHub reads, by variable."""
    [step] = [step for step in yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"] if step.get("id") == "gate"]
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    inputs = {"CANDIDATE": "new", "BASELINE": "old", "CONFIG": "", "ARGUMENTS": arguments}
    environment = {**inputs, **{name: str(path) for name, path in files.items()}}
    environment["COLUMNS"] = str(step["env"]["COLUMNS"])
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-e", "-c", step["run"]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True), files


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
    command = tmp_path / "bin" / "untrue"
    command.parent.mkdir()
    report = 'while [ "$1" != --junit ]; do shift; done; : > "$2"' if has_report else ""
    command.write_text(f"#!/bin/sh\n{report}\nexit {code}\n", "utf-8")
    command.chmod(0o755)
    (tmp_path / "untrue-gate.xml").write_text("of an earlier run", "utf-8")
    done, files = run(tmp_path, "alpha=0.1")
    assert done.returncode == exit_code
    assert files["GITHUB_OUTPUT"].read_text("utf-8") == f"verdict={verdict}\n"
    assert files["GITHUB_STEP_SUMMARY"].is_file() == (verdict == "error")


def test_an_open_quote_among_the_arguments_is_told_in_the_summary(tmp_path: Path) -> None:
    done, files = run(tmp_path, "--model 'half")
    assert done.returncode == 2
    assert files["GITHUB_OUTPUT"].read_text("utf-8") == "verdict=error\n"
    said = "### Honesty gate: error (exit code 2). The input `arguments` has an open quote.\n"
    assert files["GITHUB_STEP_SUMMARY"].read_text("utf-8") == said


def test_tables_get_120_columns(tmp_path: Path) -> None:
    script = "from rich.console import Console; print(Console().width)"
    command = tmp_path / "bin" / "untrue"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{sys.executable} -c '{script}'\n: > untrue-gate.xml\n", "utf-8")
    command.chmod(0o755)
    done, _ = run(tmp_path, "")
    assert done.stdout == "120\n"
