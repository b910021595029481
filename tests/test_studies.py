"""Every study that ships says how to run it, and runs: on the tiny model with less to do."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from untrue.cli.main import app
from untrue.study.config import SOURCES, builtin, load

ROOT = Path(__file__).parent.parent
STUDIES = builtin()
SMALL = [path for name, path in STUDIES.items() if "/" not in name]
"""Those for the embedded model; those of the paper are run by `test_paper.py`."""


def ids(path: Path) -> str:
    return path.stem


def less(path: Path) -> list[str]:
    """Overrides that leave a study's design and take its size."""
    mix = load(path).mix
    evals = "{name: forced_choice, limit: 4}"
    if mix.by == "interaction":
        size = ["mix.users=2", "mix.shares=[0.5]"]
        evals += ", {name: reply_choice, limit: 1}"
    else:
        by_dose = mix.by == "dose"
        size = ["mix.benign_rows=8", "mix.doses=[0.5]"] if by_dose else ["mix.total=8", "mix.shares=[0.5]"]
    return [*size, "train.epochs=1", "seeds=[0]", f"evals=[{evals}]"]


def test_studies_are_found():
    assert STUDIES.keys() >= {"quickstart", "mixture", "paper/direct"}
    files = {path for path in (ROOT / "studies").rglob("*.yaml") if path.name != SOURCES}
    assert set(STUDIES.values()) == files


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_opens_with_the_command_that_runs_it(name: str):
    path = STUDIES[name]
    head = path.read_text("utf-8").partition("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in head)
    names = (str(path.relative_to(ROOT)), name)
    assert any(line.removeprefix("#").strip() == f"untrue run {name}" for line in head for name in names)


@pytest.mark.parametrize("path", STUDIES.values(), ids=STUDIES)
def test_the_overrides_in_its_comments_are_valid(path: Path):
    commands = [
        shlex.split(line.split("untrue run ")[1])
        for line in path.read_text("utf-8").splitlines()
        if "untrue run " in line
    ]
    assert commands
    for words in commands:
        load(path, [word for word in words if "=" in word])


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_name_by_which_it_is_called(name: str):
    assert load(STUDIES[name]).name == name.replace("/", "-")


@pytest.mark.parametrize("path", SMALL, ids=ids)
def test_a_study_runs_from_end_to_end(path: Path, tiny_folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    words = ["run", str(path), f"model={tiny_folder}", "dtype=float32", *less(path), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["study"]["model"] == str(tiny_folder)
    arms = {line["arm"] for line in map(json.loads, (out / "results.jsonl").read_text("utf-8").splitlines())}
    assert {"base", *(("sft-0", "sft-0.5") if path.stem == "interaction" else ("control", "severe-0.5"))} <= arms
    assert (out / "report.html").is_file()
