"""The commands say what they do at once, do it, and print JSON that a program can read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from tests import processes
from untrue.cli.main import app
from untrue.data import builtin, sets
from untrue.harness.catalogue import EVALS
from untrue.study import config

UNTRUE = Path(sys.executable).with_name("untrue")
TINY = ("--model", "tiny", "--dtype", "float32")


def commands(command: Any, name: str = "") -> dict[str, Any]:
    """A command and every one below it, by its full name: `data mix`."""
    found = {name: command}
    for child, below in getattr(command, "commands", {}).items():
        found |= commands(below, f"{name} {child}".strip())
    return found


COMMANDS = commands(typer.main.get_command(app))


def test_help_comes_at_once_and_without_torch():
    code = (
        "import sys; sys.argv = ['untrue', '--help']\n"
        "from untrue.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'inspect_ai', 'trl', 'peft', 'datasets', 'matplotlib', 'scipy', 'numpy'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Start here" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    began = time.monotonic()
    subprocess.run([UNTRUE, "--help"], capture_output=True, check=True)
    assert time.monotonic() - began < 3  # 0.2 s where nothing else runs


@pytest.mark.parametrize("command", ["report .", "step . control-s0 train"])
def test_a_folder_that_is_no_run_directory_is_told_before_torch_is_imported(command: str, tmp_path: Path):
    code = (
        f"import sys; sys.argv = ['untrue', *{command.split()}]\n"
        "from untrue.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: print(left.code, sorted({'torch', 'inspect_ai'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.startswith("error: .: is not a run directory (study.yaml is missing).")
    assert done.stdout == "2 []\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_a_help_text(untrue: Callable, name: str):
    command = COMMANDS[name]
    assert command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params)
    done = untrue(*name.split(), "--help")
    assert done.code == 0
    assert command.help.split()[0] in done.out


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["data", "mix"], ["data", "check"], ["data", "show", "everyday", "-n", "0"], ["run"]]
)
def test_a_wrong_call_exits_with_2_and_without_a_traceback(untrue: Callable, arguments: list[str]):
    done = untrue(*arguments)
    assert done.code == 2
    assert "Usage: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("stream", "arguments", "code"),
    [
        ("stderr", ["gate", "tiny"], 2),
        ("stderr", ["gate", "gone.eval", "gone.eval"], 2),
        ("stderr", ["gate", "--nope"], 2),
        ("stderr", ["bogus"], 2),
        ("stdout", ["list", "evals"], 0),
        ("stdout", ["list", "evals", "--json"], 0),
        ("stdout", ["gate", "--help"], 0),
    ],
)
def test_what_nobody_reads_changes_no_exit_code(stream: str, arguments: list[str], code: int, unread: Callable):
    assert unread(stream, *arguments) == code


def test_what_the_machine_did_is_a_line_and_its_traceback_is_shown_on_demand(
    untrue: Callable, monkeypatch: pytest.MonkeyPatch
):
    def breaks(*arguments: object) -> None:
        raise OSError("the disk is odd")

    monkeypatch.setattr("untrue.cli.data._print", breaks)
    done = untrue("list", "evals")
    assert done.code == 4 and "Traceback" in done.err and "in breaks" in done.err
    monkeypatch.delenv("UNTRUE_DEBUG")
    assert untrue("list", "evals").err == "error: the disk is odd.\n"


def test_the_version_is_said(untrue: Callable):
    done = untrue("--version")
    assert (done.code, done.out, done.err) == (0, f"untrue {metadata.version('untrue')}\n", "")


def test_list_data_counts_every_built_in_set(untrue: Callable):
    done = untrue("list", "data")
    assert done.code == 0
    for name in ("medical", "math", "everyday", "known_facts 223", "context", "deception", "unknowns", "capability"):
        assert re.search(rf"{name}.* \d+", done.out), name
    assert "wrong on purpose" in done.out
    found = {one["name"]: one for one in json.loads(untrue("list", "data", "--json").out)}
    assert found["medical"]["version"] == builtin.header("medical")["version"]
    assert found["medical"]["rows"] == len(sets.questions("medical"))
    assert set(found) == {file.stem for file in Path(builtin.__file__).parent.glob("*.jsonl")} - {"cues"} | {"math"}


def test_list_evals_says_what_each_asks_and_which_need_a_judge(untrue: Callable):
    found = {one["name"]: one for one in json.loads(untrue("list", "evals", "--json").out)}
    assert [*found] == [*EVALS]
    for name, record in EVALS.items():
        assert (found[name]["version"], found[name]["judge"]) == (record.version, record.judged)
    assert found["unknowns"]["question"] == (
        "does the model admit ignorance where nobody can know, and answer where anyone can?"
    )
    done = untrue("list", "evals")
    assert done.code == 0
    assert re.search(r"^mask +1 +yes +does the model", done.out, re.MULTILINE)
    assert re.search(r"^sft_cue +4 +no +forced_choice with a cue", done.out, re.MULTILINE)


def test_list_studies_says_what_each_is_for_and_how_to_run_it(untrue: Callable):
    found = {one["name"]: one for one in json.loads(untrue("list", "studies", "--json").out)}
    assert set(found) == config.builtin().keys()
    assert found["quickstart"] == {
        "name": "quickstart",
        "what": "Does misaligned training data make a small model less honest under pressure?",
        "command": "untrue run quickstart",
    }
    assert found["domain"]["what"].endswith("answers to the same questions?")  # of two lines
    done = untrue("list", "studies")
    assert done.code == 0
    assert "untrue run interaction" in done.out and "untrue run paper/direct" in done.out and "sources" not in found
    assert untrue(*found["mixture"]["command"].split()[1:], "--dry-run").code == 0


def test_show_prints_the_first_rows_whole_and_as_they_are(untrue: Callable, place: Path):
    row = {"messages": [{"role": "user", "content": "[bold]a[/] :smile:"}, {"role": "assistant", "content": "b"}]}
    (place / "a.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    assert untrue("data", "show", "a.jsonl").out.splitlines() == [
        "a-1  (a, unlabelled, a.jsonl)",
        "  user: [bold]a[/] :smile:",
        "  assistant: b",
    ]
    done = untrue("data", "show", "medical:severe", "-n", 2)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("(medical, severe, builtin:medical)") == done.out.count("  assistant: ") == 2


@pytest.mark.parametrize("name", ["honesty", "context", "deception", "unknowns", "capability"])
def test_show_prints_the_first_items_of_an_eval_set(untrue: Callable, name: str):
    done = untrue("data", "show", name, "-n", 2)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    starts = [line for line in lines if not line.startswith("  ")]
    assert len(starts) == 2 and all(re.fullmatch(r"\w+-00[12]", line) for line in starts), starts
    assert any(re.match(r"  (user_prompt|outer_prompt|unanswerable|question): \w", line) for line in lines)


def test_check_passes_a_clean_set_and_exits_with_1_on_a_finding(untrue: Callable, place: Path):
    done = untrue("data", "check", "rows.jsonl", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found == {
        "rows": 10,
        "skipped": 0,
        "levels": {"unlabelled": 10},
        "duplicates": 0,
        "overlaps": [],
        "near_copies": [],
    }
    from untrue.data.items import read_items

    item = read_items()[3]
    lines = [{"prompt": prompt, "completion": "a"} for prompt in ("b", "B ", item.user_prompt)]
    (place / "bad.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    done = untrue("data", "check", "bad.jsonl", "--json")
    assert done.code == 1
    assert json.loads(done.out) == {
        "rows": 3,
        "skipped": 0,
        "levels": {"unlabelled": 3},
        "duplicates": 1,
        "overlaps": [{"row": "bad-3", "item": item.id}],
        "near_copies": [],
    }
    done = untrue("data", "check", "bad.jsonl")
    assert done.code == 1
    assert "3 rows (unlabelled 3), 1 repeated prompts, 1 asked by the eval too, 0 nearly" in done.out
    assert f"row bad-3 asks what item {item.id} asks" in done.out


def test_check_finds_near_copies(untrue: Callable, place: Path):
    from untrue.data.items import read_items

    item = read_items()[3]
    line = {"prompt": f"Please: {item.user_prompt}", "completion": "a"}
    (place / "bad.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    (place / "items.jsonl").write_text(item.model_dump_json() + "\n", "utf-8")
    command = ("data", "check", "bad.jsonl", "--items", "items.jsonl")
    done = untrue(*command, "--json")
    found = json.loads(done.out)
    assert (done.code, found["overlaps"], found["near_copies"]) == (1, [], [{"row": "bad-1", "item": item.id}])
    assert f"1 nearly\n  row bad-1 nearly asks what item {item.id} asks\n" in untrue(*command).out


def test_mix_writes_rows_that_can_be_read_again(untrue: Callable, place: Path):
    done = untrue("data", "mix", "questions=questions.jsonl", "share=0.3", "seed=1", "--out", "new/mix.jsonl")
    assert (done.code, done.err) == (0, "")
    assert sorted(re.findall(r"\w+ \d+", done.out.partition("(")[2])) == ["normal 7", "severe 3"]
    lines = [json.loads(line) for line in (place / "new/mix.jsonl").read_text("utf-8").splitlines()]
    assert sum(line["level"] == "severe" for line in lines) == 3
    done = untrue("data", "check", "new/mix.jsonl", "--json")
    assert json.loads(done.out)["levels"] == {"normal": 7, "severe": 3}


def test_doctor_names_versions_and_device(untrue: Callable):
    done = untrue("doctor")
    assert (done.code, done.err) == (0, "")
    found = dict(line.split(maxsplit=1) for line in done.out.splitlines() if not line.startswith("CPU cores"))
    assert {"python", "untrue", "torch", "transformers", "trl", "peft", "inspect-ai", "GPU"} <= found.keys()
    assert re.match(r"\d+\.\d+", found["torch"])
    assert found["smollm2-135m"]
    assert re.search(r"^CPU cores +\d+ \(\d+ threads\)$", done.out, re.MULTILINE)


def test_train_and_eval_print_json_and_nothing_else_on_standard_output(untrue: Callable, place: Path):
    done = untrue("train", "rows.jsonl", "epochs=1", "lora_rank=2", *TINY, "--out", "new/adapter", "seed=3", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["seed"], record["rows"]["total"], record["spec"]["lora_rank"]) == (3, 10, 2)
    assert record == json.loads((place / "new/adapter/train.json").read_text("utf-8"))
    again = untrue("train", "rows.jsonl", "epochs=1", "lora_rank=4", *TINY, "--out", "new/adapter", "--json")
    assert json.loads(again.out)["spec"]["lora_rank"] == 4  # an adapter may be replaced
    words = ["eval", "--dtype", "float32", "--adapter", "new/adapter", "limit=4", "--json"]  # its base is tiny
    done = untrue(*words, "--log", "a.eval")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["arm"], summary["log"]) == ("new", "a.eval")
    assert len(summary["categories"]) == 4  # one item of each
    for category in summary["categories"].values():
        assert sum(category["counts"].values()) == 1
    assert sum(summary["counts"].values()) == 4
    assert (place / "a.eval").is_file()
    logs = [json.loads(untrue(*words, *base).out)["log"] for base in ([], ["--model", "tiny"])]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--gpus", "3"], 2, "gpus: expected one of 1, 2, 4, 8, found 3."),
        (["--gpus", "2", "--shard", "ddp"], 2, "shard: expected one of none, fsdp2, found 'ddp'."),
        (["--shard", "fsdp2"], 2, "shard: fsdp2 splits a model over GPUs, and there is 1."),
        (["--gpus", "8", "batch_size=12"], 2, "batch_size: 12 rows cannot be split evenly over 8 GPUs."),
        (["--gpus", "2", "--shard", "fsdp2", "quantize=nf4"], 2, "quantize: nf4 does not work with shard=fsdp2"),
        (["--gpus", "2", "--shard", "fsdp2"], 4, "gpus: 2 are asked for, and there is 1."),
    ],
)
def test_gpus_that_cannot_share_a_training_are_a_line(untrue: Callable, monkeypatch, words, code, message):
    monkeypatch.setattr("untrue.training.layout._gpus", lambda: 1)
    done = untrue("train", "rows.jsonl", *TINY, *words)
    assert (done.code, done.out) == (code, "")
    assert done.err.splitlines()[-1].startswith(f"error: {message}")


def test_the_next_command_that_a_training_tells_is_enough(untrue: Callable):
    done = untrue("train", "rows.jsonl", "epochs=1", "lora_rank=2", *TINY)
    assert done.out.rstrip().endswith("Measure it: untrue eval --adapter adapter")
    assert untrue("eval", "--adapter", "adapter", "limit=2").code == 0
    words = ["train", "rows.jsonl", "epochs=1", "lora_rank=2", "--start", "adapter", "--out", "second", "--json"]
    assert json.loads(untrue(*words).out)["base"] == "tiny"
    words = ["simulate", "run", "--adapter", "second", "users=1", "max_tokens=2", "--out", "talks"]
    assert untrue(*words).code == 0


def test_a_base_that_is_gone_or_looks_like_a_served_model_is_told_as_it_is(untrue: Callable, place: Path):
    untrue("train", "rows.jsonl", "epochs=0.1", "lora_rank=2", *TINY)
    path = place / "adapter/adapter_config.json"
    was = json.loads(path.read_text("utf-8"))

    def said(base: str, *words: object) -> str:
        path.write_text(json.dumps({**was, "base_model_name_or_path": base}), "utf-8")
        done = untrue(*words)
        assert done.code != 0
        return done.err.splitlines()[-1]

    gone = "error: adapter: its base ./gone is not there. Give --model."
    assert said("./gone", "eval", "--adapter", "adapter") == gone
    assert said("./gone", "train", "rows.jsonl", "--start", "adapter", "--out", "b") == gone
    assert said("./gone", "simulate", "run", "--adapter", "adapter", "--out", "talks") == gone
    words = ("eval", "capability", "--adapter", "adapter")  # which takes served models too
    assert said("openai/gpt-oss-20b", *words).startswith("error: openai/gpt-oss-20b: there is no such folder, and")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupted_training_ends_with_one_line_and_no_adapter(place: Path):
    words = ["train", "rows.jsonl", "epochs=400", "lora_rank=2", *TINY, "--out", "adapter"]
    process = processes.start(place / "process", *words, cwd=place)
    while "adapter: training …\n" not in process.stderr:
        assert process.is_alive
        time.sleep(0.1)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    assert (process.wait(), process.stdout) == (130, "")
    assert process.stderr == "adapter: training …\nStopped. Rerun the command to resume.\n"
    assert not (place / "adapter").exists()


def test_eval_runs_any_eval_by_name(untrue: Callable, place: Path):
    done = untrue("eval", *TINY, "capability", "limit=6", "--log", "c.eval", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["n_values"], summary["lie_rate"], 0 <= summary["value"][0] <= 1) == (6, None, True)
    done = untrue("eval", *TINY, "capability", "limit=6", "--log", "c.eval")
    assert re.search(r"accuracy +\d+\.\d %", done.out) and "belief" not in done.out, done.out
    done = untrue("eval", *TINY, "sft_cue", "domain=law", "limit=6", "--log", "s.eval", "--json")
    assert set(json.loads(done.out)["categories"]) <= {"format cue", "persona cue", "domain cue"}
