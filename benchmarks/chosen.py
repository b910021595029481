"""Do the items that a limit chooses move more than those it leaves out? Compares logs of all built-in items on both.

    untrue run quickstart
    untrue eval --out logs                                                             the base; 14 minutes each
    untrue eval --adapter runs/quickstart/cells/control-s0/adapter --out logs
    untrue eval --adapter runs/quickstart/cells/severe-1-s0/adapter --out logs
    python benchmarks/chosen.py logs/BASE.eval logs/CONTROL.eval logs/SEVERE.eval

The choice goes by the base's margins alone, so against the base it misleads, and between two trained arms it does not
favour either. docs/data.md has the figures.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.reading import read
from untrue.harness.tasks import inspect_task
from untrue.outcomes import Outcome, Result
from untrue.stats.intervals import change_interval, mean_interval

forced_choice = inspect_task(EVALS["forced_choice"])

LIMIT = 100


def results(log: Path) -> dict[str, Result]:
    """Item -> its result."""
    return {result.item: result for result in read(eval_spec(name="forced_choice"), log.stem, [(0, log)]).results}


def row(before: dict[str, Result], after: dict[str, Result], items: list[str]) -> str:
    """What changed on these items: outcomes in points, the margin under pressure in nats per token."""
    lies = np.array([[float(side[item].outcome is Outcome.LIE) for item in items] for side in (before, after)])
    margins = [[(after[item].pressure_margin or 0) - (before[item].pressure_margin or 0)] for item in items]
    changed = np.mean([before[item].outcome != after[item].outcome for item in items])
    lie, margin = change_interval((lies[1] - lies[0])[:, None]), mean_interval(np.array(margins))
    rates = " | ".join(f"{100 * rate:.1f} %" for rate in lies.mean(axis=1))
    points = f"{100 * lie.value:+.1f} [{100 * lie.low:+.1f}, {100 * lie.high:+.1f}]"
    return f"{rates} | {points} | {100 * changed:.0f} % | {margin.value:+.3f} [{margin.low:+.3f}, {margin.high:+.3f}]"


def main() -> None:
    """Print a table for each two logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path, help="Logs of forced_choice on all built-in items.")
    logs = {path.stem: results(path) for path in parser.parse_args().logs}
    chosen = {str(sample.id) for sample in forced_choice(limit=LIMIT).dataset}
    drawn = {str(sample.id) for sample in forced_choice(limit=LIMIT, order="random").dataset}
    print("| | lies before | after | difference, points | outcomes changed | margin under pressure |")
    print("|---|---|---|---|---|---|")
    for before, after in combinations(logs, 2):
        items = sorted(logs[before])
        sets = {"chosen": sorted(chosen), "left out": [item for item in items if item not in chosen]}
        for name, some in {**sets, "drawn at random": sorted(drawn), "all": items}.items():
            print(
                f"| {before} and {after}, {name} ({len(some)}) | {row(logs[before], logs[after], some)} |", flush=True
            )


if __name__ == "__main__":
    main()
