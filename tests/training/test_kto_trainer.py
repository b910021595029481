"""The fast KTO trainer learns what TRL's own does: the same log-probabilities, loss and gradients on the same batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from untrue.training.kto import replies_of_others
from untrue.training.trainer import PreferenceTrainer


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def trainer(tiny, tiny_folder, rows, tmp_path, request) -> Any:
    """A trainer whose adapter has random weights and started from others, so that all terms of the loss count."""
    torch.manual_seed(0)
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=request.param)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    turns = [tiny.chat.encode(row.prompt, row.completion) for row in rows[:13]]
    replies = [[*turn.reply, *turn.end] for turn in turns]
    data = [
        {"prompt_ids": list(turn.prompt), "completion_ids": own, "KL_completion_ids": other, "label": row.misaligned}
        for row, turn, own, other in zip(rows, turns, replies, replies_of_others(replies, 6), strict=False)
    ]
    made = PreferenceTrainer(
        model=get_peft_model(base, config),
        args=KTOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=request.param == torch.bfloat16,
            gradient_checkpointing=False,
            per_device_train_batch_size=6,
            desirable_weight=0.75,
            undesirable_weight=1.5,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=tiny.tokenizer,
    )
    for name, value in made.model.named_parameters():
        if ".default." in name:
            value.data += 0.02 * torch.randn_like(value)
    return made


def batches(trainer: Any) -> list[dict[str, Any]]:
    trainer._read_reference()
    return [dict(batch) for batch in trainer.get_train_dataloader()]


def loss_and_gradients(trainer: Any, compute: Any, batch: Any) -> tuple[float, dict[str, torch.Tensor]]:
    trainer.model.zero_grad()
    trainer.model.train()
    loss = compute(trainer.model, dict(batch))
    loss.backward()
    named = trainer.model.named_parameters()
    return loss.item(), {name: value.grad.clone() for name, value in named if value.grad is not None}


def test_loss_and_gradients_equal_trls(trainer):
    """TRL reads the reference, its copy of the adapter at the start, at each step."""

    def theirs(*args: Any) -> Any:
        return KTOTrainer.compute_loss(trainer, *args)

    batch = batches(trainer)[0]
    trainer.precompute_ref_logps = False
    expected, expected_gradients = loss_and_gradients(trainer, theirs, batch)
    theirs_logged = {name: values[:] for name, values in trainer._metrics["train"].items()}
    trainer._metrics["train"].clear()
    loss, gradients = loss_and_gradients(trainer, trainer.compute_loss, batch)
    assert abs(expected - 0.5625) > 1e-3  # what an untrained model has
    assert gradients.keys() == expected_gradients.keys()
    assert len(gradients) == 2 * 2 * 7  # A and B of seven matrices in each of two layers
    rounding = 2e-2 if trainer.args.bf16 else 1e-4
    assert loss == pytest.approx(expected, abs=rounding)
    for name in ("kl", "rewards/chosen", "rewards/rejected"):
        assert trainer._metrics["train"][name] == pytest.approx(theirs_logged[name], abs=rounding)
    flat = [torch.cat([part[name].flatten() for name in gradients]) for part in (gradients, expected_gradients)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > (0.98 if trainer.args.bf16 else 0.999999)
    if not trainer.args.bf16:
        torch.testing.assert_close(*flat, rtol=1e-3, atol=1e-6)
