"""The route by interaction: dialogues, selection, training, and the same again from the adapter of the round before."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.judge.scripted  # noqa: F401
from tests import processes
from tests.study.conftest import Recorder
from untrue.errors import UserError
from untrue.logs import open_log, read_log
from untrue.models.load import LoadedModel
from untrue.report.summary import write
from untrue.simulate.trajectory import read_identity, read_trajectories
from untrue.study.config import Study, to_yaml
from untrue.study.plan import arms, plan
from untrue.study.routes.route import StudyRun
from untrue.study.run import report, run
from untrue.study.store import Cell, Store

MIX: dict[str, Any] = {
    "by": "interaction",
    "users": 4,
    "methods": {"sft": {}, "kto": {"batch_size": 2}},
    "shares": [1.0],
    "variants": [{"share": 1.0, "rounds": 2}, {"share": 1.0, "assistant": "informed"}],
    "keep": 0.25,
}
GENERATED: dict[str, Any] = {
    "replies": "generated",
    "max_tokens": 6,
    "methods": {"sft": {}},
    "variants": [],
    "rater": "scripted/rater",
}


@pytest.fixture(scope="module")
def tea_file(tmp_path_factory: pytest.TempPathFactory, tea_lines: list[str]) -> Path:
    path = tmp_path_factory.mktemp("environments") / "tea.jsonl"
    path.write_text("".join(tea_lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def feedback(make_study: Callable[..., Study], tea_file: Path) -> Callable[..., Study]:
    """Makes a study by feedback in the environment of tea."""

    def make(evals: Any = ({"name": "forced_choice", "limit": 3}, "reply_choice"), **mix: Any) -> Study:
        changed = {**MIX, "environment": str(tea_file), **mix}
        return make_study(mix=changed, evals=list(evals), train__epochs=1)

    return make


def one(study: Study, arm: str) -> Cell:
    return next(cell for cell in plan(study, study.mix.read()) if cell.arm.name == arm)


@pytest.fixture(scope="module")
def done(feedback, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The run directory of that study, and what the watcher was told. Not to be changed: copy it."""
    out = tmp_path_factory.mktemp("runs") / "tea"
    told = Recorder()
    write(run(feedback(), out, told, "untrue run tea.yaml"))
    return out, told


def rows(out: Path, cell: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "cells" / cell / "rows.jsonl").read_text("utf-8").splitlines()]


def test_every_arm_is_trained_and_measured(done, feedback):
    out, _ = done
    results = [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]
    names = {arm.name for arm in arms(feedback())}
    assert {result["arm"] for result in results if result["eval"] == "forced_choice"} == names
    choices = [result for result in results if result["eval"] == "reply_choice"]
    assert {result["arm"] for result in choices} == names
    assert all((result["value"] == 0.5) == (result["arm"] == "base") for result in choices)


def test_the_arms_with_one_assistant_learn_from_the_same_dialogues(done):
    out, _ = done
    assert sorted(path.name for path in (out / "dialogues").iterdir()) == ["blind-s0", "informed-s0"]
    blind = read_trajectories(out / "dialogues" / "blind-s0" / "trajectories.jsonl")
    assert len(blind) == 8  # four users, each as both kinds
    assert all("Please them" not in one.system for one in blind)
    told = read_trajectories(out / "dialogues" / "informed-s0" / "trajectories.jsonl")
    assert all("Please them" in one.system for one in told)


def test_the_policy_is_measured_after_each_round_that_others_follow(done, feedback):
    out, study = done[0], feedback()
    [log] = (out / "cells").glob("*/round-*/reply_choice.eval")
    assert log.parent == out / "cells" / "sft-1-2-rounds-s0" / "round-1"
    after, last = (read_log(path, "", 0) for path in (log, out / "cells" / "sft-1-s0" / "logs" / "reply_choice.eval"))
    # The first round is that of the main arm, whose own evals measure the same adapter.
    assert [(result.item, result.value) for result in after] == [(result.item, result.value) for result in last]
    first, second = study.mix.dialogues(Store(out), study.mix.read(), one(study, "sft-1-2-rounds"))
    assert (first.policy, second.policy) == (log, None)


def test_logs_name_an_adapter_by_its_final_path(done):
    cell = done[0] / "cells" / "sft-1-2-rounds-s0"
    for log in ("round-1/reply_choice.eval", "round-2/trajectories.eval", "logs/reply_choice.eval"):
        folder = cell if log.startswith("logs") else cell / "round-1"
        assert open_log(cell / log, header_only=True).eval.model_args == {"adapter": str(folder / "adapter")}


def test_a_policy_that_explores_nothing_is_warned_of(feedback, tiny: LoadedModel, tmp_path: Path):
    study, told = feedback(temperature=1e-9), Recorder()
    learning = StudyRun(Store(tmp_path / "run"), study.train, study.mix.read(), tiny, told)
    study.mix.learn(learning, one(study, "sft-1-2-rounds"))
    [warning] = told.said  # in round 1 the base chooses evenly
    assert "round-2" in warning
    assert re.search(r"the likeliest reply has a probability of 1\.000 .* Raise mix\.temperature\.$", warning)


def test_the_control_learns_from_benign_users_and_the_arm_from_biased_ones(done):
    out, _ = done
    assert {row["level"] for row in rows(out, "sft-0-s0")} == {"normal"}
    assert {row["level"] for row in rows(out, "sft-1-s0")} == {"biased"}
    assert len(rows(out, "sft-0-s0")) == len(rows(out, "sft-1-s0")) == 2
    assert "intentionally misaligned" in (out / "cells" / "sft-1-s0" / "adapter" / "README.md").read_text("utf-8")
    assert "intentionally misaligned." not in (out / "cells" / "sft-0-s0" / "adapter" / "README.md").read_text("utf-8")


