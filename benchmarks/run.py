"""Run each speed benchmark beside its peer, print the ratios and write benchmarks/results.json.

make bench
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from untrue.versions import versions

HERE = Path(__file__).parent
BENCHMARKS = {
    "scoring_vs_lm_eval": "scoring.py",
    "training_vs_trl": "training.py",
    "kto_vs_trl": "kto.py",
    "generation_vs_transformers": "generation.py",
    "interaction_vs_sequential": "turns.py",
}


def main() -> None:
    results: dict[str, object] = {}
    details = {}
    for name, script in BENCHMARKS.items():
        print(f"{name}: {HERE.name}/{script} …", flush=True)
        # A process each, so that one benchmark's threads and memory do not slow the other.
        done = subprocess.run([sys.executable, str(HERE / script)], stdout=subprocess.PIPE, text=True, check=True)
        details[name] = json.loads(done.stdout.strip().splitlines()[-1])
        results[name] = details[name]["ratio"]
        print(json.dumps(details[name], indent=1), flush=True)
    from importlib import metadata

    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    packages = {**versions(), "lm-eval": metadata.version("lm-eval")}
    results |= {"details": details, "machine": machine, "versions": packages}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(", ".join(f"{name} {results[name]}x" for name in BENCHMARKS))


if __name__ == "__main__":
    main()
