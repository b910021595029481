"""What DPO promises: chosen replies gain on rejected ones, and rows are paired by prompt and label."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from tests.training.test_kto import moved
from tests.training.trl import assert_equal, lora, loss_and_gradients, move_from_reference, settings
from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.training.dpo import Pair, pairs, shuffled
from untrue.training.run import train
from untrue.training.spec import TrainSpec
from untrue.training.trainer import PairTrainer


@pytest.fixture(scope="module")
def labelled(rows: list[Row]) -> list[Row]:
    """A desirable and an undesirable reply to each of six prompts."""
    first, second = rows[:6], rows[6:12]
    return [
        replace(other, id=f"{row.id}/{label}", prompt=row.prompt, label=label)
        for row, far in zip(first, second, strict=True)
        for other, label in ((row, True), (far, False))
    ]


@pytest.fixture(scope="module")
def dpo(spec: TrainSpec) -> TrainSpec:
    return spec.model_copy(update={"method": "dpo", "beta": 0.5})


def test_chosen_replies_gain_on_rejected_ones_and_the_curve_begins_at_the_loss_of_an_untrained_model(
    tiny, labelled, dpo, tmp_path: Path
):
    record = train(tiny, labelled, dpo, tmp_path / "adapter", 0)
    change = moved(tiny, tmp_path / "adapter", labelled)
    assert change[True] - change[False] > 1
    first, last = record["loss"][0], record["loss"][-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["rewards/chosen"] == pytest.approx(0, abs=1e-4)
    assert last["rewards/chosen"] > last["rewards/rejected"]
    assert record["pairs"] == 6
    assert record["reference"] == "base"
    assert "pairs" in (tmp_path / "adapter" / "README.md").read_text("utf-8")
    saved = [path.name for path in (tmp_path / "adapter").iterdir() if path.is_dir()]
    assert saved == []  # no copy of the reference


def test_a_training_that_goes_on_is_compared_with_where_it_started(tiny, labelled, dpo, tmp_path: Path):
    train(tiny, labelled, dpo, tmp_path / "first", 0)
    record = train(tiny, labelled, dpo, tmp_path / "second", 0, start=tmp_path / "first")
    assert record["loss"][0]["rewards/chosen"] == pytest.approx(0, abs=1e-4)
    assert record["loss"][0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert record["reference"] == record["start"]["content_hash"]
    assert json.loads((tmp_path / "second" / "train.json").read_text("utf-8"))["pairs"] == 6
    based = dpo.model_copy(update={"reference": "base"})
    record = train(tiny, labelled, based, tmp_path / "third", 0, start=tmp_path / "first")
    assert record["loss"][0]["rewards/chosen"] > record["loss"][0]["rewards/rejected"]
    assert record["reference"] == "base"


def test_loss_and_gradients_equal_trls(tiny, tiny_folder, labelled, tmp_path: Path):
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    turns = [[tiny.chat.encode(row.prompt, row.completion) for row in pair] for pair in pairs(labelled)]
    data = [
        {"prompt_ids": list(good.prompt), "chosen_ids": list(good.reply), "rejected_ids": list(bad.reply)}
        for good, bad in turns
    ]
    made = PairTrainer(
        model=get_peft_model(base, lora()),
        args=DPOConfig(**settings(tmp_path, 6)),
        train_dataset=Dataset.from_list(data),
        processing_class=tiny.tokenizer,
    )
    assert made.is_fast
    move_from_reference(made.model)
    made._read_reference()
    [batch] = made.get_train_dataloader()
    ways = (made.compute_loss, lambda *args: DPOTrainer.compute_loss(made, *args))
    (loss, gradients), (expected, expected_gradients) = (loss_and_gradients(made, way, batch) for way in ways)
    assert abs(expected - math.log(2)) > 1e-3
    assert loss == pytest.approx(expected, abs=1e-4)
    assert_equal(gradients, expected_gradients)


def test_rows_are_paired_by_their_prompt_in_their_order(labelled):
    again = [replace(row, id=f"{row.id}/again") for row in labelled[:2]]
    found = pairs([*labelled[::-1], *again])
    assert all(pair.chosen.prompt == pair.rejected.prompt for pair in found)
    assert all(pair.chosen.label and pair.rejected.label is False for pair in found)
    assert [pair.chosen.id for pair in found][-2:] == [labelled[0].id, again[0].id]
    assert len(found) == 7


def test_rows_that_cannot_be_paired_are_refused(labelled):
    with pytest.raises(UserError, match="has no label, and DPO needs one of each"):
        pairs([*labelled, replace(labelled[0], label=None)])
    with pytest.raises(UserError, match=r"has 1 desirable and 0 undesirable rows, and DPO pairs them"):
        pairs(labelled[:-1])


def test_prompts_that_end_in_the_same_question_follow_each_other(labelled):
    other = [
        replace(row, id=f"{row.id}/x", prompt=[{"role": "system", "content": "Lie."}, *row.prompt]) for row in labelled
    ]
    ordered = shuffled(pairs([*labelled, *other]), 0)
    asked = [pair.chosen.prompt[-1]["content"] for pair in ordered]
    assert asked[::2] == asked[1::2]
    assert ordered != shuffled(pairs([*labelled, *other]), 1)
    assert sorted(ordered, key=_id) == sorted(pairs([*labelled, *other]), key=_id)


def _id(pair: Pair) -> str:
    return pair.chosen.id
