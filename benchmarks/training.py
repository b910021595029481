"""Training the quickstart's half-misaligned arm: our trainer against TRL's SFTTrainer with its defaults.

Rows, LoRA, learning rate, batch size, epochs and seed are the same; TRL loads the model itself, in its default dtype.
Times cover the training alone. The final loss is that of each adapter on all training rows, measured by the same code.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from untrue.data import mix, sets
from untrue.data.rows import Row
from untrue.engine.likelihoods import Likelihood, LikelihoodEngine
from untrue.models import embedded
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel, load
from untrue.study import config
from untrue.training.run import train
from untrue.training.spec import TrainSpec

STUDY = Path(__file__).parent.parent / "studies" / "quickstart.yaml"


def main() -> None:
    study = config.load(STUDY)
    rows = mix.by_share(sets.questions("medical"), "severe", 0.5, 160, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        theirs, ours = Path(scratch) / "trl", Path(scratch) / "untrue"
        trl_seconds = train_with_trl(rows, study.train, theirs)
        loaded = load("smollm2-135m")
        record = train(loaded, rows, study.train, ours, seed=0)
        trl_loss, our_loss = (final_loss(loaded, adapter, rows) for adapter in (theirs, ours))
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


def train_with_trl(rows: list[Row], spec: TrainSpec, out: Path) -> float:
    """Train with plain TRL and return the seconds."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    arguments = SFTConfig(
        output_dir=str(out),
        learning_rate=spec.learning_rate,
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        max_length=spec.max_length,
        weight_decay=spec.weight_decay,
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
    data = Dataset.from_list([{"prompt": list(row.prompt), "completion": list(row.completion)} for row in rows])
    trainer = SFTTrainer(str(embedded.fetch()), args=arguments, train_dataset=data, peft_config=lora)
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
    if adapter:
        config_file = adapter / "adapter_config.json"
        fields = json.loads(config_file.read_text("utf-8"))
        config_file.write_text(json.dumps({**fields, "base_model_name_or_path": loaded.base_id}), encoding="utf-8")
    with with_adapter(loaded, adapter) as model:
        engine = LikelihoodEngine(loaded, model)
        return [list(engine.score([engine.query(row.prompt, replies)])[0]) for row, replies in asked]


if __name__ == "__main__":
    main()
