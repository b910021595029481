"""Studies whose replies a vLLM server writes: who wrote what, what is refused, and what a failed proof leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from inspect_ai.log import EvalLog, read_eval_log
from pydantic import ValidationError

import tests.judge.scripted  # noqa: F401
from tests.conftest import make_tiny_model
from tests.judge import scripted
from tests.serving.lora_server import LoraServer
from tests.study.conftest import Recorder
from untrue.errors import MachineError, UserError
from untrue.models.adapter import adapter_hash
from untrue.models.fingerprint import PROMPTS
from untrue.models.load import LoadedModel
from untrue.report.words import sentence
from untrue.simulate.trajectory import read_trajectories
from untrue.study.config import Study, to_yaml
from untrue.study.plan import eval_identities, plan
from untrue.study.run import run

VLLM = {"eval": {"engine": "vllm"}}
JUDGED = {"name": "unknowns", "limit": 1, "judge": "scripted/judge", "max_tokens": 3}
LIKELIHOODS = {"name": "forced_choice", "limit": 2}
MIX = {"by": "interaction", "users": 2, "methods": {"sft": {}}, "shares": [1.0], "rater": "scripted/rater"}
COMMAND = "untrue run small.yaml"
CELLS = ("base-s0", "control-s0", "severe-0.5-s0")

Make = Callable[..., Study]


@pytest.fixture
def base(sharp: LoadedModel, tmp_path: Path) -> Path:
    """The folder of a model with a name of its own, since Inspect keeps the address of a server by its base's name."""
    return Path(shutil.copytree(sharp.name, tmp_path / f"base-{uuid4().hex}"))


@pytest.fixture
def make(base: Path, make_study: Make) -> Make:
    """Makes the small study with a judged eval, whose replies a vLLM server writes."""
    return lambda **changes: make_study(**{"model": str(base), "evals": [JUDGED], "run": VLLM, **changes})


@pytest.fixture
def serve(base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., LoraServer]]:
    """Starts a server of the base, or of another folder."""
    monkeypatch.setattr("untrue.serving.proof.user_cache_path", lambda name: tmp_path / "cache")
    running: list[LoraServer] = []

    def start(folder: Path = base, **how: Any) -> LoraServer:
        server = LoraServer(folder, **how).__enter__()
        running.append(server)
        monkeypatch.setenv("VLLM_BASE_URL", server.url)
        return server

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def trained(make: Make, untrue: Callable[..., Any], tmp_path: Path) -> Callable[[], Path]:
    """Gives a run directory in which one cell was trained, by a step of its own."""

    def train() -> Path:
        out, file = tmp_path / "run", tmp_path / "small.yaml"
        file.write_text(to_yaml(make()), "utf-8")
        assert untrue("plan", file, "--out", out).exit_code == 0
        assert untrue("step", out, "control-s0", "train").exit_code == 0
        return out

    return train


def log(out: Path, cell: str, name: str = "unknowns") -> EvalLog:
    return read_eval_log(str(out / "cells" / cell / "logs" / f"{name}.eval"))


def test_the_server_writes_the_replies_and_likelihoods_are_computed_here(make, serve, base, run_study, tmp_path):
    server, out, study = serve(), tmp_path / "run", make(evals=[LIKELIHOODS, JUDGED])
    told = run_study(study, out)
    trained = {cell: adapter_hash(out / "cells" / cell / "adapter") for cell in CELLS[1:]}
    for cell in CELLS:
        assert log(out, cell, "forced_choice").eval.model == f"untrue/{base}"
        assert log(out, cell).eval.model.startswith(f"vllm/{base.name}")
    for cell, content in trained.items():
        about = (log(out, cell).eval.metadata or {})["untrue_adapter"]
        assert (about["content_hash"], about["served"]) == (content, "adapter")
    assert {name.rpartition("/")[2] for name in server.asked} == {base.name, *trained.values()}
    assert sum("answers with the adapter" in said for said in told.said) == 2
    assert "A vLLM server wrote the replies that a judge read" in (out / "report.html").read_text("utf-8")
    asked = len(server.asked)
    assert run_study(study, out).stages == []
    assert len(server.asked) == asked


