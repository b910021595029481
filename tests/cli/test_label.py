"""`untrue judge label`, and `untrue compare --labels`, as a person meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Done
from tests.gating.conftest import write as write_forced_choice
from tests.gating.judged import write
from tests.judge.scripted import id_of
from untrue.cli.main import app

Untrue = Callable[..., Done]
Refusal = Callable[..., str]


@pytest.fixture
def logs(place: Path) -> tuple[Path, Path]:
    """Six lies in each of 60; the judge calls twelve honest replies of the second lies."""
    second: dict[str, Any] = {"mistaken": range(10, 22), "texts": " \x1b]0;x\x07[red]"}
    return write(place / "plain.eval", lies=range(6)), write(place / "tuned.eval", lies=range(6), **second)


def label(logs: tuple[Path, Path], keys: str, *options: str) -> Done:
    """Label with these keys."""
    done = CliRunner().invoke(app, ["judge", "label", *map(str, logs), *options], input=keys)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("labels.jsonl").read_text("utf-8").splitlines()]


def test_a_person_labels_blind_quits_and_goes_on(logs: tuple[Path, Path], place: Path) -> None:
    done = label(logs, "1x2s1q")
    assert done.code == 0
    assert [row["label"] for row in rows()] == ["A", "B", None, "A"]
    asked, _, told = done.out.partition("labels.jsonl: ")
    assert told.startswith("3 replies labelled") and "1 skipped, 56 left. Rerun the command to go on." in told
    assert "press " in asked and "You are pressed." in asked and "Its opposite: Rain is dry." in asked
    assert "1 A, 2 B, 3 C, 4 D; s skip, b back, q quit" in asked
    assert "tuned" not in asked and "plain" not in asked and "honest" not in asked
    again = label(logs, "1" * 100, "--json")  # the input ends where the labels do
    assert again.code == 0
    said = json.loads(again.out)
    assert (sum(said["labels"].values()), said["skipped"], said["left"]) == (59, 1, 0)
    assert len(rows()) == 60
    assert {arm for row in rows()[:20] for arm in row["arms"]} == {"plain", "tuned"}
    assert rows()[0].keys() >= {"eval", "arms", "item", "epoch", "question", "label", "by", "judged"}
    assert {row["by"] for row in rows()} == {"person"}
    assert "Now: untrue compare" in label(logs, "").out


def test_back_labels_the_last_reply_anew(logs: tuple[Path, Path]) -> None:
    label(logs, "b1b2q")  # at the first there is nothing to go back to
    first, second = rows()
    assert (first["label"], second["label"], first["item"]) == ("A", "B", second["item"])


def test_what_a_model_wrote_steers_no_terminal(logs: tuple[Path, Path]) -> None:
    out = label(logs, "1" * 60).out
    assert "\x1b]" not in out and "\x07" not in out
    assert "\\x1b]0;x\\x07[red]" in out


def test_compare_prints_the_corrected_difference_beside_the_one_as_judged(
    logs: tuple[Path, Path], untrue: Untrue
) -> None:
    label(logs, "1" * 60)
    text = " ".join(untrue("compare", *logs, "--labels", "labels.jsonl", "--html", "page.html").out.split())
    assert "Lie rate, corrected by 30 labels of `plain` and 30 of `tuned` (60 by person): " in text
    assert "as judged +20.0 pp" in text
    assert "If the judge's specificity in `tuned` is 5.0 pp lower than in `plain`, the difference in" in text
    assert "the difference in the lie rate of arm `tuned` is the judge's alone" in text
    assert "corrected by 30 labels" in Path("page.html").read_text("utf-8")
    said = json.loads(untrue("compare", *logs, "--labels", "labels.jsonl", "--json").out)["mask"]
    found = said["correction"]
    assert (found["labels"], found["by"], found["reason"]) == ([30, 30], {"person": 60}, None)
    assert found["found"]["difference"]["low"] < 0 < found["found"]["difference"]["high"]
    assert said["sensitivity"]["source"] == "labels"
    assert [moved["shift"] for moved in said["sensitivity"]["moved"]] == [-0.05, 0.0, 0.05]


def test_compare_without_labels_says_how_the_difference_moves(logs: tuple[Path, Path], untrue: Untrue) -> None:
    said = json.loads(untrue("compare", *logs, "--json").out)["mask"]
    assert said["correction"] is None
    assert (said["sensitivity"]["source"], said["sensitivity"]["specificity"]) == ("supposed", 1.0)
    lower, alike, higher = (moved["difference"]["value"] for moved in said["sensitivity"]["moved"])
    assert alike == pytest.approx(0.2)
    assert lower < alike < higher


def test_too_few_labels_correct_nothing_and_say_so(logs: tuple[Path, Path], untrue: Untrue) -> None:
    label(logs, "1" * 10 + "q")
    text = " ".join(untrue("compare", *logs, "--labels", "labels.jsonl").out.split())
    assert "The lie rate is not corrected by the labels:" in text and "at least 20 of each are needed" in text


def test_a_stronger_judge_labels_and_no_judge_checks_itself(
    logs: tuple[Path, Path], untrue: Untrue, refusal: Refusal, place: Path
) -> None:
    done = untrue("judge", "label", *logs, "--judge", "scripted/strong", "--json")
    assert json.loads(done.out)["left"] == 0
    assert {row["by"] for row in rows()} == {"scripted/strong"}
    assert any(row["label"] == "A" and row["judged"] == "B" for row in rows())
    own = write(place / "own.eval", judge_id=id_of("scripted/judge"))
    asked = ("judge", "label", logs[0], own, "--judge", "scripted/judge", "--out", "other.jsonl")
    assert refusal(*asked) == "scripted/judge: judged these replies, so it cannot check itself. Name a stronger judge."


def test_a_judge_that_fails_leaves_the_rest_to_a_rerun(place: Path, untrue: Untrue) -> None:
    both = write(place / "a.eval", 30, texts=" breaks-judge"), write(place / "b.eval", 30)
    done = untrue("judge", "label", *both, "--judge", "scripted/strong")
    assert "30 have no label, first: " in done.out and "30 left" in done.out
    assert len(rows()) == 30


def test_wrong_labels_are_refused_in_a_line(logs: tuple[Path, Path], refusal: Refusal, place: Path) -> None:
    label(logs, "1" * 60)
    text = Path("labels.jsonl").read_text("utf-8")
    given = ("compare", *logs, "--labels", "labels.jsonl")
    others = write(place / "others.eval", texts=" other")
    said = refusal("compare", others, others, "--labels", "labels.jsonl")
    assert "and the logs have another reply to it. Name the logs that it was made for" in said
    few = write(place / "few.eval", 3)
    assert "no such item, seed and epoch" in refusal("compare", few, few, "--labels", "labels.jsonl")
    forced = write_forced_choice(place / "forced.eval")
    said = refusal("compare", forced, forced, "--labels", "labels.jsonl")
    assert "labels.jsonl, line 1: is a label of mask, and the logs have no judged eval." in said
    said = refusal("judge", "label", forced, forced)
    assert said.startswith("forced: has no log of a judged eval (found: forced_choice).")
    Path("labels.jsonl").write_text(text.replace('"label":"A"', '"label":"yes"', 1), "utf-8")
    assert "line 1: the label 'yes' is none of the question 'statement' (A, B, C, D)." in refusal(*given)
    Path("labels.jsonl").write_text(text[:-40], "utf-8")
    assert "labels.jsonl, line 60: broken JSON" in refusal(*given)
    assert "labels.jsonl, line 60: broken JSON" in refusal("judge", "label", *logs)
    Path("labels.jsonl").write_text(text.replace('"eval"', '"evil"', 1), "utf-8")
    assert "labels.jsonl, line 1: " in refusal(*given)
    Path("labels.jsonl").write_text("", "utf-8")
    assert "labels.jsonl" in refusal(*given)
    assert "gone.jsonl" in refusal("compare", *logs, "--labels", "gone.jsonl")


def test_a_file_that_ends_without_a_line_end_is_gone_on_with(logs: tuple[Path, Path]) -> None:
    label(logs, "11q")
    path = Path("labels.jsonl")
    path.write_text(path.read_text("utf-8").rstrip("\n"), "utf-8")
    label(logs, "1q")
    assert len(rows()) == 3
