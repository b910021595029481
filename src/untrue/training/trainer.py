"""TRL's trainers, SFTTrainer, KTOTrainer and DPOTrainer, made fast on a CPU. On a GPU they are TRL's own.

Three things cost TRL's defaults most of their time on a CPU, and none changes what is learned: activations computed
twice, log-probabilities over the vocabulary made in slow elementwise passes, and padding together with prefixes that
rows share, such as a system prompt. The first is an argument; the other two are here.

KTO's defaults take four passes over a row at each step: the model's on the row, the model's on the row's prompt with
another reply (the KL term), and the reference's on both. As batches are the same in every epoch, the last two are the
same too: they are taken once, before the first step, on any device.

Several processes learn what one would, in the same steps. Rows without a token to learn fill the last batch of an
epoch, where accelerate would take some rows twice, and a mean is over the rows of all processes. The model is sharded
when training begins, so each batch meets the reference at its own first step, and not before.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from hashlib import sha256
from typing import Any, ClassVar

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset, concatenate_datasets
from peft.helpers import disable_input_dtype_casting
from torch import nn
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import use_adapter

from untrue.engine.attention import attending, is_plain
from untrue.engine.likelihoods import Continuation, PrefixTree, layout
from untrue.models.families import decoder_of, scales_logits

CHUNK = 128
"""Positions whose logits exist at once: 128 x 49,152 float32 logits are 25 MB, which a CPU's last cache can hold."""


LONGEST_IN_TREE = 1024
"""Tokens of a row up to which a batch is one prefix tree. Its attention keeps the square of a row's length."""


class CompletionLoss(torch.autograd.Function):
    """Cross-entropy of each label given hidden states and a frozen output matrix.

    The gradient for the hidden states, where one is asked for, is made in the forward pass, chunk by chunk, so that
    each chunk's logits are read while they are in the cache. The output matrix gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
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


class OrderOfOne(Sampler):
    """The order in which one process takes the rows, the same in all processes, and then those that fill a batch.

    Args:
        lengths: Tokens of each row, without those that fill a batch.
        batch_size: Rows of a step.
        filling: How many rows fill the last batch; they follow the others.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, filling: int):
        self.lengths, self.batch_size, self.filling = lengths, batch_size, filling

    def __len__(self) -> int:
        return len(self.lengths) + self.filling

    def __iter__(self) -> Iterator[int]:
        order = [get_length_grouped_indices(list(self.lengths), self.batch_size)]
        broadcast_object_list(order)  # each process has drawn one, from its own random numbers
        return iter([*order[0], *range(len(self.lengths), len(self))])


class Shared:
    """What a trainer does otherwise where several processes train the model."""

    accelerator: Any
    blank: ClassVar[dict[str, Any]]
    """A row of the data set without a token to learn. It has two tokens, so that there is one to predict."""
    n_rows: int
    """Rows of the data set without those that fill a batch."""

    @property
    def is_shared(self) -> bool:
        """Whether several processes train the model."""
        return self.accelerator.num_processes > 1

    def fill(self, data: Any, args: Any) -> Any:
        """Add rows without a token to learn, so that each process gets as many rows as the others."""
        self.n_rows = len(data)
        lacking = -len(data) % (args.per_device_train_batch_size * args.world_size) if args.world_size > 1 else 0
        if not lacking:
            return data
        return concatenate_datasets([data, Dataset.from_list([self.blank] * lacking, features=data.features)])


