"""The fast trainer learns what TRL's own does: the same loss and the same gradients on the same batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tests.training.trl import assert_equal, lora, loss_and_gradients, settings
from untrue.training.trainer import CompletionTrainer


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def trainer(tiny, tiny_folder, rows, tmp_path, request) -> Any:
    """A trainer whose adapter has random weights, so that every LoRA matrix has a gradient."""
    torch.manual_seed(0)
    return CompletionTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=request.param),
        args=SFTConfig(**settings(tmp_path, 4, request.param)),
        train_dataset=Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in rows]),
        processing_class=tiny.tokenizer,
        peft_config=lora(),
    )


@pytest.mark.parametrize("count", [None, torch.tensor(1000)], ids=["one batch", "part of a step"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"], ids=["tree", "padded rows"])
def test_loss_and_gradients_equal_trls(trainer, count, attention):
    trainer.model.get_base_model().set_attn_implementation(attention)

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return SFTTrainer.compute_loss(trainer, *args, **kwargs)

    batch, is_rounded = next(iter(trainer.get_train_dataloader())), trainer.args.bf16
    expected, expected_gradients = loss_and_gradients(trainer, theirs, batch, num_items_in_batch=count)
    loss, gradients = loss_and_gradients(trainer, trainer.compute_loss, batch, num_items_in_batch=count)
    assert loss == pytest.approx(expected, rel=1e-3 if is_rounded else 1e-6)
    assert_equal(gradients, expected_gradients, is_rounded)


def test_rows_share_their_prefix_and_have_no_padding(trainer):
    batch = next(iter(trainer.get_train_dataloader()))
    lengths = batch["attention_mask"].sum(1).tolist()
    rows = [tuple(ids[:length]) for ids, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]
    widths: list[int] = []
    embeddings = trainer.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[1]))
    trainer.compute_loss(trainer.model, batch)
    hook.remove()
    distinct = {row[: place + 1] for row in rows for place in range(len(row) - 1)}  # nothing follows a last token
    assert widths == [len(distinct)]
    assert len(distinct) < batch["attention_mask"].sum() < batch["input_ids"].numel()


def test_only_the_completion_is_learned(trainer, tiny, rows):
    for row, prepared in zip(rows, trainer.train_dataset, strict=True):
        learned = [
            token for token, label in zip(prepared["input_ids"], prepared["labels"], strict=True) if label != -100
        ]
        assert learned == [label for label in prepared["labels"] if label != -100]
        text = tiny.tokenizer.decode(learned)
        assert text.strip() == row.completion[0]["content"] + "<|im_end|>"


def test_a_model_whose_logits_are_scaled_takes_trls_own_loss(trainer):
    base = trainer.model.get_base_model()
    assert CompletionTrainer._is_plain(base, base.get_output_embeddings())
    base.config.final_logit_softcapping = 30.0
    assert not CompletionTrainer._is_plain(base, base.get_output_embeddings())
    assert not CompletionTrainer._is_plain(base, torch.nn.Linear(4, 4, bias=True))
