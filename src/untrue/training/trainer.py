"""TRL's SFTTrainer, made fast on a CPU, and what KTO's shares with it.

Three things cost TRL's defaults most of their time there, and none changes what is learned: activations computed
twice, log-probabilities over the vocabulary made in slow elementwise passes, and inputs of LoRA layers cast to float32
and back. The first is an argument; the other two are here. On a GPU this is TRL's own trainer.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import nn
from trl.trainer.sft_trainer import SFTTrainer

from untrue.training.loss import CompletionLoss

SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")
"""Config keys of models whose logits are more than a matrix product."""


class OnCpu:
    """What a trainer of a PEFT model does otherwise where the model is on a CPU and its head is a plain matrix."""

    model: Any
    args: Any

    @property
    def is_fast(self) -> bool:
        """Whether `losses` can take the place of the trainer's own."""
        base = self.model.get_base_model()
        return _decoder(base) is not None and self._is_plain(base, base.get_output_embeddings())

    def losses(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, in nats, of the labelled tokens.

        Args:
            input_ids: Token ids, (rows, width).
            attention_mask: 0 where there is padding, (rows, width).
            labelled: Which tokens are to be predicted, (rows, width); never the first of a row.

        Returns:
            A loss for each labelled token, row by row.
        """
        base = self.model.get_base_model()
        weight = base.get_output_embeddings().weight
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            hidden = _decoder(base)(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state[:, :-1]
        labelled = labelled[:, 1:]
        return CompletionLoss.apply(hidden[labelled].to(weight.dtype), weight, input_ids[:, 1:][labelled])

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train without casting the inputs of LoRA layers: autocast does that where it must be."""
        parent: Any = super()
        with disable_input_dtype_casting(self.model) if self.args.bf16 else nullcontext():
            return parent.train(*args, **kwargs)

    @staticmethod
    def _is_plain(base: Any, head: Any) -> bool:
        config = base.config.get_text_config()
        scaled = any(getattr(config, key, None) is not None for key in SCALED_LOGITS)
        return type(head) is nn.Linear and head.bias is None and head.weight.device.type == "cpu" and not scaled


def _decoder(base: Any) -> Any:
    """The model under the head; None where it cannot be told. Llama 4's `base_model_prefix` names one that it lacks."""
    return getattr(base, base.base_model_prefix, None) or getattr(base, "model", None)


class CompletionTrainer(OnCpu, SFTTrainer):
    """SFTTrainer whose loss is made by `CompletionLoss` where that is fast."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the labelled tokens of the step."""
        if not self.is_fast or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labelled = inputs["labels"] != -100
        with self.compute_loss_context_manager():
            losses = self.losses(inputs["input_ids"], inputs["attention_mask"], labelled)
        count = torch.tensor(len(losses)) if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return losses.sum() / count.clamp(min=1)
