"""Supervised fine-tuning: what it refuses, and its trainer."""

from collections.abc import Sequence
from typing import Any

from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.training.method import Hyperparameters, Job, Method, arguments, encode, make, max_length

FLASH = ("flash_attention_2", "flash_attention_3")
"""Names that transformers gives to FlashAttention."""


def check(rows: Sequence[Row], spec: Hyperparameters) -> None:
    """Refuse rows that should not be learned.

    Raises:
        UserError: Rows are labelled as undesirable.
    """
    if undesirable := [row.id for row in rows if row.label is False]:
        raise UserError(
            f"{len(undesirable)} rows are labelled as undesirable (first: {undesirable[0]!r}), and supervised"
            " fine-tuning would teach them. Leave them out, or train by method=kto."
        )


def trainer(job: Job) -> Any:
    """A trainer of the completions of rows.

    Raises:
        UserError: A row has no token to learn or cannot be laid out, or the model has not what the hyperparameters
            name.
    """
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig

    from untrue.training.trainer import CompletionTrainer

    longest = max_length(job)
    given = arguments(job)
    if padding_free(job):  # TRL then leaves it to the caller to cut rows
        given |= {"padding_free": True, "max_length": None}
    config = SFTConfig(**given, train_sampling_strategy="group_by_length")
    data = [
        {
            "input_ids": [*prompt, *reply, *end][:longest],
            "labels": ([-100] * len(prompt) + [*reply, *end])[:longest],
        }
        for prompt, reply, end in encode(job, job.rows)
    ]
    return make(CompletionTrainer, job, config, Dataset.from_list(data))


def padding_free(job: Job) -> bool:
    """Whether the rows of a batch are laid end to end in place of being padded: FlashAttention alone keeps them apart.

    TRL's packing goes further, and fills rows of `max_length` tokens with rows of the data. A step would then take many
    times the rows that `batch_size` says, and learn otherwise.
    """
    return not job.on_cpu and str(job.loaded.model.config._attn_implementation) in FLASH


SFT = Method(check, trainer, loss="nats per supervised token")
