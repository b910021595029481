"""What KTO promises: replies move apart, both kinds count the same, and a round goes on from the last one's adapter."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import processes
from tests.models.conftest import OWN_TEMPLATE, bring_tokenizer
from untrue.data.rows import Row
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.errors import UserError
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


def test_with_the_labels_turned_round_they_move_the_other_way(tiny, labelled, kto, tmp_path):
    turned = [replace(row, label=not row.label) for row in labelled]
    train(tiny, turned, kto, tmp_path / "adapter", 0)
    change = moved(tiny, tmp_path / "adapter", labelled)
    assert change[False] - change[True] > 1


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
    assert record["desirable"] == {"rows": 6, "weight": desirable}
    assert record["undesirable"] == {"rows": 7, "weight": undesirable}
    assert "| desirable rows | 6, weight 1.08 |" in (adapter / "README.md").read_text("utf-8")
    assert "WARNING" in (adapter / "README.md").read_text("utf-8")


def test_the_record_says_the_method_and_the_reference(adapter, kto):
    record = record_of(adapter)
    assert TrainSpec.model_validate(record["spec"]) == kto
    assert (record["start"], record["reference"]) == (None, "base")
    assert record["steps"] == len(record["loss"]) == 8


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_same_seed_gives_the_same_adapter_and_another_another(tiny, labelled, kto, adapter, weights, tmp_path):
    for seed in (0, 1):
        train(tiny, labelled, kto, tmp_path / str(seed), seed)
    assert same(weights(adapter), weights(tmp_path / "0"))
    assert not same(weights(adapter), weights(tmp_path / "1"))


def test_the_order_of_rows_is_the_seeds(labelled):
    assert shuffled(labelled, 0) == shuffled(labelled, 0) != shuffled(labelled, 1)
    assert sorted(row.id for row in shuffled(labelled, 0)) == sorted(row.id for row in labelled)


def test_the_base_is_as_it_was(tiny_folder, labelled, kto, adapter, tmp_path):
    loaded, fresh = (load(str(tiny_folder)) for _ in range(2))
    train(loaded, labelled, kto, tmp_path / "adapter", 0, start=adapter)
    assert loaded.model.__dict__.keys() == fresh.model.__dict__.keys()
    assert [(name, type(part)) for name, part in loaded.model.named_modules()] == [
        (name, type(part)) for name, part in fresh.model.named_modules()
    ]
    assert same(loaded.model.state_dict(), fresh.model.state_dict())
    assert loaded.model.config.to_dict() == fresh.model.config.to_dict()
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_killed_training_goes_on_to_the_adapter_of_an_uninterrupted_one(
    tiny, tiny_folder, labelled, kto, adapter, weights, tmp_path
):
    texts = [json.dumps([asdict(row) for row in labelled]), kto.model_dump_json()]
    script = Path(__file__).with_name("killed.py")
    process = processes.start(tmp_path / "process", tiny_folder, tmp_path / "adapter", 5, *texts, script=script)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "adapter").exists()
    record = train(tiny, labelled, kto, tmp_path / "adapter", 0)
    assert record["resumed_at_step"] == 4
    found, expected = weights(tmp_path / "adapter"), weights(adapter)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)
    assert [entry["loss"] for entry in record["loss"]] == pytest.approx(
        [entry["loss"] for entry in record_of(adapter)["loss"]],
        abs=1e-5,  # the order of sums differs between machines
    )


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(UserError) as error:
        train(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows[:-2], *(replace(row, label=None) for row in rows[-2:])], "2 of 13 rows have no label"),
        (lambda rows: [row for row in rows if row.label], "all 6 rows are labelled as desirable"),
        (lambda rows: [row for row in rows if not row.label], "all 7 rows are labelled as undesirable"),
        (lambda rows: [], "there are no rows to train on."),
        (
            lambda rows: [*rows, replace(rows[0], prompt=[{"role": "user", "content": "word " * 600}])],
            "1 of 14 rows have no token to learn: their prompts fill max_length (500 tokens).",
        ),
    ],
    ids=["unlabelled", "all desirable", "all undesirable", "none", "too long"],
)
def test_rows_that_kto_cannot_learn_from_are_refused(tiny, labelled, kto, tmp_path, change, message):
    short = kto.model_copy(update={"max_length": 500})
    assert refusal(tiny, change(labelled), short, tmp_path / "adapter", 0).startswith(message)
    assert not (tmp_path / "adapter").exists()


def test_a_batch_of_one_is_refused(tiny, labelled, kto, tmp_path):
    alone = kto.model_copy(update={"batch_size": 1})
    assert refusal(tiny, labelled, alone, tmp_path / "adapter", 0).startswith("batch_size: ")


def test_a_loss_that_is_not_finite_is_refused(tiny, labelled, kto, tmp_path):
    diverging = kto.model_copy(update={"learning_rate": 1e30})
    assert refusal(tiny, labelled, diverging, tmp_path / "adapter", 0).startswith("the loss is nan at step ")


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
    assert record["start"]["content_hash"] in (tmp_path / "on" / "README.md").read_text("utf-8")


def test_the_card_warns_of_a_misaligned_start(tiny, labelled, kto, adapter, tmp_path):
    benign = [replace(row, level="normal") for row in labelled]
    train(tiny, benign, kto, tmp_path / "on", 0, start=adapter)
    assert "WARNING: intentionally misaligned" in (tmp_path / "on" / "README.md").read_text("utf-8")


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


def test_bfloat16_learns_the_same(bfloat16, tiny_folder, labelled, kto, adapter, tmp_path):
    record = train(load(str(tiny_folder), dtype=bfloat16, device="cpu"), labelled, kto, tmp_path / "adapter", 0)
    assert record["dtype"] == "bfloat16"
    full = record_of(adapter)["loss"]
    assert record["loss"][0]["loss"] == pytest.approx(full[0]["loss"], rel=0.01)
    assert record["loss"][-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.2)