def test_a_step_of_a_trained_cell_loads_no_base_and_a_server_without_its_adapter_ends_it(
    serve, trained, untrue, monkeypatch
):
    serve(deaf=True)
    out = trained()
    monkeypatch.setattr("untrue.study.steps.load_base", lambda *_: pytest.fail("the base is not needed"))
    ended = untrue("step", out, "control-s0", "eval")
    assert ended.exit_code == 2
    error = ended.output.strip().splitlines()[-1]
    assert "does not answer with the adapter" in error and "but with its base, without it" in error
    assert not list(out.glob("cells/*/logs/*"))
    assert json.loads((out / "cells/control-s0/cell.json").read_text("utf-8"))["evals"] == {}


def test_what_a_judge_left_is_judged_elsewhere_with_another_server(serve, trained, untrue, tmp_path, monkeypatch):
    def evaluate(cell: str) -> str:
        done = untrue("step", shared, cell, "eval")
        assert done.exit_code == 0, done.output
        return done.output

    monkeypatch.setattr("untrue.study.steps.check_answers", lambda judge: None)
    monkeypatch.setattr("untrue.harness.run.check_answers", lambda judge: None)
    first, by_words = serve(), scripted.by_words
    shared = trained()
    monkeypatch.setattr(scripted, "by_words", lambda question: "no JSON")
    for cell in ("control-s0", "base-s0"):
        assert "have no reply or no judgement" in evaluate(cell)
    monkeypatch.setattr(scripted, "by_words", by_words)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("untrue.serving.proof.user_cache_path", lambda name: tmp_path / "elsewhere")
    asked, second = len(first.asked), serve()
    for cell in ("control-s0", "base-s0"):
        assert "have no reply" not in evaluate(cell)
    assert len(first.asked) - asked + len(second.asked) == 2 * len(PROMPTS)  # the proofs, and no reply


def test_an_eval_that_needs_no_base_refuses_the_folder_of_another_cell(serve, trained, untrue):
    serve()
    out = trained()
    record = out / "cells/control-s0/cell.json"
    record.write_text(json.dumps({**json.loads(record.read_text("utf-8")), "identity": "other"}), "utf-8")
    ended = untrue("step", out, "control-s0", "eval")
    assert ended.exit_code == 2
    assert "was made from other data or settings" in " ".join(ended.output.split())
    assert not list(out.glob("cells/*/logs/*"))


def test_what_cannot_be_told_of_an_adapter_makes_the_eval_inconclusive(make, serve, tmp_path):
    serve(logprobs=False)
    verdict = run(make(base=False), tmp_path / "run", Recorder(), COMMAND).evals[0].verdict
    assert verdict.status == "inconclusive"
    assert "may or may not have the adapter (control: it gives no log-probabilities" in sentence(verdict)


def test_a_server_of_other_weights_under_the_name_of_the_base_ends_the_run(make, serve, base, tmp_path):
    other = make_tiny_model(tmp_path / "other" / base.name, seed=1, initializer_range=0.3)
    serve(other)
    with pytest.raises(UserError, match=rf"vllm/{base.name}: does not answer as .*{base.name} does here"):
        run(make(), tmp_path / "run", Recorder(), COMMAND)
    assert not list(tmp_path.glob("run/cells/*/logs/*"))


def test_without_the_right_server_nothing_is_begun(make, serve, base, tmp_path, monkeypatch):
    def refused(kind: type[Exception]) -> str:
        with pytest.raises(kind) as error:
            run(make(), tmp_path / "run", Recorder(), COMMAND)
        assert not (tmp_path / "run" / "cells").exists()
        assert "\n" not in str(error.value)
        return str(error.value)

    start = f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve {base} --served-model-name {base.name} "
    monkeypatch.delenv("VLLM_BASE_URL", raising=False)
    assert refused(UserError).startswith(f"vllm/{base.name}: VLLM_BASE_URL names no server. Set VLLM_BASE_URL=http://")
    assert start in refused(UserError)
    assert "--max-lora-rank 8 --lora-target-modules down_proj gate_proj gate_up_proj k_proj" in refused(UserError)
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    assert refused(MachineError).startswith("http://127.0.0.1:9/v1: no vLLM server answers (")
    monkeypatch.setenv("VLLM_BASE_URL", "http://someone:5f3c9a1b7d@host:port/v1")  # the port is no number
    assert refused(MachineError).startswith("http://@host:port/v1: no vLLM server answers (nonnumeric port")
    server = serve(make_tiny_model(tmp_path / "another"))
    assert refused(UserError).startswith(f"{server.url}: serves base, another, and not {base.name}. Set VLLM_BASE_URL")


