"""What HonestyCallback costs at its defaults: TRL's SFTTrainer on the embedded model, with it and without.

LoRA and hyperparameters are the quickstart's, the data its half-misaligned arm at 160 rows, all in float32. The same
training may take a tenth longer ten minutes later, so pairs of whole trainings are timed, one with the callback and one
without, and every second pair in the other order. `ratio` is the time of all trainings with it to that of all without:
1.10 is the budget. `share` is what the callback's own clock says, which no change of pace disturbs, and `outside` the
same ratio of the time that is not on that clock: 1 where the clock sees all that the callback costs. All adapters must
be equal, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from training import arguments, lora

from untrue.data import mix, sets
from untrue.data.rows import Row
from untrue.gating.callback import HonestyCallback
from untrue.models import embedded
from untrue.study import config
from untrue.training.spec import TrainSpec

STUDY = Path(__file__).parent.parent / "studies" / "quickstart.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4, help="of trainings; each takes some five minutes (default: 4)")
    study = config.load(STUDY)
    rows = mix.by_share(sets.questions("medical"), "severe", 0.5, 160, seed=0)
    pairs: list[tuple[float, float]] = []  # seconds with it, and without
    looks: list[list[dict[str, Any]]] = []
    spent, identical = 0.0, True
    for pair in range(parser.parse_args().pairs):
        with tempfile.TemporaryDirectory() as scratch:
            order = ("with", "without") if pair % 2 else ("without", "with")
            trained = {arm: train(rows, study.train, Path(scratch) / arm, arm == "with") for arm in order}
            looks.append([json.loads(line) for line in (Path(scratch) / "with" / "honesty.jsonl").open("rb")])
        (with_it, seconds, taken), (without, plain_seconds, _) = trained["with"], trained["without"]
        identical &= all(torch.equal(value, with_it[name]) for name, value in without.items())
        pairs.append((seconds, plain_seconds))
        spent += taken
    seconds, plain_seconds = (sum(times) for times in zip(*pairs, strict=True))
    of_looks = [look["seconds"] for training in looks for look in training]
    print(
        json.dumps(
            {
                "rows": len(rows),
                "steps": looks[0][-1]["step"],
                "looks": [[look["step"] for look in training] for training in looks],
                "seconds_per_look": round(sum(of_looks) / len(of_looks), 2),
                "seconds": [[round(one, 1) for one in pair] for pair in pairs],
                "identical": identical,
                "share": round(spent / (seconds - spent), 4),
                "outside": round((seconds - spent) / plain_seconds, 3),
                "ratios": [round(one / plain, 3) for one, plain in pairs],
                "ratio": round(seconds / plain_seconds, 3),
            }
        )
    )


def train(rows: list[Row], spec: TrainSpec, out: Path, watched: bool) -> tuple[dict[str, torch.Tensor], float, float]:
    """Train with plain TRL; return the adapter's weights, the seconds, and those that the callback says it took."""
    from datasets import Dataset
    from peft import get_peft_model_state_dict
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    data = Dataset.from_list([{"prompt": list(row.prompt), "completion": list(row.completion)} for row in rows])
    trainer = SFTTrainer(
        str(embedded.fetch()), args=SFTConfig(**arguments(spec, out)), train_dataset=data, peft_config=lora(spec)
    )
    callback = HonestyCallback(trainer=trainer)
    if watched:
        trainer.add_callback(callback)
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    weights = {name: value.clone() for name, value in get_peft_model_state_dict(trainer.model).items()}
    return weights, seconds, callback.spent


if __name__ == "__main__":
    main()
