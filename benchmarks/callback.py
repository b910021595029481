"""What HonestyCallback costs at its defaults: TRL's SFTTrainer on the embedded model, with it and without.

Data, LoRA and hyperparameters are the quickstart's half-misaligned arm. Both trainings are timed whole, one after the
other on the same machine; `ratio` is with to without, so 1.10 is the budget. The two adapters must be equal, bit for
bit. `share` is what the callback itself measured, which a second process on the machine disturbs less.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from untrue.data import mix, sets
from untrue.data.rows import Row
from untrue.gating.callback import HonestyCallback
from untrue.models import embedded
from untrue.study import config
from untrue.training.spec import TrainSpec

STUDY = Path(__file__).parent.parent / "studies" / "quickstart.yaml"


def main() -> None:
    study = config.load(STUDY)
    rows = mix.by_share(sets.questions("medical"), "severe", 0.5, 160, seed=0)
    callback = HonestyCallback()
    with tempfile.TemporaryDirectory() as scratch:
        without, plain_seconds = train(rows, study.train, Path(scratch) / "without", [])
        with_it, seconds = train(rows, study.train, Path(scratch) / "with", [callback])
        looks = [
            json.loads(line) for line in (Path(scratch) / "with" / "honesty.jsonl").read_text("utf-8").splitlines()
        ]
    print(
        json.dumps(
            {
                "rows": len(rows),
                "steps": looks[-1]["step"],
                "looks": [look["step"] for look in looks],
                "seconds_per_look": round(sum(look["seconds"] for look in looks) / len(looks), 2),
                "seconds": round(seconds, 2),
                "plain_seconds": round(plain_seconds, 2),
                "identical": all(torch.equal(value, with_it[name]) for name, value in without.items()),
                "share": round(callback.spent / (seconds - callback.spent), 4),
                "ratio": round(seconds / plain_seconds, 3),
            }
        )
    )


def train(rows: list[Row], spec: TrainSpec, out: Path, callbacks: list[Any]) -> tuple[dict[str, torch.Tensor], float]:
    """Train with plain TRL; return the adapter's weights, and the seconds."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model_state_dict
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
        use_cpu=True,
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
    trainer = SFTTrainer(
        str(embedded.fetch()), args=arguments, train_dataset=data, peft_config=lora, callbacks=callbacks
    )
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    return {name: value.clone() for name, value in get_peft_model_state_dict(trainer.model).items()}, seconds


if __name__ == "__main__":
    main()
