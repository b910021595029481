"""Names, paths and errors of a user are shown as they are: never read as markup, and no way out of a folder."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.evals.echo
import tests.judge.scripted  # noqa: F401
from untrue.data.items import read_items

TINY = ("--dtype", "float32")
NASTY = "x[/y]z [bold]b :smile:"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the commands believe that they write to a wide terminal, so that bars are drawn."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("inspect_ai._display.core.active._active_display", None)  # the one that another test made


@pytest.fixture
def nasty(place: Path, terminal: None) -> Path:
    """The tiny model, training rows and a study under nasty names."""
    (place / NASTY).parent.mkdir()
    (place / "tiny").rename(place / NASTY)
    for name in ("study.yaml", "rows.jsonl", "questions.jsonl"):
        (place / name).rename(place / f"{NASTY} {name}")
    text = (place / f"{NASTY} study.yaml").read_text("utf-8").replace("questions.jsonl", f"'{NASTY} questions.jsonl'")
    (place / f"{NASTY} study.yaml").write_text(text.replace("model: tiny", f"model: '{NASTY}'"), "utf-8")
    return place


def plain(text: str) -> str:
    return " ".join(text.split())


def test_train_and_eval_show_them_as_they_are(untrue: Callable, nasty: Path):
    out = f"{NASTY} out"
    words = ["train", f"{NASTY} rows.jsonl", "batch_size=4", "lora_rank=2", "--model", NASTY, *TINY]
    done = untrue(*words, "--out", out)
    assert done.code == 0, done.err
    assert f"{out}: training" in done.err and f"{out}: 3 steps on 10 rows" in done.out
    done = untrue("eval", "--model", NASTY, *TINY, "--adapter", out, "limit=2", "--log", f"{NASTY}.eval")
    assert done.code == 0, done.err
    assert f"{Path(out).name}: forced_choice" in done.err and Path(out).name in plain(done.out)
    done = untrue("train", f"{NASTY} none.jsonl", "--model", NASTY)
    assert (done.code, plain(done.err)[: len(NASTY) + 7]) == (2, f"error: {NASTY}")


def test_a_run_and_its_report_show_them_as_they_are(untrue: Callable, nasty: Path):
    done = untrue("run", f"{NASTY} study.yaml", "--out", f"runs/{NASTY}")
    assert done.code == 0, done.err
    assert f"Report: runs/{NASTY}/report.html" in done.out
    done = untrue("report", f"runs/{NASTY}")
    assert f"Report: runs/{NASTY}/report.html" in done.out
    done = untrue("run", f"{NASTY} study.yaml", f"model='./{NASTY} none'", "--out", f"runs/{NASTY} 2")
    assert done.code == 2 and f"error: ./{NASTY} none: no such model folder" in plain(done.err)


def test_dialogues_show_them_as_they_are(untrue: Callable, nasty: Path, tea: Path):
    environment, out = str(tea.rename(nasty / f"{NASTY}.jsonl")), f"{NASTY} out"
    words = [f"environment={json.dumps(environment)}", "users=2", "turns=1", "max_tokens=4", "part=all"]
    done = untrue("simulate", "run", *words, "--model", NASTY, *TINY, "--out", out)
    assert done.code == 0, done.err
    assert f"{out}: dialogues" in done.err
    assert f"{out}/trajectories.jsonl" in done.out
    assert untrue("simulate", "show", f"{out}/trajectories.jsonl").code == 0


def test_a_judge_and_what_is_said_of_loading_are_shown_as_they_are(untrue: Callable, nasty: Path):
    judge = f"scripted/{NASTY}"
    done = untrue("judge", "check", judge)
    assert done.code in (0, 1), done.err
    assert f"asking {judge}" in done.err and f"{judge} on " in done.out
    words = ["eval", "unknowns", "--model", "echo/model", "limit=2", f"judge={json.dumps(judge)}", "--log", "a.eval"]
    assert untrue(*words).code == 0
    done = untrue("doctor", "--model", f"./{NASTY} none")
    assert done.code == 2 and f"error: ./{NASTY} none: no such model folder" in plain(done.err)


@pytest.mark.parametrize("out", [".", "..", "tiny/..", "/", "tiny", "rows.jsonl", "rows.jsonl/a", "study.yaml/a/b"])
def test_a_place_where_no_adapter_can_be_written_is_refused_before_anything_is_loaded(
    refusal: Callable, place: Path, out: str
):
    if out == "tiny/..":  # the current folder, and nothing in it to lose
        (place / "empty").mkdir()
        out = "empty/.."
    text = refusal("train", "rows.jsonl", "--model", "nowhere", "--out", out)
    assert text.startswith(f"{out}: ") and text.endswith("Choose another folder.")


def logs() -> list[str]:
    return sorted(path.name for path in Path("logs").iterdir())


def test_models_of_one_name_in_two_folders_have_logs_of_their_own(untrue: Callable, place: Path):
    for parent in ("a", "b"):
        (place / parent).mkdir()
    (place / "tiny").rename(place / "a/model")
    (place / "b/model").symlink_to(place / "a/model")  # another path, and in the end another name
    (place / "c").mkdir()
    (place / "c/model").mkdir()
    for file in (place / "a/model").iterdir():
        (place / "c/model" / file.name).write_bytes(file.read_bytes())
    words = ["eval", "limit=2", "--json", *TINY, "--model"]
    first, second, again = (json.loads(untrue(*words, name).out)["log"] for name in ("a/model", "c/model", "./a/model"))
    assert first == again != second
    assert [first.split("-")[:2], second.split("-")[:2]] == [["logs/forced_choice", "model"]] * 2
    assert len(logs()) == 2


def test_adapters_of_one_name_and_hub_ids_that_look_alike_have_logs_of_their_own():
    from untrue.harness.reading import default_log

    def name(model: str, adapter: str | None = None) -> str:
        return default_log("mask", model, Path(adapter) if adapter else None).name

    assert name("smollm2-135m") == "mask-smollm2-135m.eval"
    assert name("openai/gpt-5-mini") == "mask-openai--gpt-5-mini.eval"
    assert len({name("m", "a/x"), name("m", "b/x"), name("m", "a/x/adapter"), name("n", "a/x"), name("x")}) == 5
    assert name("m", "a/x") == name("m", "./a/x/") == name("m", str(Path("a/x").absolute()))
    assert name("m", "a/x").startswith("mask-x-") and name("m", "runs/s/cells/c-s0/adapter").startswith("mask-c-s0-")
    alike = ("a/b-c", "a-b/c", "a/b/c", "a--b/c", "a/b--c", "a-b-c", "a:b-c", "a b-c")
    assert len({name(model) for model in alike}) == len(alike)


@pytest.mark.parametrize(
    "identity",
    ["../../../x", "..", "a/../b", "/etc/x", "a//b", "a/", "./a", "a\\..\\b", "a\x00b", "a\nb", "C:x", "a" * 1001],
)
def test_an_id_that_would_leave_the_log_is_refused(refusal: Callable, place: Path, identity: str):
    item = read_items()[0].model_dump() | {"id": identity}
    (place / "items.jsonl").write_text(json.dumps(item) + "\n", "utf-8")
    for name in ("forced_choice", "mask", "pressure_pairs"):
        judge = [] if name == "forced_choice" else ["judge=untrue/tiny"]
        text = refusal("eval", name, "items=items.jsonl", "--model", "tiny", *TINY, *judge)
        assert text.startswith("items.jsonl, line 1: ") and "no name for a file in a log" in text, text


def test_the_members_of_a_log_lie_below_it_and_an_id_may_have_parts(untrue: Callable, place: Path):
    lines = [item.model_dump() | {"id": name} for item, name in zip(read_items(), ("a/b", "..a", "é 1"), strict=False)]
    (place / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    done = untrue("eval", "items=items.jsonl", "--model", "tiny", *TINY, "--log", "a.eval")
    assert done.code == 0, done.err
    members = [name for name in zipfile.ZipFile("a.eval").namelist() if name.startswith("samples/")]
    assert sorted(members) == [f"samples/{name}_epoch_1.json" for name in ("..a", "a/b", "é 1")]
    top = (place / "log").resolve()
    assert all((top / name).resolve().is_relative_to(top) for name in zipfile.ZipFile("a.eval").namelist())


@pytest.mark.parametrize("log", ["rows.jsonl", "new", "a.eval.json"])
def test_a_log_never_takes_the_place_of_a_file_of_another_kind(refusal: Callable, log: str):
    assert refusal("eval", "--model", "nowhere", "--log", log).startswith(f"{log}: a log ends in .eval")


@pytest.mark.parametrize("words", [["run", "study.yaml", "--out"], ["train", "rows.jsonl", "--out"], ["report"]])
def test_bytes_that_are_not_utf_8_are_refused(refusal: Callable, words: list[str]):
    assert refusal(*words, os.fsdecode(b"a\xff")) == "'a\\udcff': is not UTF-8. Rename it."


@pytest.mark.parametrize("words", [["[/x]"], ["run", "--[/x]"], ["eval", "--[/x]"], ["train", "r", "--dtype"]])
def test_a_wrong_call_with_brackets_is_a_wrong_call(untrue: Callable, words: list[str]):
    done = untrue(*words)
    assert done.code == 2 and "Error" in done.err
