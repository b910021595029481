"""The recipes of docs/recipes: their syntax, and that what they run are commands of ours that do what is asked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from untrue.study import config

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"

SBATCH = """#!/bin/bash
# A stand-in: notes what it is asked, and does the tasks of an array one after the other, as far as a test wants.
echo "$@" >>"$NOTES"
while [ $# -gt 0 ]; do
    case $1 in
        --array) last=${2#1-}; shift ;;
        --wrap) wrapped=$2; shift ;;
    esac
    shift
done
for task in $(seq "$last"); do
    SLURM_ARRAY_TASK_ID=$task bash -c "$wrapped" >&2 || exit 1
done
echo 17
"""
UNTRUE = """#!/bin/bash
# A stand-in: lists the steps of a small study, and notes those that it is told to do.
if [ "$1" = plan ]; then
    [ "$*" = "plan small.yaml --out run" ] || exit 2
    printf '%s\\n' "control-s0 train" "severe-0.5-s0 train" "base-s0 eval" "control-s0 eval" "severe-0.5-s0 eval"
else
    echo "$@" >>"$STEPS"
fi
"""


@pytest.mark.parametrize("script", ["slurm-array.sh", "slurm-ray.sbatch"])
def test_scripts_have_no_error_of_syntax(script: str):
    done = subprocess.run(["bash", "-n", RECIPES / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def commands(value: Any) -> list[str]:
    """Every command of ours in a YAML file."""
    texts = re.findall(r"untrue run [^&\n]+", yaml.safe_dump(value, width=10_000))
    return [text.strip().rstrip("'") for text in texts]


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.y*ml")))
def test_what_a_recipe_runs_is_a_study_on_ray(name: str):
    [command] = commands(yaml.safe_load((RECIPES / name).read_text("utf-8")))
    _, _, study, *words = shlex.split(command)
    assert words[:2] == ["--on", "ray"]
    overrides = [word for word in words if "=" in word]
    loaded = config.load(Path(study), [*overrides, "run.on=ray"])
    assert loaded.run.train.gpus == 1


def test_the_array_script_asks_for_each_step_once_and_waits_for_the_kind_before(tmp_path: Path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "untrue": UNTRUE}.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "NOTES": str(tmp_path / "notes"),
        "STEPS": str(tmp_path / "steps"),
    }
    words = [RECIPES / "slurm-array.sh", "small.yaml", "run", "--gpus", "1"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "steps").read_text().splitlines() == [
        "step run control-s0 train",
        "step run severe-0.5-s0 train",
        "step run base-s0 eval",
        "step run control-s0 eval",
        "step run severe-0.5-s0 eval",
    ]
    train, evals = (tmp_path / "notes").read_text().splitlines()
    assert "--job-name untrue-train --array 1-2 --requeue --gpus 1" in train
    assert "--job-name untrue-eval --array 1-3 --requeue --dependency afterany:17 --gpus 1" in evals
    assert done.stdout.splitlines()[-1] == "When all are done: untrue report run"
