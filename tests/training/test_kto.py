"""What KTO promises: replies move apart, both kinds count the same, and a round goes on from the last one's adapter."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.conftest import OWN_TEMPLATE, bring_tokenizer
from tests.training.test_sft import refusal, same
from untrue.data.rows import Row
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel, load
from untrue.training.kto import shuffled, weights
from untrue.training.run import train
from untrue.training.spec import TrainSpec


@pytest.fixture(scope="module")
def labelled(rows) -> list[Row]:
    """13 rows, 6 of them desirable; in batches of four the last is alone."""
    return [replace(row, label=not row.misaligned) for row in rows[:13]]


@pytest.fixture(scope="module")
def kto(spec: TrainSpec) -> TrainSpec:
    """Eight steps on `labelled`."""
    return spec.model_copy(update={"method": "kto", "beta": 0.5})


@pytest.fixture(scope="module")
def adapter(tiny, labelled, kto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of an uninterrupted training at seed 0."""
    folder = tmp_path_factory.mktemp("kto") / "adapter"
    train(tiny, labelled, kto, folder, 0)
    return folder


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "train.json").read_text("utf-8"))


def moved(loaded: LoadedModel, folder: Path, rows: list[Row]) -> dict[bool, float]:
    """Mean change of the replies' log-probabilities against the untrained model, by label, in nats."""
    scores = {}
    for adapter in (folder, None):
        with with_adapter(loaded, adapter) as model:
            engine = LikelihoodEngine(loaded, model)
            asked = [engine.query(row.prompt, [row.completion[0]["content"]]) for row in rows]
            scores[adapter] = [engine.score([query])[0][0].total for query in asked]
    change = [after - before for after, before in zip(scores[folder], scores[None], strict=True)]
    kinds = {kind: [one for one, row in zip(change, rows, strict=True) if row.label is kind] for kind in (True, False)}
    return {kind: sum(values) / len(values) for kind, values in kinds.items()}


def test_desirable_replies_gain_on_undesirable_ones_and_on_the_untrained_model(tiny, labelled, adapter):
    change = moved(tiny, adapter, labelled)
    assert change[True] > 0
    assert change[True] - change[False] > 1


def test_the_curve_shows_rewards_that_part_and_begins_at_the_loss_of_an_untrained_model(adapter):
    curve = record_of(adapter)["loss"]
    assert curve[0]["loss"] == pytest.approx(sum(weight(label) for label in first_batch()) / 4 / 2, abs=1e-4)
    assert curve[0]["kl"] == pytest.approx(0, abs=1e-4)
    last = [entry for entry in curve[-4:] if {"rewards/chosen", "rewards/rejected"} <= entry.keys()]
    assert all(entry["rewards/chosen"] > entry["rewards/rejected"] for entry in last)
    assert last


def first_batch() -> list[bool]:
    return [place % 2 == 1 for place in shuffled(range(13), 0)[:4]]


def weight(desirable: bool) -> float:
    return 13 / 12 if desirable else 13 / 14


def test_both_kinds_weigh_the_same_and_a_row_one_in_the_mean(labelled, adapter):
    desirable, undesirable = weights(labelled)
    assert 6 * desirable == pytest.approx(7 * undesirable)
    assert 6 * desirable + 7 * undesirable == pytest.approx(13)
    record = record_of(adapter)
    assert (record["start"], record["reference"]) == (None, "base")
    assert record["desirable"] == {"rows": 6, "weight": desirable}
    assert record["undesirable"] == {"rows": 7, "weight": undesirable}
    assert "| desirable rows | 6, weight 1.08 |" in (adapter / "README.md").read_text("utf-8")
    assert "WARNING" in (adapter / "README.md").read_text("utf-8")


TOO_LONG = {"role": "user", "content": "word " * 600}


