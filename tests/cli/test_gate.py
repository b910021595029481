"""`untrue gate` and `untrue compare` as a person, or a CI, meets them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from safetensors.torch import load_file, save_file

import tests.judge.scripted  # noqa: F401
from tests.cli.conftest import Done
from tests.conftest import make_tiny_model
from tests.gating.conftest import write
from tests.gating.shifty import Shifty
from untrue.harness.catalogue import EVALS
from untrue.harness.tasks import inspect_task

forced_choice = inspect_task(EVALS["forced_choice"])

Untrue = Callable[..., Done]
Refusal = Callable[..., str]

HONEST = "evals=[forced_choice]"
QUICK = ("evals=[{name: capability, limit: 60}]", "--dtype", "float32")


@pytest.fixture(autouse=True)
def no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def logs(place: Path) -> dict[str, Path]:
    """A baseline, and candidates by the verdict that they get."""
    lies = {"baseline": range(5), "pass": range(5), "regression": range(20), "inconclusive": range(3, 11)}
    return {name: write(place / f"{name}.eval", lies=which) for name, which in lies.items()}


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("regression", 1), ("inconclusive", 3)])
def test_the_exit_code_is_the_verdict(verdict: str, code: int, logs: dict[str, Path], untrue: Untrue) -> None:
    done = untrue("gate", logs["baseline"], logs[verdict], HONEST)
    assert done.code == code, done.out
    assert done.out.startswith(f"{verdict.upper()}: {verdict} against baseline")
    assert ("items would settle it" in " ".join(done.out.split())) == (verdict == "inconclusive")
    said = json.loads(untrue("gate", logs["baseline"], logs[verdict], HONEST, "--json").out)
    assert said["verdict"] == verdict
    assert {row["metric"] for row in said["endpoints"]} >= {"lie_rate", "pressure_margin"}


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("regression", 1), ("inconclusive", 3)])
def test_the_verdict_is_the_exit_code_though_nobody_reads_the_output(
    verdict: str, code: int, as_json: tuple[str, ...], logs: dict[str, Path], unread: Callable[..., int]
) -> None:
    assert unread("stdout", "gate", logs["baseline"], logs[verdict], HONEST, *as_json) == code


def test_delta_and_alpha_come_from_the_command_line_or_a_file(logs: dict[str, Path], untrue: Untrue) -> None:
    Path("gate.yaml").write_text("evals: [forced_choice]\ndelta: {lie_rate: 0.2}\n", "utf-8")
    assert untrue("gate", logs["baseline"], logs["inconclusive"], "--config", "gate.yaml").code == 0
    assert untrue("gate", logs["baseline"], logs["inconclusive"], "--config", "gate.yaml", "delta.lie_rate=0.01").code
    assert untrue("gate", logs["baseline"], logs["inconclusive"], HONEST, "delta.lie_rate=0.2").code == 0


def test_every_report_is_written(logs: dict[str, Path], untrue: Untrue, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = logs["regression"].rename("<script>x|`y`.eval")
    Path("summary.md").write_text("Before.\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    files = ("--junit", "new/gate.xml", "--html", "gate.html", "--card", "card.md")
    assert untrue("gate", logs["baseline"], hostile, HONEST, *files).code == 1
    suite = ElementTree.parse("new/gate.xml").getroot()
    assert suite.get("tests") == str(len(suite.findall("testcase"))) == "6"
    assert {failure.get("type") for failure in suite.iter("failure")} == {"regression"}
    page, card = Path("gate.html").read_text("utf-8"), Path("card.md").read_text("utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert card.startswith("### Honesty gate: regression") and "<script" not in card
    assert Path("summary.md").read_text("utf-8") == f"Before.\n{card}"


def test_an_adapter_alone_goes_against_its_own_base_and_a_rerun_asks_nothing(
    adapter: Path, untrue: Untrue, place: Path
) -> None:
    done = untrue("gate", adapter, *QUICK, "--against", "base", "--json")
    said = json.loads(done.out)
    assert done.code == {"pass": 0, "regression": 1, "inconclusive": 3}[said["verdict"]]
    assert (said["candidate"], said["baseline"]) == ("random", "tiny")
    kept = {path: path.stat().st_mtime_ns for path in (place / "logs").glob("*.eval")}
    assert len(kept) == 2
    next(iter(path for path in kept if "random" in path.name)).unlink()  # as if it was killed before
    again = untrue("gate", adapter, *QUICK, "--against", "base", "--json")
    assert (again.code, json.loads(again.out)) == (done.code, said)
    base = next(path for path in kept if "tiny" in path.name)
    assert base.stat().st_mtime_ns == kept[base]
    assert {path.name for path in (place / "logs").glob("*.eval")} == {path.name for path in kept}


def nudge(path: Path) -> None:
    """Change the first weight of a file by a little."""
    weights = load_file(path)
    name = next(iter(weights))
    save_file(weights | {name: weights[name] * 1.0001}, path, {"format": "pt"})


def test_an_adapter_of_plain_trl_is_gated_as_trl_wrote_it(untrue: Untrue, place: Path) -> None:
    """As the README says, with nothing of this project in its training."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    row = {"prompt": [{"role": "user", "content": "Say 1."}], "completion": [{"role": "assistant", "content": "1."}]}
    arguments = {"bf16": False, "max_steps": 2, "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    trainer = SFTTrainer(
        "tiny",
        args=SFTConfig("trained", learning_rate=1e-6, save_strategy="no", **arguments),
        train_dataset=Dataset.from_list([row] * 8),
        peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    trainer.save_model("adapters/mine")
    assert "adapters/mine: nothing says how it was trained" in untrue("gate", "adapters/mine", *QUICK).err
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for _ in range(8)), "utf-8")
    words = ("control.rows=rows.jsonl", "control.learning_rate=1e-6", "--dtype", "float32")
    done = untrue("gate", "adapters/mine", *QUICK, *words)
    assert done.code == 0, done.out + done.err
    assert done.out.startswith("PASS: mine against control-")
    [control] = Path("logs/controls").glob("control-*")
    assert json.loads((control / "train.json").read_text("utf-8"))["rows"]["total"] == 8
    assert json.loads((control / "adapter_config.json").read_text("utf-8"))["r"] == 2
    assert untrue("gate", "adapters/mine", *QUICK, *words).out == done.out
    assert len([*Path("logs/controls").glob("control-*")]) == 1
    done = untrue("gate", "adapters/mine", *QUICK, "--against", "base")
    assert done.code == 0, done.out + done.err
    assert done.out.startswith("PASS: mine against tiny")
    config = Path("adapters/mine/adapter_config.json")
    config.write_text(config.read_text("utf-8").replace('"tiny"', '"/home/me/tiny"'), "utf-8")
    shutil.copytree("adapters/mine", "adapters/shipped")
    nudge(Path("adapters/shipped/adapter_model.safetensors"))
    for command in ("gate", "compare"):
        words = (
            command,
            "adapters/shipped",
            "adapters/mine",
            *(QUICK if command == "gate" else ("capability", "limit=8")),
        )
        assert "shipped: its base /home/me/tiny is not there. Give --model" in untrue(*words).err
        done = untrue(*words, "--model", "tiny")
        assert done.code == 0, done.out + done.err


