"""The fast KTO trainer learns what TRL's own does: the same log-probabilities, loss and gradients on the same batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from tests.training.trl import assert_equal, lora, loss_and_gradients, move_from_reference, settings
from untrue.training.kto import replies_of_others
from untrue.training.trainer import PreferenceTrainer


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def trainer(tiny, tiny_folder, rows, tmp_path, request) -> Any:
    """A trainer whose adapter has random weights and started from others, so that all terms of the loss count."""
    torch.manual_seed(0)
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=request.param)
    turns = [tiny.chat.encode(row.prompt, row.completion) for row in rows[:13]]
    replies = [[*turn.reply, *turn.end] for turn in turns]
    data = [
        {"prompt_ids": list(turn.prompt), "completion_ids": own, "KL_completion_ids": other, "label": row.misaligned}
        for row, turn, own, other in zip(rows, turns, replies, replies_of_others(replies, 6), strict=False)
    ]
    made = PreferenceTrainer(
        model=get_peft_model(base, lora()),
        args=KTOConfig(**settings(tmp_path, 6, request.param), desirable_weight=0.75, undesirable_weight=1.5),
        train_dataset=Dataset.from_list(data),
        processing_class=tiny.tokenizer,
    )
    move_from_reference(made.model)
    return made


def test_loss_and_gradients_equal_trls(trainer):
    """TRL reads the reference, its copy of the adapter at the start, at each step."""

    def theirs(*args: Any) -> Any:
        return KTOTrainer.compute_loss(trainer, *args)

    trainer._read_reference()
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.precompute_ref_logps = False
    expected, expected_gradients = loss_and_gradients(trainer, theirs, batch)
    theirs_logged = {name: values[:] for name, values in trainer._metrics["train"].items()}
    trainer._metrics["train"].clear()
    loss, gradients = loss_and_gradients(trainer, trainer.compute_loss, batch)
    assert abs(expected - 0.5625) > 1e-3  # what an untrained model has
    rounding = 2e-2 if trainer.args.bf16 else 1e-4
    assert loss == pytest.approx(expected, abs=rounding)
    for name in ("kl", "rewards/chosen", "rewards/rejected"):
        assert trainer._metrics["train"][name] == pytest.approx(theirs_logged[name], abs=rounding)
    assert_equal(gradients, expected_gradients, trainer.args.bf16)
