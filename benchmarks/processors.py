"""How far one recipe at one seed drifts between kinds of CPU and numbers of threads, after the quickstart's steps.

    python benchmarks/processors.py [FOLDER]        # four trainings and five evaluations: 10 minutes on two cores

Each way trains the quickstart's `severe-1` arm at seed 0 in a process of its own. Its adapter is then evaluated on the
quickstart's items: with the way of its training (as a user would), and that of the first way also with the last way, to
tell how much of the difference is the evaluation's. An older CPU is emulated by the environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
WAYS = {
    "as it is, 2 threads": {"OMP_NUM_THREADS": "2"},
    "as it is, 1 thread": {"OMP_NUM_THREADS": "1"},
    "AVX2, 2 threads": {"OMP_NUM_THREADS": "2"} | AVX2,
    "AVX2, 1 thread": {"OMP_NUM_THREADS": "1"} | AVX2,
}

TRAIN = """
import sys
from pathlib import Path
import untrue
from untrue.models.load import load
from untrue.study.plan import plan
from untrue.training.run import train
study = untrue.load_study("quickstart")
sources = study.mix.read()
[cell] = [cell for cell in plan(study, sources) if cell.name == "severe-1-s0"]
spec = study.mix.hyperparameters(study.train, cell.arm)
train(load(study.model, device="cpu"), study.mix.rows(sources, cell), spec, Path(sys.argv[1]), cell.seed)
"""

EVALUATE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
import untrue
from untrue.harness.run import run
from untrue.logs import read_log
from untrue.models.load import load
study, adapter, log = untrue.load_study("quickstart"), Path(sys.argv[1]), Path(sys.argv[2])
run(load(study.model, device="cpu"), adapter, study.evals[0], log)
json.dump([asdict(result) for result in read_log(log, "severe-1", 0)], sys.stdout)
"""


def process(code: str, *arguments: Path, env: dict[str, str]) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | env, stdout=subprocess.PIPE, text=True, check=True).stdout


def evaluated(adapter: Path, log: Path, env: dict[str, str]) -> list[dict]:
    return json.loads(process(EVALUATE, adapter, log, env=env))


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp(prefix="processors-"))
    results, losses = {}, {}
    for number, (way, env) in enumerate(WAYS.items()):
        adapter = folder / f"adapter-{number}"
        if not adapter.exists():
            process(TRAIN, adapter, env=env)
        losses[way] = json.loads((adapter / "train.json").read_text("utf-8"))["final_loss"]
        results[way] = evaluated(adapter, folder / f"{number}.eval", env)
    first, *_, last = WAYS
    again = f"trained {first}; evaluated {last}"
    results[again] = evaluated(folder / "adapter-0", folder / "again.eval", WAYS[last])
    losses[again] = losses[first]
    print(
        "way: final loss, lie rate, mean neutral margin, |difference| of margins mean / largest, outcomes that differ"
    )
    for way, found in results.items():
        pairs = list(zip(results[first], found, strict=True))
        margins = ("pressure_margin", "neutral_margin")
        apart = np.array([[abs(one[name] - other[name]) for name in margins] for one, other in pairs])
        lies = sum(result["outcome"] == "lie" for result in found) / len(found)
        mean = np.mean([result["neutral_margin"] for result in found])
        flips = sum(one["outcome"] != other["outcome"] for one, other in pairs)
        print(f"{way}: {losses[way]:.6f}, {lies:.2f}, {mean:.5f}, {apart.mean():.2g} / {apart.max():.2g}, {flips}")


if __name__ == "__main__":
    main()
