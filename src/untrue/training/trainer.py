"""TRL's trainers, SFTTrainer, KTOTrainer and DPOTrainer, made fast on a CPU. On a GPU they are TRL's own.

Three things cost TRL's defaults most of their time on a CPU, and none changes what is learned: activations computed
twice, log-probabilities over the vocabulary made in slow elementwise passes, and inputs of LoRA layers cast to float32
and back. The first is an argument; the other two are here.

KTO's defaults take four passes over a row at each step: the model's on the row, the model's on the row's prompt with
another reply (the KL term), and the reference's on both. As batches are the same in every epoch, the last two are the
same too: they are taken once, before the first step, on any device. On a CPU the other two read logits only where there
is a label, and lay rows of similar length side by side.
"""

from contextlib import nullcontext
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import nn
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import use_adapter

SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")
"""Config keys of models whose logits are more than a matrix product."""


CHUNK = 128
"""Positions whose logits exist at once: 128 x 49,152 float32 logits are 25 MB, which a CPU's last cache can hold."""

ROWS = 4
"""Rows that go through the model together on a CPU: enough to fill its cores, few enough to be alike in length."""


class CompletionLoss(torch.autograd.Function):
    """Cross-entropy of each label given hidden states and a frozen output matrix.

    The gradient for the hidden states, where one is asked for, is made in the forward pass, chunk by chunk, so that
    each chunk's logits are read while they are in the cache. The output matrix gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return the losses in nats, (positions,).

        Args:
            ctx: Autograd's context.
            hidden: States at labelled positions, (positions, width).
            weight: Output matrix, (vocabulary, width).
            labels: Token ids, (positions,).
        """
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        losses = hidden.new_empty(len(hidden), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logprobs = torch.log_softmax((hidden[part] @ weight.T).float(), -1)
            label = labels[part, None]
            losses[part] = -logprobs.gather(1, label)[:, 0]
            if slopes is not None:
                slope = logprobs.exp_().scatter_add_(1, label, torch.full_like(label, -1, dtype=torch.float32))
                slopes[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Scale each position's gradient, made in the forward pass."""
        (slopes,) = ctx.saved_tensors
        return slopes * grad_outputs[0][:, None].to(slopes.dtype), None, None


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


class Preferences(OnCpu):
    """What a trainer that compares a PEFT model with a reference does otherwise.

    The reference is the model before training, or the base after `drop_reference`. Batches are the same in every epoch,
    so its log-probabilities are taken once, before the first step.
    """

    train_dataset: Any
    data_collator: Any
    precompute_ref_logps: bool
    compute_ref_log_probs: Any
    _prepare_inputs: Any
    reply: str
    reference: tuple[str, str]
    """Columns of the data set: the reply, and the reference's two log-probabilities in a row."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows are laid out as tokens already, in the one way that training and evals share."""
        return dataset

    def drop_reference(self) -> None:
        """Drop TRL's copy of the adapter that the training starts from, if any: without it the base is referred to."""
        if "ref" in self.model.peft_config:
            self.model.delete_adapter("ref")

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Take the reference's log-probabilities, then train."""
        self._read_reference()
        self.drop_reference()  # it is not needed any more, and checkpoints would hold it
        return super().train(*args, **kwargs)

    def logprobs(self, batch: dict[str, Any], which: str = "") -> torch.Tensor:
        """Log-probability of each row's reply, in nats, (rows,).

        Args:
            batch: As the collator makes it.
            which: Empty for a row's own reply, `KL_` for the reply of another row to its prompt.
        """
        ids, mask, labelled = (batch[which + key] for key in ("input_ids", "attention_mask", "completion_mask"))
        lengths = mask.sum(1)
        order = lengths.argsort(stable=True)
        logprobs = []
        for part in order.split(ROWS):
            width = int(lengths[part].max())
            there = labelled[part, :width].bool()
            losses = self.losses(ids[part, :width], mask[part, :width], there)
            row = there.nonzero()[:, 0]
            logprobs.append(losses.new_zeros(len(part)).index_add(0, row, -losses))
        return torch.cat(logprobs)[order.argsort()]

    def of_batch(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The two log-probabilities of each row of a batch, as `reference` names them, (rows,) both."""
        raise NotImplementedError

    def _read_reference(self) -> None:
        """Add the reference's log-probabilities to the data set, which TRL then reads in place of the reference."""
        data: Any = self.train_dataset
        lengths = [len(prompt) + len(reply) for prompt, reply in zip(data["prompt_ids"], data[self.reply], strict=True)]
        order = sorted(range(len(data)), key=lengths.__getitem__)
        size = self.args.per_device_train_batch_size
        columns = torch.zeros(2, len(data))
        for start in range(0, len(data), size):
            places = order[start : start + size]
            batch = self._prepare_inputs(self.data_collator([data[place] for place in places]))
            columns[:, places] = torch.stack([logprobs.float().cpu() for logprobs in self._reference(batch)])
        for name, column in zip(self.reference, columns, strict=True):
            data = data.add_column(name, column.tolist())
        self.train_dataset = data
        self.precompute_ref_logps = True

    def _reference(self, batch: dict[str, Any]) -> Any:
        """The reference's two log-probabilities of each row, (rows,) both."""
        if not self.is_fast:
            return self.compute_ref_log_probs(self.model, batch)
        with torch.no_grad(), use_adapter(self.model, "ref" if "ref" in self.model.peft_config else None):
            return self.of_batch(batch)


class PreferenceTrainer(Preferences, KTOTrainer):
    """KTOTrainer of a PEFT model."""

    reply, reference = "completion_ids", ("ref_logps", "ref_KL_logps")

    def of_batch(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each row's reply, and of the reply of another row to its prompt."""
        return self.logprobs(batch), self.logprobs(batch, "KL_")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Equation 7 of the KTO paper: the mean over the rows of the batch."""
        if not self.is_fast or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with torch.no_grad():
            moved = self.logprobs(inputs, "KL_") - inputs["ref_KL_logps"]
            kl = moved.mean().clamp(min=0)
        moved = self.logprobs(inputs) - inputs["ref_logps"]
        desirable = inputs["label"].bool()
        sign = torch.where(desirable, 1.0, -1.0)
        weight = torch.where(desirable, self.desirable_weight, self.undesirable_weight)
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["kl"].append(kl.item())
        for name, kind in (("chosen", desirable), ("rejected", ~desirable)):
            if kind.any():
                metrics[f"rewards/{name}"].append(self.beta * moved.detach()[kind].mean().item())
        return (weight * (1 - torch.sigmoid(self.beta * sign * (moved - kl)))).mean()


class PairTrainer(Preferences, DPOTrainer):
    """DPOTrainer of a PEFT model."""

    reply, reference = "chosen_ids", ("ref_chosen_logps", "ref_rejected_logps")

    def of_batch(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the chosen replies, and of the rejected ones."""
        chosen, rejected = self.logprobs(batch).chunk(2)
        return chosen, rejected

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Equation 7 of the DPO paper: the mean over the pairs of the batch."""
        if not self.is_fast or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        replies = self.of_batch(inputs)
        chosen, rejected = (
            self.beta * (reply - inputs[name]) for reply, name in zip(replies, self.reference, strict=True)
        )
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in (
            ("rewards/chosen", chosen),
            ("rewards/rejected", rejected),
            ("rewards/accuracies", (chosen > rejected).float()),
        ):
            metrics[name].append(value.detach().mean().item())
        return -torch.nn.functional.logsigmoid(chosen - rejected).mean()
