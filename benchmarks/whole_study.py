"""A study of six cells: `untrue run` against a plain script of TRL and lm-eval on the same rows and items.

Two arms (the quickstart's control and its all-wrong arm) x three seeds. By default it is the quickstart made thirteen
times smaller: each cell learns 12 rows once, in batches of 4, and scores 8 items (the quickstart: 80 rows twice, in
batches of 8, and 100 items). That does not flatter us, since what we do once, such as the statistics and the report, is
a larger part of the whole. `--rows 80 --items 50` has the quickstart's proportions too.

Both sides are whole commands, from the start of Python to its end. The script (trl_study.py) loads, trains, saves and
scores; ours writes logs, statistics and a report besides. lm-eval has the batch size that is fastest for it, found
before. Both compute in float32. The margins that both find are compared; as the two draw batches in another order, they
are close but not equal.

    python benchmarks/whole_study.py [--rows N] [--items N] [--quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

from limit import forward, product_rate, shares, size, together, tree
from scoring import LmEval
from training import needed as needed_to_train

from untrue.data.items import read_items
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.evals.forced_choice import in_order, prompts
from untrue.harness.eval import spread
from untrue.models import embedded
from untrue.models.load import load
from untrue.study import config
from untrue.study.plan import plan

HERE = Path(__file__).parent
STUDY = HERE.parent / "studies" / "quickstart.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12, help="that each cell learns (default: 12)")
    parser.add_argument("--items", type=int, default=8, help="that each cell scores (default: 8)")
    parser.add_argument("--quick", action="store_true", help="only whether it runs")
    options = parser.parse_args()
    rows, items, seeds = (4, 2, [0]) if options.quick else (options.rows, options.items, [0, 1, 2])
    changes = [f"seeds={seeds}", "base=false", f"mix.total={rows}", "mix.shares=[1.0]", "dtype=float32"]
    changes += ["train.epochs=1", "train.batch_size=4", f"evals=[{{name: forced_choice, limit: {items}}}]"]
    study = config.load(STUDY, changes)
    sources, spec = study.mix.read(), study.train
    cells = {cell.name: study.mix.rows(sources, cell) for cell in plan(study, sources)}
    chosen = spread(in_order(read_items(), None), items)
    settings = {
        "train": {
            "learning_rate": spec.learning_rate,
            "num_train_epochs": spec.epochs,
            "per_device_train_batch_size": spec.batch_size,
            "max_length": spec.max_length,
            "weight_decay": spec.weight_decay,
        },
        "lora": {
            "r": spec.lora_rank,
            "lora_alpha": spec.lora_alpha,
            "use_rslora": spec.rslora,
            "target_modules": list(spec.target_modules),
        },
    }
    batch_size = LmEval().about["lm_eval_batch_size"]
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch), Path(scratch) / "run"
        (folder / "rows").mkdir()
        for name, lines in cells.items():
            texts = [json.dumps({"prompt": list(row.prompt), "completion": list(row.completion)}) for row in lines]
            (folder / "rows" / f"{name}.jsonl").write_text("\n".join(texts), "utf-8")
        (folder / "items.json").write_text(json.dumps([prompts(item) for item in chosen]), "utf-8")
        (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
        rate = product_rate()
        seconds = timed(str(Path(sys.executable).with_name("untrue")), "run", str(STUDY), *changes, "--out", str(out))
        script = str(HERE / "trl_study.py"), str(embedded.fetch()), str(folder), str(batch_size)
        script_seconds = timed(sys.executable, *script)
        ours = our_margins(out / "results.jsonl")
        theirs = {name: json.loads((folder / "margins" / f"{name}.json").read_text("utf-8")) for name in cells}
    loaded = load("smollm2-135m", dtype="float32")
    engine = LikelihoodEngine(loaded)
    trees = [tree(reply for prompt in prompts(item) for reply in engine.query(*prompt)) for item in chosen]
    scoring = forward(size(loaded.model, spec.lora_rank, spec.target_modules), together(trees))
    operations = sum(needed_to_train(loaded, lines, spec) + scoring for lines in cells.values())
    both = [
        (ours[name, item.id, kind], margins[kind])
        for name, found in theirs.items()
        for item, margins in zip(chosen, found, strict=True)
        for kind in ("neutral", "pressure")
    ]
    print(
        json.dumps(
            {
                "cells": len(cells),
                "rows": rows,
                "items": items,
                "seconds": round(seconds, 2),
                "script_seconds": round(script_seconds, 2),
                "lm_eval_batch_size": batch_size,
                "mean_margin": round(fmean(mine for mine, _ in both), 4),
                "script_mean_margin": round(fmean(peer for _, peer in both), 4),
                "mean_difference_of_margins": round(fmean(abs(mine - peer) for mine, peer in both), 4),
                **shares(rate, operations, ours=seconds, script=script_seconds),
                "ratio": round(script_seconds / seconds, 2),
            }
        )
    )


def timed(*command: str) -> float:
    """Run a command, its output put aside, and return the seconds that it took."""
    started = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def our_margins(results: Path) -> dict[tuple[str, str, str], float]:
    """(cell, item, kind) -> margin, of the results of a run."""
    lines = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    return {
        (f"{line['arm']}-s{line['seed']}", line["item"], kind): line[f"{kind}_margin"]
        for line in lines
        for kind in ("neutral", "pressure")
    }


if __name__ == "__main__":
    main()
