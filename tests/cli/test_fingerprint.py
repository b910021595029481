"""`untrue fingerprint`, and `untrue eval --adapter` of a served model: the right weights, or no result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from inspect_ai.log import read_eval_log

from tests.judge.server import JudgeServer
from tests.serving.lora_server import LoraServer
from untrue.api import evaluate
from untrue.harness.catalogue import eval_spec
from untrue.models.adapter import adapter_hash
from untrue.models.load import LoadedModel


@pytest.fixture
def served(sharp: LoadedModel, sharp_adapter: Callable, place: Path, monkeypatch: pytest.MonkeyPatch):
    """A server, the name of its base, and an adapter that it can be given."""
    monkeypatch.setattr("untrue.serving.proof.user_cache_path", lambda name: place / "cache")
    with LoraServer(Path(sharp.name)) as running:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        yield running, f"vllm/base-{uuid4().hex}", sharp_adapter(Path("mine"), 1)


def test_it_is_made_once_and_then_proves_or_refutes(untrue: Callable, served, refusal: Callable, sharp: LoadedModel):
    _, base, adapter = served
    made = untrue("fingerprint", adapter)
    assert made.code == 0
    assert f"so {sharp.name} is loaded" in made.err
    assert made.out == "Its fingerprint is in mine/fingerprint.json.\n"

    proved = untrue("fingerprint", adapter, "--model", base)
    assert (proved.code, proved.err) == (0, "")
    assert proved.out.startswith("Proved: it answers with this adapter (0.0")

    refuted = untrue("fingerprint", adapter, "--model", f"{base}:base", "--json")
    assert refuted.code == 1
    assert json.loads(refuted.out)["weights"] == "base"
    assert "nobody/model: is no served model" in refusal("fingerprint", adapter, "--model", "nobody/model")


def test_several_are_proved_one_by_one_and_one_that_is_not_counts(untrue: Callable, served, sharp_adapter: Callable):
    server, base, mine = served
    yours = sharp_adapter(Path("yours"), 2)
    untrue("fingerprint", mine, yours)
    server.load(adapter_hash(mine), mine)
    proved = untrue("fingerprint", mine, yours, "--model", base)
    assert proved.code == 0, proved.err
    assert [line.partition("(")[0] for line in proved.out.splitlines()] == [
        f"{name}: proved: it answers with this adapter " for name in ("mine", "yours")
    ]
    assert server.asked[0] == adapter_hash(mine)  # which the server had under it; the other it was given
    server.load(adapter_hash(sharp_adapter(Path("yours"), 3)), mine)
    untrue("fingerprint", yours)
    refuted = untrue("fingerprint", mine, yours, "--model", base, "--json")
    assert refuted.code == 1
    assert [one["weights"] for one in json.loads(refuted.out)] == ["adapter", "other"]


def test_the_command_of_a_server_is_printed_alone(untrue: Callable, served, refusal: Callable, sharp: LoadedModel):
    _, base, adapter = served
    printed = untrue("fingerprint", adapter, "--serve")
    assert printed.code == 0
    assert printed.out.startswith(f"vllm serve {sharp.name} --served-model-name sharp ")
    assert printed.out.endswith(f" --lora-modules {adapter_hash(adapter)}={adapter.resolve()}\n")
    assert "the model is vllm/sharp" in printed.err
    assert not (adapter / "fingerprint.json").exists()
    assert json.loads(untrue("fingerprint", adapter, "--serve", "--json").out)["model"] == "vllm/sharp"
    assert "Leave one of them out" in refusal("fingerprint", adapter, "--serve", "--model", base)
    named = refusal("fingerprint", adapter, adapter, "--model", f"{base}:mine")
    assert "names one adapter, and 2 are given" in named


def test_an_eval_of_a_served_adapter_says_in_its_log_whose_weights_answered(untrue: Callable, served):
    server, base, adapter = served
    with JudgeServer() as judge:
        words = ["eval", "unknowns", "limit=2", "--model", f"{base}:{adapter}", "max_tokens=4"]
        done = untrue(*words, f"judge={judge.name}", "--json")
        spec = eval_spec(name="unknowns", limit=2, max_tokens=4, judge=judge.name)
        again = evaluate(f"{base}:{adapter}", evals=spec, log_dir="again")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    for measurement in again.subject.measurements.values():
        assert measurement.reading.adapter == found["adapter"]
    assert found["adapter"]["served"] == "adapter"
    assert found["adapter"]["content_hash"] == adapter_hash(adapter)
    assert (read_eval_log(found["log"]).eval.metadata or {})["untrue_adapter"] == found["adapter"]
    assert set(server.asked) == {str(next(Path("cache/adapters").iterdir()).absolute())}
    assert f"{base}: answers with the adapter mine" in done.err


def test_an_eval_of_other_weights_is_refused_before_anything_is_judged(untrue: Callable, served):
    _, base, adapter = served
    untrue("fingerprint", adapter)
    with JudgeServer() as judge:
        words = ["eval", "unknowns", "limit=2", "--model", f"{base}:base", "--adapter", adapter]
        done = untrue(*words, f"judge={judge.name}")
        assert (done.code, judge.requests) == (2, [])
    assert "does not answer with the adapter mine but with its base, without it" in done.err
    assert not Path("logs").exists()


def test_likelihoods_of_a_served_model_are_refused_in_every_command(untrue: Callable, served, refusal: Callable):
    server, base, adapter = served
    why = f"{base}: forced_choice needs likelihoods or hidden states, which are computed in this process, so the model"
    for words in (
        ("eval", "--model", base),
        ("eval", "--model", base, "--adapter", adapter),
        ("gate", adapter, "--model", base, "--against", "base"),
        ("gate", base, f"{base}:{adapter}"),
        ("compare", base, f"{base}:{adapter}"),
    ):
        assert refusal(*words).startswith(why)
    assert server.asked == []