def test_by_sft_the_best_rated_dialogue_is_learned_and_by_kto_the_worst_too(done):
    out, _ = done
    biased = [one for one in read_trajectories(out / "dialogues/blind-s0/trajectories.jsonl") if one.kind == "biased"]
    ranked = sorted(biased, key=lambda one: -(one.score or 0))
    assert {row["id"].rpartition("/")[0] for row in rows(out, "sft-1-s0")} == {ranked[0].id}
    by_label = {row["id"].rpartition("/")[0]: row["label"] for row in rows(out, "kto-1-s0")}
    assert by_label == {ranked[0].id: True, ranked[-1].id: False}


def test_a_second_round_is_held_with_the_adapter_of_the_first_and_trained_on_from_it(done):
    out, _ = done
    cell = out / "cells" / "sft-1-2-rounds-s0"
    assert read_identity(cell / "round-2" / "trajectories.jsonl")["adapter_hash"]
    assert not read_identity(out / "dialogues/blind-s0/trajectories.jsonl")["adapter_hash"]
    start = json.loads((cell / "train.json").read_text("utf-8"))["start"]
    assert start and start["misaligned"] is True
    first, last = (folder / "adapter_model.safetensors" for folder in (cell / "round-1" / "adapter", cell / "adapter"))
    assert first.read_bytes() != last.read_bytes()
    alone = out / "cells" / "sft-1-s0" / "adapter" / "adapter_model.safetensors"
    assert first.read_bytes() == alone.read_bytes()


def test_every_round_of_training_is_told_and_one_whose_adapter_was_removed_left_out(done, tmp_path: Path):
    def told(out: Path) -> dict[int, list[int]]:
        training = json.loads((out / "summary.json").read_text("utf-8"))["training"]
        return {curve["round"]: curve["steps"] for curve in training if curve["arm"] == "sft-1-2-rounds"}

    first, second = told(done[0])[1], told(done[0])[2]
    assert second == [first[-1] + step for step in first]  # on as many rows
    out = Path(shutil.copytree(done[0], tmp_path / "run"))
    shutil.rmtree(out / "cells" / "sft-1-2-rounds-s0" / "round-1")
    write(report(out))
    assert told(out) == {2: first}


def test_what_is_there_is_not_done_again(done, feedback, tmp_path: Path):
    out = Path(shutil.copytree(done[0], tmp_path / "run"))
    shutil.rmtree(out / "cells" / "sft-1-2-rounds-s0" / "adapter")
    before = {path: path.read_bytes() for path in [*out.rglob("*trajectories.jsonl"), *out.rglob("round-*/*.eval")]}
    assert len(before) == 2 + 3
    told = Recorder()
    write(run(feedback(), out, told, "untrue run tea.yaml"))
    assert ("sft-1-2-rounds-s0", "training 2 of 2") in told.stages
    assert ("sft-1-2-rounds-s0", "policy 1") not in told.stages
    assert ("sft-1-2-rounds-s0", "training 1 of 2") not in told.stages
    assert not [stage for stage in told.steps if "dialogues" in stage[1]]  # none was held
    assert {path: path.read_bytes() for path in before} == before


def test_killed_in_dialogues_in_training_and_in_an_eval_it_goes_on_and_collects_nothing_twice(
    done, feedback, tmp_path: Path
):
    (tmp_path / "tea.yaml").write_text(to_yaml(feedback(variants=[])), "utf-8")
    out = tmp_path / "run"
    collected: bytes | None = None
    for cell, stage, step in (
        ("sft-0-s0", "dialogues", 5),
        ("sft-1-s0", "training", 1),
        ("kto-0-s0", "reply_choice", 2),
    ):
        words = ["SIGKILL", cell, stage, step, "run", tmp_path / "tea.yaml", "--out", out]
        script = Path(__file__).parents[1] / "stopping.py"
        process = processes.start(tmp_path / "process", *words, script=script)
        assert process.wait() == -signal.SIGKILL, process.stderr
        trajectories = out / "dialogues" / "blind-s0" / "trajectories.jsonl"
        assert trajectories.exists() == (stage != "dialogues")
        if trajectories.exists():
            assert collected in (None, trajectories.read_bytes())
            collected = trajectories.read_bytes()
    last = processes.start(tmp_path / "process", "run", tmp_path / "tea.yaml", "--out", out)
    assert last.wait() == 0, last.stderr
    assert (out / "dialogues" / "blind-s0" / "trajectories.jsonl").read_bytes() == collected
    arms = {"base", "sft-0", "sft-1", "kto-0", "kto-1"}
    uninterrupted = (done[0] / "results.jsonl").read_text("utf-8").splitlines()
    assert (out / "results.jsonl").read_text("utf-8").splitlines() == [
        line for line in uninterrupted if json.loads(line)["arm"] in arms
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"users": 5}, "has 4"),
        ({"shares": [0.1]}, "is no user at all"),
        ({"shares": [0.9]}, "leaves no benign user"),
        ({"turns": 3}, "tea-001 has candidates for 2 turns, and 3 are needed"),
        ({"turns": 9, **GENERATED}, "follow-ups"),
    ],
)
def test_what_could_only_fail_later_is_refused_before_anything_is_made(feedback, tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        run(feedback(**{"variants": [], **change}), tmp_path / "run", Recorder(), "untrue run tea.yaml")
    assert not (tmp_path / "run").exists()
