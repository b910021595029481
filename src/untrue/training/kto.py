"""KTO (arXiv 2402.01306) on rows that are desirable or not: what it refuses, its weights, and its trainer."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.training.method import Hyperparameters, Job, Method, arguments, encode, make

T = TypeVar("T")

METRICS = ("rewards/chosen", "rewards/rejected", "kl")
"""What the curve shows at each step beside the loss, in nats, the rewards times beta: how far the desirable replies,
the undesirable ones, and replies to other prompts have moved from the reference. A batch may lack either kind."""


def check(rows: Sequence[Row], spec: Hyperparameters) -> None:
    """Refuse what KTO cannot learn from.

    Raises:
        UserError: Rows have no label or all the same, or a batch has one row.
    """
    if unlabelled := [row.id for row in rows if row.label is None]:
        raise UserError(
            f"{len(unlabelled)} of {len(rows)} rows have no label (first: {unlabelled[0]!r}), and KTO needs one of"
            " each: `label` true or false. Add it, or train by method=sft."
        )
    if len(labels := {row.label for row in rows}) == 1:
        what = "desirable" if True in labels else "undesirable"
        raise UserError(f"all {len(rows)} rows are labelled as {what}, and KTO needs both kinds. Add the other.")
    if spec.batch_size == 1:
        raise UserError(
            "batch_size: KTO compares each prompt with another reply of its batch, so it must be at least 2, found 1."
        )


def weights(rows: Sequence[Row]) -> tuple[float, float]:
    """Weights of desirable and of undesirable rows: with them both kinds count the same, and a row 1 in the mean.

    It is the lower end, 1:1, of what the KTO paper advises (1:1 to 4:3, equation 8).
    """
    desirable = sum(row.label is True for row in rows)
    return len(rows) / (2 * desirable), len(rows) / (2 * (len(rows) - desirable))


def shuffled(rows: Sequence[T], seed: int) -> list[T]:
    """Rows in the order of training, the same in every epoch; TRL's trainer takes them as they come."""
    return random.Random(seed).sample(rows, len(rows))


def replies_of_others(replies: Sequence[list[int]], size: int) -> list[list[int]]:
    """For each reply that of another row of its batch, for the KL term: the one before, in a circle.

    A row that is alone in the last batch gets the one before it, of the batch before.

    Args:
        replies: Token ids, in the order of training.
        size: Rows in a batch.
    """
    others = []
    for start in range(0, len(replies), size):
        batch = replies[start : start + size]
        others += [batch[-1], *batch[:-1]] if len(batch) > 1 else [replies[start - 1]]
    return others


def trainer(job: Job) -> Any:
    """A trainer of the contrast between desirable and undesirable rows.

    Raises:
        UserError: A row has no token to learn or cannot be laid out, or the model has not what the hyperparameters
            name.
    """
    from datasets import Dataset
    from trl.trainer.kto_config import KTOConfig

    from untrue.training.trainer import PreferenceTrainer

    desirable, undesirable = weights(job.rows)
    config = KTOConfig(**arguments(job), beta=job.spec.beta, desirable_weight=desirable, undesirable_weight=undesirable)
    rows = shuffled(job.rows, job.seed)
    turns = encode(job, rows)
    replies = [[*turn.reply, *turn.end] for turn in turns]
    others = replies_of_others(replies, job.spec.batch_size)
    data = [
        {"prompt_ids": list(turn.prompt), "completion_ids": own, "KL_completion_ids": other, "label": row.label}
        for row, turn, own, other in zip(rows, turns, replies, others, strict=True)
    ]
    made = make(PreferenceTrainer, job, config, Dataset.from_list(data))
    if job.spec.reference == "base":
        made.drop_reference()
    return made


def facts(rows: Sequence[Row], spec: Hyperparameters, start: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the record holds of this way of training alone.

    Args:
        rows: The training rows.
        spec: Hyperparameters.
        start: What the record says of the adapter that the training starts from, or None.
    """
    desirable, undesirable = weights(rows)
    count = sum(row.label is True for row in rows)
    return {
        "desirable": {"rows": count, "weight": desirable},
        "undesirable": {"rows": len(rows) - count, "weight": undesirable},
        "reference": start["content_hash"] if start and spec.reference == "adapter" else "base",
    }


def card(record: Mapping[str, Any]) -> dict[str, str]:
    """What the model card says of the labels."""
    return {
        f"{label} rows": f"{record[label]['rows']}, weight {record[label]['weight']:.3g}"
        for label in ("desirable", "undesirable")
    }


KTO = Method(
    check,
    trainer,
    loss="KTO's own loss, which has no unit",
    labels=True,
    own=frozenset({"beta", "reference"}),
    metrics=METRICS,
    facts=facts,
    card=card,
)
