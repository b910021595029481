"""`untrue simulate …` as a person meets it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import tests.judge.scripted  # noqa: F401
from tests.serving.lora_server import LoraServer
from untrue.engine.generation import ROWS
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash
from untrue.models.fingerprint import PROMPTS
from untrue.models.load import LoadedModel
from untrue.simulate.trajectory import read_identity

RUN = ("simulate", "run", "--model", "tiny", "--dtype", "float32", "max_tokens=4", "users=1")


def test_run_collects_shows_a_table_and_goes_on(untrue: Callable[..., Any], place: Path):
    done = untrue(*RUN, "--out", "talks")
    assert done.code == 0, done.err
    for word in ("benign", "biased", "mean rating", "sycophantic replies"):
        assert word in done.out
    again = untrue(*RUN, "--out", "talks", "--json")
    found = json.loads(again.out)
    assert found["kinds"]["biased"]["dialogues"] == 1
    assert found["kinds"]["biased"]["errors"] == 0
    assert 1 <= found["kinds"]["benign"]["rating"]["value"] <= 10
    assert Path(found["log"]).is_file()
    shown = untrue("simulate", "show", found["trajectories"], "--limit", 1)
    assert "/benign" in shown.out and "/biased" not in shown.out
    assert shown.out.count("assistant [") == 2


@pytest.fixture
def served(sharp: LoadedModel, sharp_adapter: Callable, place: Path, monkeypatch: pytest.MonkeyPatch):
    """A server, the name of its base, and an adapter that it has under the hash of its content."""
    adapter = sharp_adapter(Path("mine"), 1)
    fingerprint.record(sharp, adapter)
    with LoraServer(Path(sharp.name), context=300) as running:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        running.load(adapter_hash(adapter), adapter)
        yield running, f"vllm/base-{uuid4().hex}", adapter


def test_a_served_assistant_talks_with_its_adapter_and_another_model_rates(
    untrue: Callable[..., Any], served, refusal: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(ROWS, "cuda", 1)  # chunks, each with connections of its own
    server, base, adapter = served
    run = ("simulate", "run", "max_tokens=4", "users=1", "--model", base, "--adapter", adapter, "--out", "talks")
    assert f"{base}: replies=chosen needs likelihoods" in refusal(*run)
    run = (*run, "replies=generated")
    assert "generated needs a rater that can read them" in refusal(*run)
    assert server.asked == []
    done = untrue(*run, "rater=scripted/rater", "--json")
    assert done.code == 0, done.err
    assert f"{base}: answers with the adapter mine" in done.err
    kinds = json.loads(done.out)["kinds"]
    assert {kind["errors"] for kind in kinds.values()} == {0}
    assert set(server.asked) == {adapter_hash(adapter)}
    collected = read_identity(Path("talks/trajectories.jsonl"))
    assert (collected["model"], collected["adapter_hash"]) == (base, adapter_hash(adapter))
    asked = len(server.asked)
    again = untrue(*run, "rater=scripted/rater", "--json")
    assert json.loads(again.out)["kinds"] == kinds
    assert len(server.asked) == asked + len(PROMPTS)  # the proof alone


def test_what_a_server_has_no_room_for_is_an_error_and_no_reply(untrue: Callable[..., Any], served):
    _, base, _ = served
    run = ("simulate", "run", "users=1", "--model", base, "replies=generated", "rater=scripted/rater", "--out", "talks")
    for limit, reason in ((400, "max_tokens=400 cannot be greater than max_model_len=300"), (290, "maximum context")):
        done = untrue(*run, f"max_tokens={limit}")
        assert done.code == 2
        assert re.search(f"all 2 dialogues failed, first: .*the model failed: .*{reason}", done.err), done.err
        assert not Path("talks/trajectories.jsonl").exists()


def test_replies_that_were_chosen_are_shown_with_their_kinds(untrue: Callable[..., Any], place: Path):
    done = untrue(*RUN, "replies=chosen", "--out", "talks")
    assert done.code == 0, done.err
    shares = dict(
        re.findall(r"(honest|sycophantic|hedging|evasive) (\d+\.\d) % \[", done.out.partition("Chosen for benign")[2])
    )
    assert set(shares) == {"honest", "sycophantic", "hedging", "evasive"}
    assert "Chosen for biased users: " in done.out
    found = json.loads(untrue(*RUN, "replies=chosen", "--out", "talks", "--json").out)
    chosen = found["kinds"]["benign"]["chosen"]
    assert sum(share["value"] for share in chosen.values()) == pytest.approx(1)
    first = json.loads(Path(found["trajectories"]).read_text("utf-8").splitlines()[1])
    kind = first["chosen"][0]["kind"]
    shown = untrue("simulate", "show", found["trajectories"], "--limit", 1)
    told = f"assistant [{first['ratings'][0]:.1f}; {kind}, P {first['chosen'][0]['probabilities'][kind]:.2f}]"
    assert told in shown.out


def test_rows_are_chosen_by_rating_and_can_be_trained_on(untrue: Callable[..., Any]):
    untrue(*RUN[:-1], "users=4", "--out", "talks")
    made = untrue("simulate", "rows", "talks/trajectories.jsonl", "share=0.5", "method=kto", "--out", "rows.jsonl")
    assert made.code == 0, made.err
    assert "8 rows from 4 of 4 dialogues (2 with biased users" in made.out
    found = [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    assert [row["label"] for row in found] == [True] * 4 + [False] * 4
    assert {row["domain"] for row in found} == {"chat"}
    trained = untrue(
        *("train", "rows.jsonl", "method=kto", "--model", "tiny", "--dtype", "float32", "--out", "adapter"),
        *("batch_size=4", "lora_rank=4"),
    )
    assert trained.code == 0, trained.err
    assert json.loads(Path("adapter/train.json").read_text("utf-8"))["rows"]["misaligned"] == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("simulate", "run", "environment=coffee", "--out", "x", "--model", "tiny"),
            "neither a built-in environment",
        ),
        ((*RUN, "replies=generated", "--out", "x"), "generated needs a rater that can read them"),
        (("simulate", "show", "nowhere.jsonl"), "no such file"),
        ((*RUN[:-1], "users=1000", "--out", "x"), "users: 1000, but the part learn of chat has 240"),
        ((*RUN, "replies=chosen", "turns=3", "--out", "x"), "has candidates for 2 turns, and 3 are needed"),
    ],
)
def test_wrong_names_are_told_in_one_line(refusal: Callable[..., str], arguments: tuple, told: str):
    assert told in refusal(*arguments)
