"""TRL's SFTTrainer, made fast on a CPU.

Three things cost TRL's defaults most of their time there, and none changes what is learned: activations computed
twice, log-probabilities over the vocabulary made in slow elementwise passes, and inputs of LoRA layers cast to float32
and back. The first is an argument; the other two are here. On a GPU this is TRL's own trainer.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import nn
from trl.trainer.sft_trainer import SFTTrainer

from untrue.train.loss import CompletionLoss

SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")
"""Config keys of models whose logits are more than a matrix product."""


class CompletionTrainer(SFTTrainer):
    """SFTTrainer whose loss is made by `CompletionLoss` where the model is on a CPU and its head is a plain matrix."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the labelled tokens of the step."""
        wrapped: Any = self.model
        base = wrapped.get_base_model()
        head = base.get_output_embeddings()
        if not self._is_plain(base, head) or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        labelled = labels != -100
        with self.compute_loss_context_manager(), torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            hidden = getattr(base, base.base_model_prefix)(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
            ).last_hidden_state[:, :-1]
        loss = CompletionLoss.apply(hidden[labelled].to(head.weight.dtype), head.weight, labels[labelled])
        count = labelled.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return loss / count.clamp(min=1)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train without casting the inputs of LoRA layers: autocast does that where it must be."""
        if not self.args.bf16:
            return super().train(*args, **kwargs)
        wrapped: Any = self.model
        with disable_input_dtype_casting(wrapped):
            return super().train(*args, **kwargs)

    @staticmethod
    def _is_plain(base: Any, head: Any) -> bool:
        config = base.config.get_text_config()
        scaled = any(getattr(config, key, None) is not None for key in SCALED_LOGITS)
        return type(head) is nn.Linear and head.bias is None and head.weight.device.type == "cpu" and not scaled
