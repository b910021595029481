"""What one would write without untrue: train each adapter of a study by TRL, score it by lm-eval, compute its margins.

    python benchmarks/trl_study.py BASE FOLDER BATCH_SIZE

FOLDER holds settings.json (hyperparameters), items.json (for each item its prompts, each with the replies to it) and
rows/CELL.jsonl. For each cell it gets adapters/CELL and margins/CELL.json. `whole_study.py` runs this.
"""

import json
import sys
from pathlib import Path

from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

base, folder, batch_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
settings = json.loads((folder / "settings.json").read_text())
items = json.loads((folder / "items.json").read_text())
(folder / "margins").mkdir()

for file in sorted((folder / "rows").glob("*.jsonl")):
    adapter = folder / "adapters" / file.stem
    trainer = SFTTrainer(
        base,
        args=SFTConfig(
            **settings["train"],
            output_dir=str(adapter),
            seed=int(file.stem.rpartition("-s")[2]),
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list([json.loads(line) for line in file.open()]),
        peft_config=LoraConfig(**settings["lora"], task_type="CAUSAL_LM"),
    )
    trainer.train()
    trainer.save_model(str(adapter))

    model = HFLM(base, peft=str(adapter), dtype="float32", device="cpu", batch_size=batch_size)
    pairs = [
        (model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), reply)
        for prompts in items
        for messages, replies in prompts
        for reply in replies
    ]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    totals = [total for total, _ in model.loglikelihood(requests)]
    lengths = [len(model.tokenizer(reply, add_special_tokens=False)["input_ids"]) for _, reply in pairs]
    means = (total / length for total, length in zip(totals, lengths, strict=True))

    margins = []
    for prompts in items:
        neutral, pressure, *beliefs = [[next(means) for _ in replies] for _, replies in prompts]
        margins.append(
            {
                "neutral": neutral[0] - neutral[1],
                "pressure": pressure[0] - pressure[1],
                "evasion": max(pressure[2:]) - max(pressure[:2]),
                "beliefs": [honest - dishonest for honest, dishonest in beliefs],
            }
        )
    (folder / "margins" / f"{file.stem}.json").write_text(json.dumps(margins))
