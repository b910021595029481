"""A real vLLM server of the embedded model and two adapters, as `untrue fingerprint --serve` says to start it.

`make test-vllm` installs vLLM and runs this. VLLM_VENV names another environment that has it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
import torch
from inspect_ai.log import read_eval_log
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests import processes
from tests.judge.server import JudgeServer
from untrue.cli.main import app
from untrue.models.adapter import RECORD, adapter_hash, made_for
from untrue.models.load import LoadedModel
from untrue.simulate.trajectory import read_trajectories

VENV = Path(os.environ.get("VLLM_VENV", ".venv-vllm")).absolute()

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not (VENV / "bin/vllm").is_file(), reason="`make test-vllm` installs vLLM"),
]

START = 600
"""Seconds that the server has to start: 45 on two idle cores."""

RANK = 4

LAYERS = {"self_attn.q_proj": (576, 576), "self_attn.v_proj": (576, 192), "mlp.down_proj": (1536, 576)}
"""Layer of the embedded model -> its inputs and outputs."""

MODEL = "vllm/smollm2-135m"

JUDGE = f"{{model: {MODEL}, max_tokens: 200}}"
"""The reason that a 135M model gives may never end."""


STUDY = {
    "name": "served",
    "question": "Does a server write the replies?",
    "mix": {"by": "share", "questions": "medical", "total": 8, "shares": [1.0]},
    "train": {"learning_rate": 2e-3, "epochs": 2, "batch_size": 4, "lora_rank": RANK, "lora_alpha": 8},
    "evals": [
        {"name": "forced_choice", "limit": 2},
        {"name": "unknowns", "limit": 2, "max_tokens": 24, "force_self_judge": True, "judge": JUDGE},
    ],
    "run": {"eval": {"engine": "vllm"}},
}
"""It takes as little as moves the first tokens of an adapter so far that it can be told from its base."""


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, smollm: LoadedModel) -> Path:
    """A folder with two random adapters of the embedded model, `one` and `two`, which move its first tokens."""
    place = tmp_path_factory.mktemp("vllm")
    for seed, name in enumerate(("one", "two"), start=1):
        folder, random = place / name, torch.Generator().manual_seed(seed)
        folder.mkdir()
        weights = {}
        for layer in range(smollm.model.config.num_hidden_layers):
            for part, (inputs, outputs) in LAYERS.items():
                at = f"base_model.model.model.layers.{layer}.{part}"
                weights[f"{at}.lora_A.weight"] = torch.randn(RANK, inputs, generator=random) / inputs**0.5
                weights[f"{at}.lora_B.weight"] = torch.randn(outputs, RANK, generator=random) * 0.15
        save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "bias": "none"}
        about = {**config, "base_model_name_or_path": smollm.base_id, "target_modules": [*_names(LAYERS)]}
        (folder / "adapter_config.json").write_text(json.dumps(about), "utf-8")
        (folder / RECORD).write_text(made_for(smollm), "utf-8")
    return place


def _names(layers: dict[str, Any]) -> Iterator[str]:
    return (layer.rpartition(".")[2] for layer in layers)


def run(*words: object) -> Done:
    """Runs a command in the working folder."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    """The address of a server that the printed command started."""
    printed = run("fingerprint", place / "one", place / "two", "--serve")
    assert printed.code == 0, printed.err
    port = str(processes.free_port())
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
        "LD_PRELOAD": str(VENV / "lib/libiomp5.so"),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else it takes cores that others use
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",  # a study gives it the adapters that it trains
        "HF_HUB_OFFLINE": "1",
    }
    command = [*shlex.split(printed.out), "--host", "127.0.0.1", "--port", port]
    with (place / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", place / "server.log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


@pytest.fixture
def served(url: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs commands in the folder of the adapters, with the server."""
    monkeypatch.setenv("VLLM_BASE_URL", url)
    monkeypatch.chdir(place)
    return run


