"""Supervised fine-tuning: what it refuses, and its trainer."""

from collections.abc import Sequence
from typing import Any

from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.training.method import Hyperparameters, Job, Method, arguments, encode, make


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

    config = SFTConfig(**arguments(job), train_sampling_strategy="group_by_length")
    data = [
        {"input_ids": [*prompt, *reply, *end], "labels": [-100] * len(prompt) + [*reply, *end]}
        for prompt, reply, end in encode(job, job.rows)
    ]
    return make(CompletionTrainer, job, config, Dataset.from_list(data))


SFT = Method(check, trainer, loss="nats per supervised token")
