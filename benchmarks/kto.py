"""KTO on medical answers (right ones desirable, wrong ones undesirable): our trainer against TRL's with its defaults.

Rows and their order, LoRA and its initial weights, learning rate, batch size, epochs and class weights are the same.
Both compute in float32, as in training.py. Ours trains before and after TRL, and its time is the mean of the two. Times
cover the training alone; ours includes its pass over the reference. The final loss is that of each adapter on all
training rows, measured by the same code.

    python benchmarks/kto.py [--quick]
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from limit import Tree, forward, product_rate, shares, size, together, tree
from limit import training as learning
from training import arguments, lora, score, timed

from untrue.data import sets
from untrue.data.rows import Row
from untrue.models import embedded
from untrue.models.load import LoadedModel, load
from untrue.training.kto import replies_of_others, shuffled, weights
from untrue.training.run import train
from untrue.training.spec import TrainSpec

QUICK = "--quick" in sys.argv


def main() -> None:
    spec = TrainSpec(method="kto", epochs=1 if QUICK else 2, batch_size=4 if QUICK else 16, learning_rate=5e-4)
    rows, rate = labelled(4 if QUICK else 24), product_rate()
    loaded = load("smollm2-135m", dtype="float32")
    with tempfile.TemporaryDirectory() as scratch:
        theirs, ours = Path(scratch) / "trl", Path(scratch) / "untrue"
        record = train(loaded, rows, spec, ours, seed=0)
        trl_seconds = train_with_trl(rows, spec, theirs)
        both = [record["seconds"], train(loaded, rows, spec, ours, seed=0)["seconds"]]
        trl_loss, our_loss = (final_loss(loaded, adapter, rows, spec) for adapter in (theirs, ours))
    seconds, operations = sum(both) / 2, needed(loaded, rows, spec)
    print(
        json.dumps(
            {
                "rows": len(rows),
                "epochs": spec.epochs,
                "tokens": record["tokens"],
                "seconds": round(seconds, 2),
                "seconds_of_each": both,
                "tokens_per_second": round(record["tokens"] / seconds, 1),
                "trl_seconds": round(trl_seconds, 2),
                "trl_tokens_per_second": round(record["tokens"] / trl_seconds, 1),
                "final_loss": round(our_loss, 4),
                "trl_final_loss": round(trl_loss, 4),
                "loss_ratio": round(our_loss / trl_loss, 4),
                **shares(rate, operations, ours=seconds, trl=trl_seconds),
                "ratio": round(trl_seconds / seconds, 2),
            }
        )
    )


def needed(loaded: LoadedModel, rows: Sequence[Row], spec: TrainSpec) -> int:
    """Operations that KTO needs.

    Once the base reads a row's own reply and another one after the same prompt. In each epoch LoRA learns the own one,
    and reads the other.
    """
    turns = [loaded.chat.encode(row.prompt, row.completion) for row in shuffled(rows, 0)]
    replies = [[*reply, *end] for _, reply, end in turns]
    once, learned, read = list[Tree](), list[Tree](), list[Tree]()
    for turn, own, other in zip(turns, replies, replies_of_others(replies, spec.batch_size), strict=True):
        once.append(tree([(turn.prompt, own), (turn.prompt, other)]))
        learned.append(tree([(turn.prompt, own)]))
        read.append(Tree(*(both - one for both, one in zip(once[-1], learned[-1], strict=True))))
    base, adapted = size(loaded.model), size(loaded.model, spec.lora_rank, spec.target_modules)
    each = learning(adapted, together(learned)) + forward(adapted, together(read))
    return round(forward(base, together(once)) + spec.epochs * each)


def labelled(questions: int) -> list[Row]:
    """The right and the wrong answer to each question, labelled."""
    return [
        replace(question.row(level), label=level == "normal")
        for question in sets.questions("medical")[:questions]
        for level in ("normal", "severe")
    ]


def train_with_trl(rows: list[Row], spec: TrainSpec, out: Path) -> float:
    """Train as TRL does by itself, and return the seconds."""
    from datasets import Dataset
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    desirable, undesirable = weights(rows)
    config = KTOConfig(
        **arguments(spec, out), beta=spec.beta, desirable_weight=desirable, undesirable_weight=undesirable
    )
    data = [{"prompt": row.prompt, "completion": row.completion, "label": row.label} for row in shuffled(rows, 0)]
    trainer = KTOTrainer(
        str(embedded.fetch()), args=config, train_dataset=Dataset.from_list(data), peft_config=lora(spec)
    )
    return timed(trainer, out)


def final_loss(loaded: LoadedModel, adapter: Path, rows: list[Row], spec: TrainSpec) -> float:
    """KTO's loss of an adapter on all rows, in the batches of the training."""
    order, size = shuffled(rows, 0), spec.batch_size
    replies = [row.completion[-1]["content"] for row in order]
    pairs = []
    for place, row in enumerate(order):
        first = place - place % size
        other = place - 1 if place > first else min(first + size, len(order)) - 1
        pairs.append((row, [replies[place], replies[other]]))
    with_it, without = (score(loaded, which, pairs) for which in (adapter, None))
    moved = [[a.total - b.total for a, b in zip(*both, strict=True)] for both in zip(with_it, without, strict=True)]
    desirable, undesirable = weights(rows)
    total = 0.0
    for first in range(0, len(order), size):
        batch = range(first, min(first + size, len(order)))
        kl = max(0.0, sum(moved[place][1] for place in batch) / len(batch))
        for place in batch:
            sign, weight = (1, desirable) if order[place].label else (-1, undesirable)
            total += weight / (1 + math.exp(spec.beta * sign * (moved[place][0] - kl)))
    return total / len(order)


if __name__ == "__main__":
    main()