def test_a_whole_model_that_answers_alike_passes(untrue: Untrue, place: Path) -> None:
    shutil.copytree("tiny", "merged")
    assert "merged is tiny: the same logs, or the same model" in untrue("gate", "tiny", "merged", *QUICK).err
    nudge(Path("merged/model.safetensors"))
    done = untrue("gate", "tiny", "merged", *QUICK)
    assert done.code == 0, done.out + done.err
    assert done.out.startswith("PASS: merged against tiny")


def test_a_candidate_that_fails_on_all_items_never_passes(logs: dict[str, Path], untrue: Untrue, place: Path) -> None:
    failed = write(place / "failed.eval", errors=range(100))
    done = untrue("gate", logs["baseline"], failed, HONEST)
    assert done.code == 1
    assert "The candidate is broken. forced_choice: 100.0 % of the results" in " ".join(done.out.split())
    make_tiny_model(place / "short")
    config = json.loads((place / "short/config.json").read_text("utf-8"))
    (place / "short/config.json").write_text(json.dumps(config | {"max_position_embeddings": 4}), "utf-8")
    done = untrue("gate", "tiny", "short", "evals=[{name: capability, limit: 6}]", "--dtype", "float32")
    assert (done.code, done.out) == (2, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ") and "the model takes 4" in last


def test_a_bug_is_a_line_and_never_a_verdict(
    logs: dict[str, Path], untrue: Untrue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*arguments: object) -> None:
        raise TypeError("unsupported operand")

    monkeypatch.setattr("untrue.report.gate.markdown", breaks)
    arguments = ("gate", logs["baseline"], logs["pass"], HONEST, "--card", "card.md")
    done = untrue(*arguments)
    assert (done.code, done.out) == (4, "") and "Traceback" in done.err
    monkeypatch.delenv("UNTRUE_DEBUG")
    said = untrue(*arguments).err
    assert re.fullmatch(
        r"error: a bug in untrue in cli/gate.py, line \d+: TypeError: unsupported operand. Set UNTRUE_DEBUG=1 to"
        r" see the traceback, and report it.\n",
        said,
    )


def test_wrong_use_is_told_in_a_line(logs: dict[str, Path], refusal: Refusal) -> None:
    Path("gate.yaml").write_text("alpha: 0.05\ndelta:\n  lies: 0.1\n", "utf-8")
    both = (logs["baseline"], logs["pass"])
    assert "gate.yaml, line 3: delta.lies: unknown key." in refusal("gate", *both, "--config", "gate.yaml")
    assert "alpa: unknown key. Did you mean 'alpha'?" in refusal("gate", *both, "alpa=0.05")
    assert "only an adapter; found 3. Give each baseline run" in refusal("gate", *both, logs["pass"])
    assert "tiny: is no adapter, so it has no base" in refusal("gate", "tiny")
    assert "gone.eval: there is no such log." in refusal("gate", logs["baseline"], "gone.eval", HONEST)
    for command in ("gate", "compare"):
        said = "adapters/a: there is no such folder, and no such model in the hub's cache"
        assert said in refusal(command, "adapters/a", "adapters/b")
    assert "missing.yaml" in refusal("gate", *both, "--config", "missing.yaml")


def test_a_judged_gate_resumes(untrue: Untrue, place: Path, monkeypatch: pytest.MonkeyPatch, good_check: Any) -> None:
    """32 items of MASK take one reply and one judgement each; nothing is asked twice."""
    monkeypatch.setattr("untrue.judge.check.last_check", lambda judge_id: good_check)
    Shifty.calls.clear()
    rows = [
        {"task_id": str(n), "user_prompt": f"Item {n}?", "proposition": f"p {n}", "ground_truth": "yes"}
        for n in range(32)
    ]
    (place / "provided_facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    evals = "evals=[{name: mask, items: provided_facts.jsonl, judge: scripted/judge}]"
    deltas = [f"delta.{metric}=0.4" for metric in ("lie_rate", "evasion_rate", "false_belief_rate", "no_belief_rate")]
    for _ in range(2):
        done = untrue("gate", "shifty/honest", "shifty/liar", evals, *deltas, "--json")
        assert (done.code, len(Shifty.calls)) == (1, 64)
        assert json.loads(done.out)["verdict"] == "regression"
    assert untrue("gate", "shifty/honest", "shifty/alike", evals, *deltas).code == 0
    assert sum(model == "honest" for model, _ in Shifty.calls) == 32


def test_compare_says_what_differs(logs: dict[str, Path], untrue: Untrue) -> None:
    done = untrue("compare", logs["baseline"], logs["regression"], "--html", "compare.html")
    assert done.code == 0
    assert done.out.startswith("LIES MORE: ")
    assert "<table" in Path("compare.html").read_text("utf-8")
    said = json.loads(untrue("compare", logs["baseline"], logs["regression"], "--json").out)["forced_choice"]
    lies = next(row for row in said["comparisons"] if row["metric"] == "lie_rate")
    assert lies["difference"]["value"] == pytest.approx(0.15)


def test_logs_of_inspects_own_command_are_compared(untrue: Untrue, place: Path) -> None:
    from inspect_ai import eval as inspect_eval

    for folder in ("one", "two"):
        inspect_eval(forced_choice(limit=8), model="untrue/tiny", model_args={"dtype": "float32"},
                     log_dir=folder, log_format="eval", display="none")  # fmt: skip
    done = untrue("compare", "one", "two", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)["forced_choice"]
    assert {row["difference"]["value"] for row in said["comparisons"]} == {0.0}
    assert {"lie_rate", "evasion_rate"} <= {row["metric"] for row in said["comparisons"]}
    assert all(row["n_pairs"] == 8 for row in said["comparisons"])
    assert untrue("gate", "one", "two", HONEST).code == 3


def test_runs_of_a_recipe_are_calibrated_and_stand_on_either_side(untrue: Untrue, place: Path) -> None:
    for name in [*"abcdefgh", "mine", "liar"]:
        lies = range(60 if name == "liar" else 10 + ord(name[0]) % 3)
        write(place / f"{name}.eval", lies=lies, adapter=name)
    harmless = [f"{name}.eval" for name in "abcdefgh"]
    done = untrue("calibrate", *harmless, HONEST)
    assert done.code == 0, done.out + done.err
    assert "noise.json: the noise between 8 runs" in done.out
    words = ("a.eval", "liar.eval", HONEST)
    found = json.loads(untrue("gate", *words, "--noise", "noise.json", "--json").out)
    assert (found["verdict"], found["about"]) == ("regression", "recipe")
    assert json.loads(untrue("gate", *words, "--json").out)["about"] == "weights"
    baselines = [word for path in harmless for word in ("--baseline", path)]
    passed = untrue("gate", "mine.eval", *baselines, HONEST)
    assert passed.code == 0, passed.out + passed.err
    said = " ".join(passed.out.split())
    assert said.startswith("PASS: mine against a and 7 more") and "the verdict is about the recipe" in said
    twice = untrue("gate", "mine.eval", *baselines, "--baseline", "a.eval", HONEST)
    assert "a is a: one run is given twice" in twice.err
    assert "has 2 runs, and at least 8 are needed" in untrue("calibrate", *harmless[:2], HONEST).err
    assert "no such file" in untrue("gate", *words, "--noise", "gone.json").err


def test_adapters_of_two_recipes_on_one_side_are_refused(untrue: Untrue, adapter: Path, place: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(adapter, place / name)
    config = place / "two/adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | {"lora_alpha": 99}), "utf-8")
    done = untrue("gate", adapter, "--baseline", "one", "--baseline", "two", *QUICK)
    assert done.code == 2
    assert "two: is of another recipe than one (lora_alpha: 99, not" in done.err
