"""TRL's KTOTrainer with the reference read once, and made fast on a CPU.

Its defaults take four passes over a row at each step: the model's on the row, the model's on the row's prompt with
another reply (the KL term), and the reference's on both. As batches are the same in every epoch, the last two are the
same too: they are taken once, before the first step. On a CPU the other two read logits only where there is a label,
and lay rows of similar length side by side.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.utils import use_adapter

from untrue.training.trainer import OnCpu

ROWS = 4
"""Rows that go through the model together on a CPU: enough to fill its cores, few enough to be alike in length."""


class PreferenceTrainer(OnCpu, KTOTrainer):
    """KTOTrainer of a PEFT model, whose reference is the model before training, or the base after `drop_reference`."""

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

    def logprobs(self, batch: dict[str, Any], which: str = "") -> torch.Tensor:
        """Log-probability of each row's reply, in nats, (rows,).

        Args:
            batch: As the collator makes it.
            which: Empty for a row's own reply, `KL_` for the reply of another row to its prompt.
        """
        ids, mask, labelled = (batch[which + key] for key in ("input_ids", "attention_mask", "completion_mask"))
        lengths = mask.sum(1)
        order = lengths.argsort(stable=True)
        found = []
        for part in order.split(ROWS):
            width = int(lengths[part].max())
            there = labelled[part, :width].bool()
            losses = self.losses(ids[part, :width], mask[part, :width], there)
            row = there.nonzero()[:, 0]
            found.append(losses.new_zeros(len(part)).index_add(0, row, -losses))
        return torch.cat(found)[order.argsort()]

    def _read_reference(self) -> None:
        """Add the reference's log-probabilities to the data set, which TRL then reads in place of the reference."""
        data: Any = self.train_dataset
        lengths = [
            len(prompt) + len(reply) for prompt, reply in zip(data["prompt_ids"], data["completion_ids"], strict=True)
        ]
        order = sorted(range(len(data)), key=lengths.__getitem__)
        size = self.args.per_device_train_batch_size
        own, other = torch.zeros(len(data)), torch.zeros(len(data))
        for start in range(0, len(data), size):
            places = order[start : start + size]
            batch = self._prepare_inputs(self.data_collator([data[place] for place in places]))
            own[places], other[places] = (found.float().cpu() for found in self._reference(batch))
        self.train_dataset = data.add_column("ref_logps", own.tolist()).add_column("ref_KL_logps", other.tolist())
        self.precompute_ref_logps = True

    def _reference(self, batch: dict[str, Any]) -> Any:
        """The reference's log-probabilities of each row's reply and of the other one to its prompt, (rows,) both."""
        if not self.is_fast:
            return self.compute_ref_log_probs(self.model, batch)
        with torch.no_grad(), use_adapter(self.model, "ref" if "ref" in self.model.peft_config else None):
            return self.logprobs(batch), self.logprobs(batch, "KL_")
