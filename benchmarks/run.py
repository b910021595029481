"""Run each speed benchmark beside its peer, print the ratios and write benchmarks/results.json.

Both sides of a row compute in float32 on the CPU, in turn, in one command. Beside each ratio stand its goal and our
figure's part of this machine's limit (limit.py). Results are kept for each kind of CPU, so that one that is emulated
takes no other's place:

    make bench
    python benchmarks/run.py kto_vs_trl     only this row; the others keep their figures, versions and commit
    python benchmarks/run.py --quick        only whether all rows run; nothing is written
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python benchmarks/run.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from limit import label, machine

from untrue.files import write_text
from untrue.versions import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


class Row(NamedTuple):
    """A benchmark: its script, and how many times as fast as its peer it should be, and at which part of the limit."""

    script: str
    goal: float
    limit: float | None = None


ROWS = {
    "scoring_vs_lm_eval": Row("scoring.py", 6),
    "training_vs_trl": Row("training.py", 3, 0.6),
    "kto_vs_trl": Row("kto.py", 3),
    "generation_vs_transformers": Row("generation.py", 4),
    "study_vs_scripts": Row("whole_study.py", 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="NAME", help=f"by default all: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="only whether they run; nothing is written")
    options = parser.parse_args()
    if unknown := {*options.rows} - {*ROWS}:
        sys.exit(f"{', '.join(unknown)}: no such benchmark. There are {', '.join(ROWS)}.")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    about, packages = machine(), {**versions(), "lm-eval": metadata.version("lm-eval")}
    mine = results.setdefault(label(about), {"machine": about, "rows": {}})
    mine["machine"] = about
    lines = []
    for name in options.rows or ROWS:
        row = ROWS[name]
        print(f"{name}: {HERE.name}/{row.script} …", flush=True)
        # A process each, so that one benchmark's threads and memory do not slow the other.
        command = [sys.executable, str(HERE / row.script), *(["--quick"] if options.quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        mine["rows"][name] = {**found, "versions": packages, "commit": _commit()}
        print(json.dumps(found, indent=1), flush=True)
        if not options.quick:
            write_text(RESULTS, json.dumps(results, indent=1) + "\n")
        wanted = f", goal {row.limit:.0%}" if row.limit else ""
        lines.append(
            f"{name}: {found['ratio']}x (goal {row.goal:g}x), {found['limit']['ours']:.0%} of the limit of"
            f" {found['gigaflops']:.0f} GFLOP/s{wanted}"
        )
    print(f"{label(about)}, {about['threads']} threads", *lines, sep="\n")


def _commit() -> str:
    """The commit that ran; `+` where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return described.stdout.strip()


if __name__ == "__main__":
    main()
