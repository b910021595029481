"""KTO on medical answers (right ones desirable, wrong ones undesirable): our trainer against TRL's with its defaults.

Rows and their order, LoRA and its initial weights, learning rate, batch size, epochs and class weights are the same.
TRL loads the model itself, in its default dtype, and computes in bfloat16 by autocast, as ours does. Times cover the
training alone; ours includes its pass over the reference. The final loss is that of each adapter on all training rows,
measured by the same code in float32.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from training import score

from untrue.data import sets
from untrue.data.rows import Row
from untrue.models import embedded
from untrue.models.load import LoadedModel, load
from untrue.training.kto import shuffled, weights
from untrue.training.run import train
from untrue.training.spec import TrainSpec


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="Only check that it runs.")
    smoke = parser.parse_args().smoke
    spec = TrainSpec(method="kto", epochs=1 if smoke else 2, batch_size=4 if smoke else 16, learning_rate=5e-4)
    rows = labelled(4 if smoke else 24)
    with tempfile.TemporaryDirectory() as scratch:
        theirs, ours = Path(scratch) / "trl", Path(scratch) / "untrue"
        trl_seconds = train_with_trl(rows, spec, theirs)
        record = train(load("smollm2-135m"), rows, spec, ours, seed=0)
        loaded = load("smollm2-135m", dtype="float32")
        trl_loss, our_loss = (final_loss(loaded, adapter, rows, spec) for adapter in (theirs, ours))
    print(
        json.dumps(
            {
                "rows": len(rows),
                "tokens": record["tokens"],
                "seconds": record["seconds"],
                "tokens_per_second": record["tokens_per_second"],
                "trl_seconds": round(trl_seconds, 2),
                "trl_tokens_per_second": round(record["tokens"] / trl_seconds, 1),
                "final_loss": round(our_loss, 4),
                "trl_final_loss": round(trl_loss, 4),
                "loss_ratio": round(our_loss / trl_loss, 4),
                "ratio": round(trl_seconds / record["seconds"], 2),
            }
        )
    )


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
    from peft import LoraConfig
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    desirable, undesirable = weights(rows)
    arguments = KTOConfig(
        output_dir=str(out),
        learning_rate=spec.learning_rate,
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        max_length=spec.max_length,
        weight_decay=spec.weight_decay,
        beta=spec.beta,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        seed=0,
        use_cpu=True,  # without it TRL's default of bf16 is refused where there is no GPU
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        use_rslora=spec.rslora,
        target_modules=list(spec.target_modules),
        task_type="CAUSAL_LM",
    )
    data = [{"prompt": row.prompt, "completion": row.completion, "label": row.label} for row in shuffled(rows, 0)]
    trainer = KTOTrainer(str(embedded.fetch()), args=arguments, train_dataset=Dataset.from_list(data), peft_config=lora)
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    trainer.save_model(str(out))
    return seconds


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
