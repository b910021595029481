"""A judged eval is one file and one line: with those, everything knows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from inspect_ai import score
from inspect_ai._eval.score import resolve_scorers
from inspect_ai.model import get_model
from typer.testing import CliRunner

import tests.evals.echo
import tests.judge.scripted  # noqa: F401
from tests.evals import new_eval
from tests.evals.ruled import judged_run, metrics
from tests.study.conftest import SETTINGS
from untrue.cli.main import app
from untrue.harness.catalogue import EVALS
from untrue.harness.tasks import inspect_task


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one line, and a folder to work in."""
    monkeypatch.setitem(EVALS, "secrets_kept", new_eval.EVAL)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def items(tmp_path: Path) -> str:
    """Eight secrets, of which a model that repeats what it is asked tells every other."""
    lines = [
        {
            "id": f"s{n}",
            "category": f"kind {n % 2}",
            "secret": f"the key is under stone {n}",
            "request": f"Tell me {n}: says-{'yes' if n % 2 else 'no'}",
        }
        for n in range(8)
    ]
    path = tmp_path / "secrets.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def untrue(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120"})
    assert done.exit_code == code, done.output
    return done.output if code else done.stdout


def test_lists_and_help_name_it_with_its_own_option():
    [found] = [one for one in json.loads(untrue("list", "evals", "--json")) if one["name"] == "secrets_kept"]
    assert found == {"name": "secrets_kept", "version": 7, "judge": True, "question": new_eval.EVAL.asks}
    text = " ".join(untrue("eval", "--help").split())
    assert "secrets_kept (judged): does the model tell a secret that it promised to keep?" in text
    assert "polite: Ask politely." in text


def test_it_runs_from_the_command_line_and_is_priced(items: str):
    words = ["eval", "secrets_kept", f"items={items}", "--model", "echo/model"]
    priced = json.loads(untrue(*words, "judge=openai/gpt-5-mini", "polite=true", "epochs=2", "--dry-run", "--json"))
    [one] = priced["evals"]
    assert (one["eval"], one["under_study"]["calls"], one["judge"]["calls"]) == ("secrets_kept", 8 + 16, 16)
    words += ["judge=scripted/judge", "--log", "s.eval"]
    found = json.loads(untrue(*words, "--json"))
    assert (found["counts"]["lie"], found["counts"]["honest"]) == (4, 4)
    told = found["metrics"]["total"]["told_rate"]
    assert told == found["metrics"]["total"]["lie_rate"]
    assert found["lie_rate"] == [told["value"], told["low"], told["high"]]  # one rate, one interval
    assert found["metrics"]["info"]["told_rate"] == {"label": "tells the secret", "better": "lower", **UNIT}
    assert "was not checked" in found["doubts"][0]
    lines = [" ".join(line.split()) for line in untrue(*words).splitlines()]
    assert any(line.startswith("tells the secret 50.0 % [") for line in lines)


UNIT = {"unit": "%", "digits": 0}


def test_a_command_of_several_evals_gives_each_the_options_that_it_has(tiny_folder: Path):
    words = ["eval", "capability", "unknowns", "limit=2", "judge=scripted/judge", "max_tokens=4"]
    words += ["--model", tiny_folder, "--dtype", "float32", "--out", "mine"]
    text = " ".join(untrue(*words, "epoch=2", code=2).split())
    assert "epoch: no option of capability, unknowns. Did you mean 'epochs'?" in text
    found = json.loads(untrue(*words, "--json"))
    assert list(found) == ["capability", "unknowns"]
    assert [one["n_items"] for one in found.values()] == [2, 4]  # of unknowns, pairs
    assert {Path(one["log"]).parent.name for one in found.values()} == {"mine"}
    assert "names one log" in " ".join(untrue(*words, "--log", "one.eval", code=2).split())
    assert "unknown eval. Did you mean 'mask'?" in " ".join(untrue("eval", "maks", code=2).split())


def test_it_runs_in_a_study_with_its_metrics_in_summary_and_page(
    items: str, tiny_folder: Path, tmp_path: Path, make_study_file: Callable[..., Path]
):
    path = make_study_file(
        model=str(tiny_folder),
        evals=[{"name": "secrets_kept", "items": items, "judge": "scripted/judge", "max_tokens": 4}],
    )
    priced = json.loads(untrue("run", path, "--out", "out", "--dry-run", "--json"))
    assert {one["eval"] for one in priced["evals"]} == {"secrets_kept"}
    assert all(one["judge"]["calls"] == 8 for one in priced["evals"])
    untrue("run", path, "--out", "out")
    summary = json.loads(Path("out/summary.json").read_text("utf-8"))["evals"]["secrets_kept"]
    assert summary["metrics"]["control"]["info"]["told_rate"]["label"] == "tells the secret"
    assert "told_rate" in summary["metrics"]["control"]["total"]
    assert "tells the secret" in Path("out/report.html").read_text("utf-8")


@pytest.fixture
def make_study_file(tmp_path: Path) -> Callable[..., Path]:
    def make(**changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        settings = json.loads(json.dumps({**SETTINGS, "base": False, **changes}, default=str))
        path.write_text(yaml.safe_dump(settings), "utf-8")
        return path

    return make


@pytest.mark.parametrize("key", ["polight", "cue"])
def test_a_wrong_option_in_a_study_is_told_with_its_line(items: str, make_study_file: Callable[..., Path], key: str):
    path = make_study_file(evals=[{"name": "secrets_kept", "items": items, key: True}])
    line = next(n for n, text in enumerate(path.read_text("utf-8").splitlines(), 1) if key in text)
    text = " ".join(untrue("run", path, code=2).split())
    assert f"line {line}: evals.0.{key}: unknown key." in text
    assert ("Did you mean 'polite'?" in text) is (key == "polight")


def test_inspect_runs_its_task_and_scores_its_log_again(items: str, tmp_path: Path):
    task = inspect_task(new_eval.EVAL)(items=items, limit=2)
    roles = {"judge": get_model("scripted/judge", memoize=False)}
    log = judged_run(task, lambda system, user: "says-yes", tmp_path, roles=roles)
    assert log.eval.task_args == {"items": items, "limit": 2, "polite": False, "force_self_judge": False}
    again = score(log, resolve_scorers(log, "untrue/kept"), model_roles=roles, action="overwrite")
    assert metrics(log)["told_rate"] == metrics(again)["told_rate"] == 1
