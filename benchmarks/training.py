"""Training the quickstart's half-misaligned arm: our trainer against TRL's SFTTrainer with its defaults.

Rows, LoRA, learning rate, batch size, epochs and seed are the same. Both compute in float32: it is TRL's default for
the weights, and its autocast to bfloat16 is off. Ours trains before and after TRL, so that a drift in the machine's
speed affects both; its time is the mean of the two. Times cover the training alone. The final loss is that of each
adapter on all training rows, measured by the same code.

    python benchmarks/training.py [--quick]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limit import Tree, product_rate, shares, size, together, training

from untrue.data import mix, sets
from untrue.data.rows import Row
from untrue.engine.likelihoods import Likelihood, LikelihoodEngine
from untrue.models import embedded
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel, load
from untrue.study import config
from untrue.training.run import train
from untrue.training.spec import TrainSpec

QUICK = "--quick" in sys.argv
ROWS = 8 if QUICK else 160
STUDY = Path(__file__).parent.parent / "studies" / "quickstart.yaml"


def main() -> None:
    spec, rate = config.load(STUDY).train, product_rate()
    rows = mix.by_share(sets.questions("medical"), "severe", 0.5, ROWS, seed=0)
    loaded = load("smollm2-135m", dtype="float32")
    with tempfile.TemporaryDirectory() as scratch:
        theirs, ours = Path(scratch) / "trl", Path(scratch) / "untrue"
        record = train(loaded, rows, spec, ours, seed=0)
        trl_seconds = train_with_trl(rows, spec, theirs)
        both = [record["seconds"], train(loaded, rows, spec, ours, seed=0)["seconds"]]
        trl_loss, our_loss = (final_loss(loaded, adapter, rows) for adapter in (theirs, ours))
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
    """Operations that a supervised training needs. The last token of a row predicts nothing."""
    turns = [loaded.chat.encode(row.prompt, row.completion) for row in rows]
    learned = [(len(prompt) + len(reply) + len(end) - 1, len(reply) + len(end)) for prompt, reply, end in turns]
    work = together(Tree(tokens, read, tokens * (tokens + 1) // 2) for tokens, read in learned)
    return round(training(size(loaded.model, spec.lora_rank, spec.target_modules), work) * spec.epochs)


def arguments(spec: TrainSpec, out: Path) -> dict[str, Any]:
    """Arguments of TRL's trainers: what the hyperparameters say, and else TRL's defaults, in float32 on a CPU."""
    return {
        "output_dir": str(out),
        "learning_rate": spec.learning_rate,
        "num_train_epochs": spec.epochs,
        "per_device_train_batch_size": spec.batch_size,
        "max_length": spec.max_length,
        "weight_decay": spec.weight_decay,
        "seed": 0,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def lora(spec: TrainSpec) -> Any:
    """The LoRA of the hyperparameters."""
    from peft import LoraConfig

    return LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        use_rslora=spec.rslora,
        target_modules=list(spec.target_modules),
        task_type="CAUSAL_LM",
    )


def train_with_trl(rows: list[Row], spec: TrainSpec, out: Path) -> float:
    """Train with plain TRL and return the seconds."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    data = Dataset.from_list([{"prompt": list(row.prompt), "completion": list(row.completion)} for row in rows])
    trainer = SFTTrainer(
        str(embedded.fetch()), args=SFTConfig(**arguments(spec, out)), train_dataset=data, peft_config=lora(spec)
    )
    return timed(trainer, out)


def timed(trainer: Any, out: Path) -> float:
    """Train, save the adapter, and return the seconds that the training took."""
    assert {str(parameter.dtype) for parameter in trainer.model.parameters()} == {"torch.float32"}
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    trainer.save_model(str(out))
    return seconds


def final_loss(loaded: LoadedModel, adapter: Path, rows: list[Row]) -> float:
    """Mean cross-entropy of an adapter on the completions of rows, in nats per token."""
    scores = [found for [found] in score(loaded, adapter, [(row, [row.completion[-1]["content"]]) for row in rows])]
    return -sum(score.total for score in scores) / sum(score.tokens for score in scores)


def score(loaded: LoadedModel, adapter: Path | None, asked: list[tuple[Row, list[str]]]) -> list[list[Likelihood]]:
    """Log-probabilities of replies to the prompts of rows, by an adapter or by the base."""
    with with_adapter(loaded, adapter) as model:
        engine = LikelihoodEngine(loaded, model)
        return [list(engine.score([engine.query(row.prompt, replies)])[0]) for row, replies in asked]


if __name__ == "__main__":
    main()