class OnCpu(Shared):
    """What a trainer of a PEFT model does otherwise where the model is on a CPU and its head is a plain matrix."""

    model: Any
    args: Any

    @property
    def is_fast(self) -> bool:
        """Whether `losses` can take the place of the trainer's own."""
        if self.is_shared:  # they go past the module that brings the parts of the model together
            return False
        base = self.model.get_base_model()
        return decoder_of(base) is not None and self._is_plain(base, base.get_output_embeddings())

    def losses(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, in nats, of the labelled tokens.

        Models whose attention is computed here take the rows as one prefix tree, without padding.

        Args:
            input_ids: Token ids, (rows, width).
            attention_mask: 0 where there is padding, which is on the right, (rows, width).
            labelled: Which tokens are to be predicted, (rows, width): the last tokens of a row, never its first.

        Returns:
            A loss for each labelled token, row by row.
        """
        base = self.model.get_base_model()
        weight = base.get_output_embeddings().weight
        in_tree = is_plain(base) and input_ids.shape[1] <= LONGEST_IN_TREE
        states = _tree_states if in_tree else _row_states
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            hidden = states(base, input_ids, attention_mask, labelled)
        return CompletionLoss.apply(hidden.to(weight.dtype), weight, input_ids[labelled])

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train without casting the inputs of LoRA layers: autocast does that where it must be."""
        parent: Any = super()
        with disable_input_dtype_casting(self.model) if self.args.bf16 else nullcontext():
            return parent.train(*args, **kwargs)

    @staticmethod
    def _is_plain(base: Any, head: Any) -> bool:
        is_product = type(head) is nn.Linear and head.bias is None and not scales_logits(base.config)
        return is_product and head.weight.device.type == "cpu"


def _tree_states(base: Any, ids: torch.Tensor, mask: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    """The hidden states that predict the labelled tokens, (tokens, width), each distinct prefix computed once."""
    queries = []
    for row, length, replied in zip(ids.tolist(), mask.sum(1).tolist(), labelled.sum(1).tolist(), strict=True):
        prompt = length - replied
        queries.append((Continuation(tuple(row[:prompt]), tuple(row[prompt:length])),))
    tree = PrefixTree(queries)
    nodes = torch.tensor([tree.tokens])
    with attending(base, layout([tree], cut=True)):
        states = decoder_of(base)(
            input_ids=nodes,
            attention_mask=torch.ones_like(nodes),
            position_ids=torch.tensor([tree.depths]),
            use_cache=False,
        ).last_hidden_state[0]
    # Its gradient adds up in one order, whatever the threads; that of states[...] would not.
    return states.index_select(0, torch.tensor(tree.reply_parents, dtype=torch.long))


def _row_states(base: Any, ids: torch.Tensor, mask: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    """The hidden states that predict the labelled tokens, (tokens, width), from rows with padding."""
    states = decoder_of(base)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return states[:, :-1][labelled[:, 1:]]


class CompletionTrainer(OnCpu, SFTTrainer):
    """SFTTrainer whose loss is made by `CompletionLoss` where that is fast."""

    blank: ClassVar[dict[str, Any]] = {"input_ids": [0, 0], "labels": [-100, -100]}

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *rest: Any) -> Any:
        return self.fill(super()._prepare_dataset(dataset, processing_class, args, *rest), args)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self.is_shared:
            return super()._get_train_sampler(train_dataset)
        dataset: Any = self.train_dataset
        lengths = [len(row) for row in dataset["input_ids"]][: self.n_rows]
        rows = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        return OrderOfOne(lengths, rows, len(dataset) - self.n_rows)

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
    so its log-probabilities are taken once, before the first step; of several processes, at the first step of a batch.
    """

    train_dataset: Any
    data_collator: Any
    precompute_ref_logps: bool
    compute_ref_log_probs: Any
    _prepare_inputs: Any
    reply: str
    reference: tuple[str, str]
    """Columns of the data set: the reply, and the reference's two log-probabilities in a row."""
    _metrics: Any

    def __init__(self, *args: Any, **kwargs: Any):
        self._known: dict[bytes, list[torch.Tensor]] = {}
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *rest: Any) -> Any:
        """The rows are laid out as tokens already, in the one way that training and evals share."""
        return self.fill(dataset, args)

    def drop_reference(self) -> None:
        """Drop TRL's copy of the adapter that the training starts from, if any: without it the base is referred to."""
        if "ref" in self.model.peft_config:
            self.model.delete_adapter("ref")

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Take the reference's log-probabilities, then train."""
        if not self.is_shared:
            self._read_reference()
            self.drop_reference()  # it is not needed any more, and checkpoints would hold it
        return super().train(*args, **kwargs)

    def logprobs(self, batch: dict[str, Any], which: str = "", model: Any = None) -> torch.Tensor:
        """Log-probability of each row's reply, in nats, (rows,).

        Args:
            batch: As the collator makes it.
            which: Empty for a row's own reply, `KL_` for the reply of another row to its prompt.
            model: The model as it is wrapped for several processes.
        """
        ids, mask, labelled = (batch[which + key] for key in ("input_ids", "attention_mask", "completion_mask"))
        if self.is_shared:
            labels = ids.masked_fill(labelled == 0, -100)
            output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, use_cache=False)
            return output.log_probs.sum(-1)
        losses = self.losses(ids, mask, labelled.bool())
        return losses.new_zeros(len(ids)).index_add(0, labelled.nonzero()[:, 0], -losses)

    def of_batch(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The two log-probabilities of each row of a batch, as `reference` names them, (rows,) both."""
        raise NotImplementedError

    def reference_of(self, batch: dict[str, Any]) -> Sequence[torch.Tensor]:
        """The reference's two log-probabilities of each row of a batch, (rows,) both."""
        if not self.is_shared:
            return [batch[name] for name in self.reference]
        parts = [value for name, value in sorted(batch.items()) if name.endswith(("input_ids", "completion_mask"))]
        key = sha256(b"".join(part.cpu().numpy().tobytes() for part in parts)).digest()
        known = torch.tensor([key in self._known], device=self.accelerator.device)
        if not self.accelerator.gather(known).all():  # all processes read a sharded model together, or none does
            self._known[key] = [logprobs.float() for logprobs in self.compute_ref_log_probs(self.model, batch)]
        return self._known[key]

    def part_of_mean(self, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """What this process adds to a mean over the rows of all of them: the mean of what they add is that mean.

        Args:
            values: A value for each row, (rows,).
            rows: Which rows count, (rows,).
        """
        if not self.is_shared:
            return values[rows].mean()
        count = self.accelerator.gather(rows.sum()).sum()
        return values.masked_fill(~rows, 0).sum() * self.accelerator.num_processes / count

    def mean(self, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """A mean over the rows of all processes, without its gradient; NaN where no row counts."""
        part = self.part_of_mean(values.detach(), rows)
        return self.accelerator.gather(part).mean() if self.is_shared else part

    def show(self, name: str, values: torch.Tensor, rows: torch.Tensor, unit: float = 1) -> None:
        """Log a mean over rows, times a unit, where there is one."""
        if not torch.isnan(mean := self.mean(values, rows)):
            self._metrics["train" if self.model.training else "eval"][name].append(unit * mean.item())

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
    blank: ClassVar[dict[str, Any]] = {
        "prompt_ids": [0, 0],
        "completion_ids": [],
        "KL_completion_ids": [],
        "label": False,
    }

    def of_batch(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each row's reply, and of the reply of another row to its prompt."""
        return self.logprobs(batch), self.logprobs(batch, "KL_")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Equation 7 of the KTO paper: the mean over the rows of the batch."""
        if return_outputs or not (self.is_fast or self.is_shared):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        rows = inputs["completion_mask"].any(1)
        reference, reference_of_others = self.reference_of(inputs)
        with torch.no_grad():
            moved = self.logprobs(inputs, "KL_", model) - reference_of_others
            kl = self.mean(moved, rows).clamp(min=0)
        moved = self.logprobs(inputs, model=model) - reference
        desirable = inputs["label"].bool()
        sign = torch.where(desirable, 1.0, -1.0)
        weight = torch.where(desirable, self.desirable_weight, self.undesirable_weight)
        self._metrics["train" if self.model.training else "eval"]["kl"].append(kl.item())
        self.show("rewards/chosen", moved, rows & desirable, self.beta)
        self.show("rewards/rejected", moved, rows & ~desirable, self.beta)
        return self.part_of_mean(weight * (1 - torch.sigmoid(self.beta * sign * (moved - kl))), rows)


class PairTrainer(Preferences, DPOTrainer):
    """DPOTrainer of a PEFT model."""

    reply, reference = "chosen_ids", ("ref_chosen_logps", "ref_rejected_logps")
    blank: ClassVar[dict[str, Any]] = {"prompt_ids": [0, 0], "chosen_ids": [], "rejected_ids": []}

    def of_batch(self, batch: dict[str, Any], model: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the chosen replies, and of the rejected ones."""
        chosen, rejected = self.logprobs(batch, model=model).chunk(2)
        return chosen, rejected

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Equation 7 of the DPO paper: the mean over the pairs of the batch."""
        if return_outputs or not (self.is_fast or self.is_shared):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        rows = inputs["completion_mask"].chunk(2)[0].any(1)
        reference = self.reference_of(inputs)
        replies = self.of_batch(inputs, model)
        chosen, rejected = (self.beta * (reply - before) for reply, before in zip(replies, reference, strict=True))
        self.show("rewards/chosen", chosen, rows)
        self.show("rewards/rejected", rejected, rows)
        self.show("rewards/accuracies", (chosen > rejected).float(), rows)
        return self.part_of_mean(-torch.nn.functional.logsigmoid(chosen - rejected), rows)