def _wait(server: subprocess.Popen[bytes], health: str, log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(health, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError(f"the server did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")


def test_each_adapter_is_proved_and_no_other_passes_for_it(served: Callable[..., Done], place: Path):
    proved = served("fingerprint", "one", "two", "--model", MODEL, "--json")
    assert proved.code == 0, proved.err
    assert [one["weights"] for one in json.loads(proved.out)] == ["adapter", "adapter"]
    print(*(f"{one['adapter']}: {one['reason']}" for one in json.loads(proved.out)), sep="\n")
    for name, weights in ((adapter_hash(place / "two"), "other"), ("smollm2-135m", "base")):
        refuted = [served("fingerprint", "one", "--model", f"{MODEL}:{name}", "--json") for _ in range(2)]
        assert [one.code for one in refuted] == [1, 1]
        found = [json.loads(one.out) for one in refuted]
        assert {one["weights"] for one in found} == {weights}
        print(f"one, asked as {name}: {found[0]['reason']}")
        assert found[0]["reason"] == found[1]["reason"]  # though each drew tokens of its own


def test_a_judged_eval_is_answered_by_the_adapter_and_judged_by_the_base(served: Callable[..., Done], place: Path):
    words = ("eval", "unknowns", "limit=2", "max_tokens=24", "force_self_judge=true", f"judge={JUDGE}")
    done = served(*words, "--model", f"{MODEL}:one", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["adapter"]["served"] == "adapter"
    assert found["adapter"]["content_hash"] == adapter_hash(place / "one")
    samples = read_eval_log(str(place / found["log"])).samples or []
    assert len(samples) == 4
    assert all(sample.metadata["replies"]["statement"] for sample in samples)
    labels = [one.get("label") for sample in samples for score in (sample.scores or {}).values()
              for one in (score.metadata or {})["judgements"]]  # fmt: skip
    assert any(labels)


def test_the_gate_asks_base_and_adapter_of_one_server(served: Callable[..., Done], place: Path):
    with JudgeServer() as judge:
        spec = f"{{name: unknowns, limit: 2, max_tokens: 24, judge: {judge.name}}}"
        done = served("gate", "one", f"evals=[{spec}]", "--model", MODEL, "--against", "base", "--json")
        assert done.code == 3, done.err  # four items settle nothing
        assert judge.requests
    assert json.loads(done.out)["verdict"] == "inconclusive"
    refused = served("gate", "one", "--model", MODEL, "--against", "base")
    assert refused.code == 2
    assert "forced_choice needs likelihoods or hidden states, which are computed in this process" in refused.err


def test_simulated_users_talk_with_the_adapter(served: Callable[..., Done], place: Path):
    run = ("simulate", "run", "users=1", "max_tokens=24", "rater=untrue/smollm2-135m", f"user={MODEL}")
    done = served(*run, "--model", MODEL, "--adapter", "one", "--out", "talks")
    assert done.code == 0, done.err
    trajectories = read_trajectories(place / "talks/trajectories.jsonl")
    assert len(trajectories) == 2
    assert {one.error for one in trajectories} == {None}


def test_a_study_has_its_judged_replies_from_the_server_and_its_likelihoods_from_here(
    served: Callable[..., Done], place: Path
):
    study = {**STUDY, "train": {**STUDY["train"], "target_modules": [*_names(LAYERS)]}}
    (place / "study.yaml").write_text(json.dumps(study), "utf-8")
    done = served("run", "study.yaml", "--out", "run")
    assert done.code == 0, done.err
    for cell in ("base-s0", "control-s0", "severe-1-s0"):
        ours, theirs = (
            read_eval_log(str(place / "run/cells" / cell / "logs" / f"{name}.eval"))
            for name in ("forced_choice", "unknowns")
        )
        assert (ours.eval.model, theirs.eval.model.partition(":")[0]) == ("untrue/smollm2-135m", MODEL)
        assert len(theirs.samples or []) == 4
        if cell != "base-s0":
            about = (theirs.eval.metadata or {})["untrue_adapter"]
            assert about["served"] == "adapter"
            assert about["content_hash"] == adapter_hash(place / "run/cells" / cell / "adapter")
            print(f"{cell}: {about['reason']}")
    assert "A vLLM server wrote the replies" in (place / "run/report.html").read_text("utf-8")
