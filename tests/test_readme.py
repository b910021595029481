"""The commands of the README run, on the tiny model and with less to do."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import tests.judge.scripted  # noqa: F401
import untrue
from untrue.cli.main import app
from untrue.data import sets

ROOT = Path(__file__).parent.parent
LESS = {
    "run": ["dtype=float32", "mix.total=8", "train.epochs=1", "seeds=[0]", "evals=[{name: forced_choice, limit: 4}]"],
    "train": ["--dtype", "float32", "epochs=0.1"],
    "eval": ["--dtype", "float32", "limit=4"],
    "gate": ["--dtype", "float32", "evals=[{name: forced_choice, limit: 8}]"],
    "compare": ["--dtype", "float32", "limit=8"],
    "simulate run": ["--dtype", "float32", "users=2", "max_tokens=4"],
}
GATES = ("gate", "compare")
JUDGE = ["judge=scripted/judge", "max_tokens=4"]


def shell_commands() -> list[str]:
    """The `untrue …` lines of the README's shell blocks, in order, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("untrue ")]


def shrunk(command: str, model: Path) -> list[str]:
    """The command's arguments, with the tiny model and less work added."""
    words = shlex.split(command)[1:]
    name = " ".join(words[:2]) if words[0] == "simulate" else words[0]
    if name == "run":
        return [*words, f"model={model}", *LESS[name]]
    if name in GATES:
        return [*(str(model) if word == "smollm2-135m" else word for word in words), *LESS[name]]
    less = [*LESS.get(name, []), *(JUDGE if any(word.startswith("judge=") for word in words) else [])]
    return [*words, *less, "--model", str(model)] if less else words


def test_the_readme_has_the_commands_it_is_tested_for() -> None:
    assert {shlex.split(command)[1] for command in shell_commands()} == {
        "gate",
        "compare",
        "run",
        "report",
        "data",
        "train",
        "eval",
        "simulate",
        "judge",
        "list",
    }


def test_the_opening_commands_give_a_verdict_on_adapters_that_a_reader_has(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("shipped", "mine")):
        rows = sets.rows("everyday")[:8]
        untrue.train(tiny_folder, rows, out=tmp_path / "adapters" / name, seed=seed, dtype="float32", batch_size=4)
    monkeypatch.chdir(tmp_path)
    commands = [command for command in shell_commands() if shlex.split(command)[1] in GATES]
    assert len(commands) == 3
    for command in commands:
        done = CliRunner().invoke(app, shrunk(command, tiny_folder))
        assert done.exit_code in ((0, 1, 3) if "gate" in command else (0,)), f"{command}\n{done.output}"
    assert (tmp_path / "gate.xml").is_file()


def test_the_other_commands_of_the_readme_run_in_order(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    for command in shell_commands():
        if shlex.split(command)[1] in GATES:
            continue
        done = CliRunner().invoke(app, shrunk(command, tiny_folder))
        assert done.exit_code == 0, f"{command}\n{done.output}"
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert (tmp_path / "adapters/mine/README.md").is_file()


def documented_commands() -> list[str]:
    """Every `untrue …` of the docs, of the comments of studies and of help texts."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("studies/**/*.yaml")]
    texts = [page.read_text("utf-8") for page in pages]
    commands: list[Any] = [get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        texts += [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
    lines = [line for text in texts for line in text.replace("\\\n", " ").splitlines()]
    spans = [span for text in texts for span in re.findall(r"`([^`]+)`", text)]
    return [line.lstrip("# ") for line in [*lines, *spans] if line.lstrip("# ").startswith("untrue ")]


def test_no_shell_takes_a_part_of_a_documented_command_for_a_pattern_of_files() -> None:
    """zsh refuses `seeds=[0,1]` and `a?revision=b` without quotes: no files match."""
    commands = documented_commands()
    assert len(commands) > 100
    for command in commands:
        unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", command.split(" #")[0])
        assert not re.search(r"=\S*[][{}*?]|\S[*?]|[*?]\S", unquoted), command


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench"])
def test_the_makefile_has_the_targets_that_the_docs_name(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_every_link_of_the_docs_leads_to_a_file() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