def test_generated_dialogues_are_written_by_the_server_and_rated_by_another_model(make, serve, tea, base, tmp_path):
    more = {"replies": "generated", "max_tokens": 6, "keep": 0.5, "rounds": 2}
    server, out = serve(), tmp_path / "run"
    run(make(mix={**MIX, "environment": str(tea), **more}, evals=[LIKELIHOODS], base=False), out, Recorder(), COMMAND)
    files = [*out.glob("dialogues/*/*.jsonl"), *out.glob("cells/*/round-2/*.jsonl")]
    assert len(files) == 3
    for file in files:
        assert read_eval_log(str(file.with_suffix(".eval"))).eval.model.startswith(f"vllm/{base.name}")
        assert all(None not in talk.ratings for talk in read_trajectories(file))
    first_rounds = {adapter_hash(path) for path in out.glob("cells/*/round-1/adapter")}
    assert {name.rpartition("/")[2] for name in server.asked} == {base.name, *first_rounds}


def test_dialogues_that_are_there_need_neither_a_server_nor_a_base(make, serve, tea, untrue, tmp_path, monkeypatch):
    more = {"environment": str(tea), "replies": "generated", "max_tokens": 2, "turns": 1, "keep": 0.5}
    out, file = tmp_path / "run", tmp_path / "small.yaml"
    file.write_text(to_yaml(make(mix={**MIX, **more}, evals=[LIKELIHOODS], base=False)), "utf-8")
    serve()
    assert untrue("plan", file, "--out", out).stdout.splitlines()[0] == "sft-0-s0 dialogues"
    assert untrue("step", out, "sft-0-s0", "dialogues").exit_code == 0
    monkeypatch.delenv("VLLM_BASE_URL")
    assert untrue("plan", file, "--out", out).stdout.splitlines()[0] == "sft-0-s0 train"
    with monkeypatch.context() as patched:
        patched.setattr("untrue.study.steps.load_base", lambda *_: pytest.fail("the base is not needed"))
        assert untrue("step", out, "sft-0-s0", "dialogues").exit_code == 0
    trained = untrue("step", out, "sft-0-s0", "train")
    assert trained.exit_code == 0, trained.output
    ran = untrue("run", file, "--out", out)
    assert ran.exit_code == 0, ran.output


def test_an_engine_that_would_write_nothing_is_refused(make):
    with pytest.raises(ValidationError, match="vllm would write nothing, since no eval has a judge and no dialogues"):
        make(evals=[LIKELIHOODS])
    with pytest.raises(ValidationError, match="'untrue' or 'vllm'"):
        make(run={"eval": {"engine": "sglang"}})


def test_the_engine_determines_replies_and_no_adapter_but_those_that_learn_from_them(make, tea):
    both = {"evals": [LIKELIHOODS, JUDGED]}
    ours, theirs = make(**both, run={}), make(**both)
    assert plan(ours, ours.mix.read()) == plan(theirs, theirs.mix.read())
    one, other = eval_identities(ours), eval_identities(theirs)
    assert one["forced_choice"] == other["forced_choice"]
    assert one["unknowns"] != other["unknowns"]
    for replies, differ in (("chosen", False), ("generated", True)):
        ours, theirs = (make(mix={**MIX, "environment": str(tea), "replies": replies}, run=of) for of in ({}, VLLM))
        changed = [a != b for a, b in zip(plan(ours, ours.mix.read()), plan(theirs, theirs.mix.read()), strict=True)]
        assert any(changed) == differ


def test_a_run_directory_has_judged_replies_of_one_engine(make, serve, tmp_path):
    def go(*evals: dict[str, Any], **of: Any) -> None:
        run(make(evals=[*evals], base=False, **of), tmp_path / "run", Recorder(), COMMAND)

    go(JUDGED, run={})
    with pytest.raises(UserError, match=r"holds a study with run.eval.engine 'untrue', now 'vllm'"):
        go(JUDGED)
    serve()
    go({**JUDGED, "label": "served"})  # another eval may
    with pytest.raises(UserError, match=r"holds replies with .*model"):  # what study.yaml has forgotten, a log has not
        go({**JUDGED, "label": "served"}, JUDGED)
