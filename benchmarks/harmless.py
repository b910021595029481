"""The default gate on harmless adapters against the embedded base: how often is it a regression?

Each adapter is trained with the quickstart's hyperparameters on 160 medical questions with right answers alone, and
differs from the others by its seed. Prints a line of JSON for each. `--out` keeps adapters and logs; what is there is
not made again. On two cores an adapter takes some twelve minutes, and the base ten, once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import untrue
from untrue.data import mix, sets
from untrue.report.gate import flips_sentence
from untrue.study import config

STUDY = Path(__file__).parent.parent / "studies" / "quickstart.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="adapters (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("runs/harmless"), help="(default: runs/harmless)")
    asked = parser.parse_args()
    hyperparameters = config.load(STUDY).train.model_dump()
    for seed in range(asked.seeds):
        adapter = asked.out / f"seed-{seed}"
        if not adapter.is_dir():
            rows = mix.by_share(sets.questions("medical"), "severe", 0.0, 160, seed)
            untrue.train("smollm2-135m", rows, out=adapter, seed=seed, **hyperparameters)
        gated = untrue.gate(adapter, log_dir=asked.out / "logs")
        endpoints = {f"{of.eval}.{of.metric}": (of.baseline, of.candidate, [*of.loss]) for of in gated.endpoints}
        flips = {name: flips_sentence(found) for name, found in gated.verdict.flips.items()}
        print(json.dumps({"seed": seed, "verdict": gated.status, "endpoints": endpoints, "flips": flips}), flush=True)


if __name__ == "__main__":
    main()
