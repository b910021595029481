"""Run each speed benchmark beside its peer, print the ratios and write benchmarks/results.json.

make bench
python benchmarks/run.py kto_vs_trl     only this one; the others keep their figures and versions
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from untrue.versions import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
BENCHMARKS = {
    "scoring_vs_lm_eval": "scoring.py",
    "training_vs_trl": "training.py",
    "kto_vs_trl": "kto.py",
    "generation_vs_transformers": "generation.py",
    "interaction_vs_sequential": "turns.py",
    "callback_cost": "callback.py",
}


def main() -> None:
    asked = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(asked) - set(BENCHMARKS):
        sys.exit(f"{', '.join(unknown)}: no such benchmark. There are {', '.join(BENCHMARKS)}.")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {"details": {}}
    details = results.pop("details")
    packages = {**versions(), "lm-eval": metadata.version("lm-eval")}
    for name in asked:
        script = BENCHMARKS[name]
        print(f"{name}: {HERE.name}/{script} …", flush=True)
        # A process each, so that one benchmark's threads and memory do not slow the other.
        done = subprocess.run([sys.executable, str(HERE / script)], stdout=subprocess.PIPE, text=True, check=True)
        details[name] = {**json.loads(done.stdout.strip().splitlines()[-1]), "versions": packages}
        results[name] = details[name]["ratio"]
        print(json.dumps(details[name], indent=1), flush=True)
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    results |= {"details": details, "machine": machine}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(", ".join(f"{name} {results[name]}x" for name in asked))


if __name__ == "__main__":
    main()
