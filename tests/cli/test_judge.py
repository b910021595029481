"""`untrue judge …` as a person meets it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.judge.scripted import id_of
from untrue.cli.main import app
from untrue.judge.check import gold, last_check


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["judge", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_judge_that_knows_no_rule_for_the_gold_set_is_not_relied_on():
    code, out, _ = run("check", "scripted/judge")
    assert code == 1
    for words in ("kappa", "sensitivity", "price not known", "says C whatever it reads", "labelled replies"):
        assert words in out
    assert last_check(id_of("scripted/judge"))


def test_the_check_as_json():
    code, out, _ = run("check", "scripted/judge", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["trustworthy"] is False
    assert found["questions"]["statement"]["confusion"]["A"]["C"] > 0
    assert found["calls"] == found["rows"] == len(gold())


def test_a_dry_run_asks_nothing():
    code, out, _ = run("check", "openai/gpt-5-mini", "--dry-run")
    assert code == 0
    assert out.startswith(f"{len(gold())} calls, about ")
    assert "about $0." in out
    assert last_check("unknown") is None
    assert json.loads(run("check", "no-such/model", "--dry-run", "--json")[1])["dollars"] is None


@pytest.mark.parametrize("name", ["no-such-provider/model", "model", "untrue/no/such/folder"])
def test_a_judge_that_there_is_none_of_is_one_clear_error(name: str):
    code, out, error = run("check", name)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert error.startswith(f"error: {name}" if name != "untrue/no/such/folder" else "error: no/such/folder")
