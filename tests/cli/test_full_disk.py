"""A disk that is full ends a command with one line and exit code 4, and leaves no half of a file under a final name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.judge.scripted  # noqa: F401

UNTRUE = Path(sys.executable).with_name("untrue")
TINY = ("--model", "tiny", "--dtype", "float32")
JUDGE = ("judge=scripted/judge",)


def test_a_mix_that_does_not_fit_leaves_nothing(untrue: Callable, small_disk: Path):
    done = untrue("data", "mix", "questions=medical", "share=1", "--out", "small/rows.jsonl")
    assert done.err == ("error: small/rows.jsonl: no space left on the disk. Free some and rerun the command.\n")
    assert done.code == 4
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("train", "rows.jsonl", "epochs=1", *TINY, "--out", "small/adapter"),
        ("run", "study.yaml", "--out", "small/run"),
        ("eval", *TINY, "limit=4", "--log", "small/a.eval"),
        ("eval", *TINY, "mask", "limit=4", "max_tokens=4", *JUDGE, "--log", "small/a.eval"),
    ],
)
def test_a_disk_that_fills_up_under_way_leaves_no_half(untrue: Callable, small_disk: Path, command: tuple):
    (small_disk / "others").write_bytes(bytes(60_000))
    done = untrue(*command)
    [line] = [line for line in done.err.splitlines() if line.startswith("error")]
    assert "no space left on the disk. Free some and rerun" in line
    assert "Traceback" not in done.err
    assert done.code == 4
    left = {path.name for path in small_disk.rglob("*")}
    assert not left & {"adapter", "adapter_model.safetensors", "a.eval", "results.jsonl", "summary.json", "report.html"}
    assert not [name for name in left if name.endswith(".part")]


def test_a_study_goes_on_when_there_is_space_again(untrue: Callable, small_disk: Path):
    assert untrue("run", "study.yaml", "--out", "small/run").code == 4
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    done = untrue("run", "study.yaml", "--out", "small/run")
    assert done.code == 0, done.err
    assert (small_disk / "run/report.html").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_finds_no_space_ends_with_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [UNTRUE, "data", "show", "medical:normal"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == "error: no space left on the disk. Free some and rerun the command.\n"
    assert done.returncode == 4