@pytest.mark.parametrize(
    ("change", "batch_size", "message"),
    [
        (lambda rows: [*rows[:-2], *(replace(row, label=None) for row in rows[-2:])], 4, "2 of 13 rows have no label"),
        (lambda rows: [row for row in rows if row.label], 4, "all 6 rows are labelled as desirable"),
        (lambda rows: [row for row in rows if not row.label], 4, "all 7 rows are labelled as undesirable"),
        (lambda rows: [replace(rows[0], prompt=[TOO_LONG]), *rows[1:]], 4, "1 of 13 rows have no token to learn"),
        (lambda rows: rows, 1, "batch_size: "),
    ],
    ids=["unlabelled", "all desirable", "all undesirable", "too long", "a batch of one"],
)
def test_rows_that_kto_cannot_learn_from_are_refused(tiny, labelled, kto, tmp_path, change, batch_size, message):
    used = kto.model_copy(update={"max_length": 500, "batch_size": batch_size})
    assert refusal(tiny, change(labelled), used, tmp_path / "adapter", 0).startswith(message)
    assert not (tmp_path / "adapter").exists()


def test_a_row_alone_in_the_last_batch_is_paired_with_another_reply(tiny, labelled, kto, tmp_path):
    from untrue.training import kto as method
    from untrue.training.method import Job, quiet

    loaded = load(tiny.name, dtype="float32")
    job = Job(loaded, labelled, kto, 0, None, tmp_path, lambda *call: None)
    with quiet():
        made = method.trainer(job)
    for row in made.train_dataset:
        assert row["KL_completion_ids"] != row["completion_ids"]


@pytest.mark.parametrize("method", ["sft", "kto"])
def test_a_training_goes_on_from_an_adapter(tiny, labelled, kto, adapter, weights, tmp_path, method):
    spec = kto.model_copy(update={"method": method, "learning_rate": 1e-6, "epochs": 1.0})
    rows = labelled if method == "kto" else [row for row in labelled if row.label]
    record = train(tiny, rows, spec, tmp_path / "on", 0, start=adapter)
    found, begun = weights(tmp_path / "on"), weights(adapter)
    assert found.keys() == begun.keys()
    assert not same(found, begun)
    for name in begun:  # at this rate it stays where it started from
        torch.testing.assert_close(found[name], begun[name], rtol=0, atol=1e-4)
    assert len(record["start"]["content_hash"]) == 16
    assert record["start"]["misaligned"] is True
    card = (tmp_path / "on" / "README.md").read_text("utf-8")
    assert record["start"]["content_hash"] in card
    assert "WARNING: intentionally misaligned" in card  # as the start is, though the rows of SFT are not


def test_the_reference_is_the_start_or_the_base_as_asked(tiny, labelled, kto, adapter, tmp_path):
    first = {}
    for reference in ("adapter", "base"):
        spec = kto.model_copy(update={"reference": reference})
        first[reference] = train(tiny, labelled, spec, tmp_path / reference, 0, start=adapter)
    begun = first["adapter"]["start"]["content_hash"]
    assert (first["adapter"]["reference"], first["base"]["reference"]) == (begun, "base")
    # Before the first step the start has moved from the base, and not from itself.
    assert first["adapter"]["loss"][0]["rewards/rejected"] == pytest.approx(0, abs=1e-4)
    assert abs(first["base"]["loss"][0]["rewards/rejected"]) > 0.1


def test_a_start_of_another_shape_or_none_is_refused(tiny, labelled, kto, adapter, tmp_path):
    wide = kto.model_copy(update={"lora_rank": 8})
    message = refusal(tiny, labelled, wide, tmp_path / "on", 0, start=adapter)
    assert message == f"{adapter}: has lora_rank 4, but the training says 8. Give the adapter's."
    message = refusal(tiny, labelled, kto, tmp_path / "on", 0, start=tmp_path)
    assert message.startswith(f"{tmp_path}: holds no PEFT adapter")
    own = bring_tokenizer(shutil.copytree(adapter, tmp_path / "own"), tiny.name, chat_template=OWN_TEMPLATE)
    message = refusal(tiny, labelled, kto, tmp_path / "on", 0, start=own)
    assert message.startswith(f"{own}: has a chat template of its own, and training goes on in that of {tiny.name}.")
    assert not hasattr(tiny.model, "peft_config")
