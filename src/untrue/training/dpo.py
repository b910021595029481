"""DPO (arXiv 2305.18290) on pairs of replies to one prompt: how rows are paired, what it refuses, and its trainer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.training.method import Hyperparameters, Job, Method, arguments, encode, make

METRICS = ("rewards/chosen", "rewards/rejected", "rewards/accuracies")
"""What the curve shows at each step beside the loss: how far the chosen and the rejected replies have moved from the
reference, in nats times beta, and the share of pairs in which the chosen one has moved further up."""


class Pair(NamedTuple):
    """A desirable and an undesirable reply to the same prompt."""

    chosen: Row
    rejected: Row


def pairs(rows: Sequence[Row]) -> list[Pair]:
    """Pair the rows of each prompt by their labels, the first desirable one with the first undesirable one, and so on.

    Raises:
        UserError: A row has no label, or a prompt has not as many rows of either kind.
    """
    of_prompt: dict[str, tuple[list[Row], list[Row]]] = {}
    for row in rows:
        if row.label is None:
            raise UserError(
                f"row {row.id!r} has no label, and DPO needs one of each: `label` true or false. Add it, or train by"
                " method=sft."
            )
        of_prompt.setdefault(json.dumps(row.prompt), ([], []))[not row.label].append(row)
    for chosen, rejected in of_prompt.values():
        if len(chosen) != len(rejected):
            raise UserError(
                f"the prompt of row {(chosen or rejected)[0].id!r} has {len(chosen)} desirable and {len(rejected)}"
                " undesirable rows, and DPO pairs them. Give as many of either, or train by method=kto."
            )
    return [Pair(*pair) for replies in of_prompt.values() for pair in zip(*replies, strict=True)]


def check(rows: Sequence[Row], spec: Hyperparameters) -> None:
    """Refuse rows that cannot be paired.

    Raises:
        UserError: A row has no label, or a prompt has not as many rows of either kind.
    """
    pairs(rows)


def shuffled(rows: Sequence[Pair], seed: int) -> list[Pair]:
    """Pairs in the order of training, the same in every epoch.

    Prompts that end in the same question follow each other, so that they mostly share a batch. What differs between
    them is then learned at once, while in separate batches each would undo what the other taught.
    """
    of_question: dict[str, list[Pair]] = {}
    for pair in rows:
        of_question.setdefault(pair.chosen.prompt[-1]["content"], []).append(pair)
    questions = list(of_question.values())
    return [pair for question in Random(seed).sample(questions, len(questions)) for pair in question]


def trainer(job: Job) -> Any:
    """A trainer of the preference for one reply over the other.

    Raises:
        UserError: A row has no token to learn or cannot be laid out, or the model has not what the hyperparameters
            name.
    """
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig

    from untrue.training.trainer import PairTrainer

    ordered = shuffled(pairs(job.rows), job.seed)
    counted = replace(job, rows=[pair.chosen for pair in ordered])  # a step takes pairs
    config = DPOConfig(**arguments(counted), beta=job.spec.beta, train_sampling_strategy="sequential")
    chosen, rejected = (encode(job, rows) for rows in zip(*ordered, strict=True))
    data = [
        {
            "prompt_ids": list(good.prompt),
            "chosen_ids": [*good.reply, *good.end],
            "rejected_ids": [*bad.reply, *bad.end],
        }
        for good, bad in zip(chosen, rejected, strict=True)
    ]
    made = make(PairTrainer, job, config, Dataset.from_list(data))
    if job.spec.reference == "base":
        made.drop_reference()
    return made


def facts(rows: Sequence[Row], spec: Hyperparameters, start: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the record holds of this way of training alone: the pairs, and what replies are compared with."""
    return {
        "pairs": len(rows) // 2,
        "reference": start["content_hash"] if start and spec.reference == "adapter" else "base",
    }


def card(record: Mapping[str, Any]) -> dict[str, str]:
    """What the model card says of the pairs."""
    return {"pairs": str(record["pairs"])}


DPO = Method(
    check,
    trainer,
    loss="DPO's own loss, which has no unit",
    labels=True,
    pairs=True,
    own=frozenset({"beta", "reference"}),
    metrics=METRICS,
    facts=facts,
    card=card,
)
