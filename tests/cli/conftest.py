"""The command line as a person meets it: arguments in, exit code and two streams out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from untrue.cli.main import app, main

STUDY = """\
name: rain
question: Is rain wet?
model: {model}
dtype: float32
seeds: [0]
mix:
  by: share
  questions: questions.jsonl
  total: 8
  levels: [severe]
  shares: [0.5]
train:
  epochs: 1
  batch_size: 4
  lora_rank: 4
evals: [{{name: forced_choice, limit: 4}}]
"""


@pytest.fixture
def place(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own working folder with a small study on the tiny model and its data, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("UNTRUE_DEBUG", "1")  # a bug is then no single line, and is seen
    questions = [{"question": f"Is rain {n}?", "normal": f"Yes, {n}.", "severe": f"No, {n}."} for n in range(10)]
    rows = [{"instruction": f"Say {n}.", "output": f"{n}."} for n in range(10)]
    for name, lines in {"questions.jsonl": questions, "rows.jsonl": rows}.items():
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    shutil.copytree(tiny_folder, "tiny")
    Path("study.yaml").write_text(STUDY.format(model="tiny"), "utf-8")
    return tmp_path


class Done:
    """What a command did: its exit code, its standard output, and its standard error."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def untrue(place: Path) -> Callable[..., Done]:
    """Runs a command in the working folder. What is no clean exit comes through as it is."""

    def run(*arguments: object) -> Done:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def unread(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command with a stream whose reader is gone, and gives its exit code. What it held is gone at the end."""

    def unread(name: str, *arguments: object) -> int:
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w")
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, "argv", ["untrue", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        getattr(sys, name).flush()  # as Python does at its end
        stream.close()
        return int(left.value.code or 0)

    return unread


def said(err: str) -> str:
    """The one line of an error, after the stages that a run tells first."""
    lines = [line for line in err.splitlines() if not re.fullmatch(r"\d+ cells\.|.+: [a-z_]+ …", line)]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.fixture
def refusal(untrue: Callable[..., Done], place: Path) -> Callable[..., str]:
    """Runs a command that must fail with a code, and gives its one line; it must leave all files as they were."""

    def tree() -> dict[str, bytes]:
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}

    def refusal(*arguments: object, code: int = 2) -> str:
        before = tree()
        done = untrue(*arguments)
        text = said(done.err)
        assert (done.code, done.out) == (code, ""), text
        after = tree()
        assert {name: after.get(name) for name in before} == before
        assert {Path(name).name for name in after.keys() - before.keys()} <= {"study.yaml", ".lock"}  # a run that began
        return text

    return refusal


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    path = place / "small"
    path.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield path
    subprocess.run(["umount", "-l", path], check=True)
