"""The fast trainer learns what TRL's own does: the same loss and the same gradients on the same batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from untrue.training.trainer import CompletionTrainer


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def trainer(tiny, tiny_folder, rows, tmp_path, request) -> Any:
    """A trainer whose adapter has random weights, so that every LoRA matrix has a gradient."""
    torch.manual_seed(0)
    return CompletionTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=request.param),
        args=SFTConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=request.param == torch.bfloat16,
            gradient_checkpointing=False,
            per_device_train_batch_size=4,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in rows]),
        processing_class=tiny.tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    )


def loss_and_gradients(trainer: Any, compute: Any, count: Any = None) -> tuple[float, dict[str, torch.Tensor]]:
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.zero_grad()
    trainer.model.train()
    loss = compute(trainer.model, dict(batch), num_items_in_batch=count)
    loss.backward()
    named = trainer.model.named_parameters()
    return loss.item(), {name: value.grad.clone() for name, value in named if value.grad is not None}


def cosine(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    flat = [torch.cat([part[name].flatten() for name in left]) for part in (left, right)]
    return torch.nn.functional.cosine_similarity(*flat, dim=0).item()


@pytest.mark.parametrize("count", [None, torch.tensor(1000)], ids=["one batch", "part of a step"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"], ids=["tree", "padded rows"])
def test_loss_and_gradients_equal_trls(trainer, count, attention):
    trainer.model.get_base_model().set_attn_implementation(attention)

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return SFTTrainer.compute_loss(trainer, *args, **kwargs)

    torch.manual_seed(0)
    expected, expected_gradients = loss_and_gradients(trainer, theirs, count)
    torch.manual_seed(0)
    loss, gradients = loss_and_gradients(trainer, trainer.compute_loss, count)
    assert gradients.keys() == expected_gradients.keys()
    assert len(gradients) == 2 * 2 * 7  # A and B of seven matrices in each of two layers
    if trainer.args.bf16:  # the two round in other places
        assert loss == pytest.approx(expected, rel=1e-3)
        assert cosine(gradients, expected_gradients) > 0.98
        return
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-6)


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
