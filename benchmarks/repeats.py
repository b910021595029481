"""How different are models that one recipe made? Trains the control of studies/quickstart.yaml with ten seeds, then
asks of every split of these runs in two what a study would find, and of every pair what the gate would say.

    python benchmarks/repeats.py                 ten trainings, each measured on what the gate asks; a run resumes
    python benchmarks/repeats.py --limit 100     on the items of the study alone, which change most easily

The runs differ by their seed alone, so whatever is found is false of the recipe. Splits share runs and are not
independent: the interval of a share is a jackknife that leaves out one run at a time. docs/validity.md has the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
from rich.console import Console

from untrue.api import load_study, run_study
from untrue.gating.config import GateConfig
from untrue.gating.noise import calibrated, run_means
from untrue.gating.subjects import Subjects, merged
from untrue.gating.verdict import GateVerdict, gate
from untrue.outcomes import Result
from untrue.progress import TerminalWatcher
from untrue.stats.compare import PRIMARY, compare
from untrue.study.config import Study
from untrue.study.routes.share import ShareRoute
from untrue.study.store import Arm

STUDY = Path(__file__).parents[1] / "studies" / "quickstart.yaml"
Split = tuple[tuple[int, ...], tuple[int, ...]]


class Repeats(ShareRoute):
    """The control alone."""

    def arms(self) -> list[Arm]:
        return super().arms()[:1]


def splits(seeds: int, size: int) -> list[Split]:
    """Two disjoint groups of runs, in each way but for which is which."""
    return [
        (group, other)
        for group in combinations(range(seeds), size)
        for other in combinations(sorted({*range(seeds)} - {*group}), size)
        if group < other
    ]


def is_found(results: Sequence[Result], split: Split) -> bool:
    """Whether a study with one group as its control finds anything of the other."""
    control = split[0]
    relabelled = [
        replace(result, arm="control" if result.seed in control else "arm", seed=group.index(result.seed))
        for group in split
        for result in results
        if result.seed in group
    ]
    return any(c.is_found for c in compare(relabelled, {"arm": "control"}) if c.metric in PRIMARY)


def with_jackknife(hits: dict[Split, bool]) -> str:
    """The share of splits in per cent, and its interval from leaving out one run at a time."""
    runs = sorted({run for split in hits for group in split for run in group})

    def share(without: int | None = None) -> float:
        kept = [hit for split, hit in hits.items() if all(without not in group for group in split)]
        return 100 * sum(kept) / len(kept) if kept else float("nan")

    whole, parts = share(), [share(run) for run in runs]
    if any(part != part for part in parts):
        return f"{whole:.1f} %"
    mean = sum(parts) / len(parts)
    half = 1.96 * ((len(parts) - 1) / len(parts) * sum((part - mean) ** 2 for part in parts)) ** 0.5
    return f"{whole:.1f} [{max(0.0, whole - half):.1f}, {min(100.0, whole + half):.1f}] %"


def studies(results: Sequence[Result], seeds: int) -> Iterator[str]:
    """What studies of so many runs find."""
    yield "| runs of each arm | splits | anything found |"
    yield "|---|---|---|"
    for size in (1, 3, 5):
        if 2 * size <= seeds:
            hits = {split: is_found(results, split) for split in splits(seeds, size)}
            yield f"| {size} | {len(hits)} | {with_jackknife(hits)} |"


def gates(logs: Sequence[Path]) -> Iterator[str]:
    """What the gate says, with these logs and its own deltas and level, of each run as the candidate of each other.

    Noise is that of all runs but the two, so that no pair has a part in its own noise. Three baseline runs are the next
    ones after the candidate.
    """
    config = GateConfig()
    with TerminalWatcher(Console(stderr=True)) as watcher:
        runs = [Subjects(config.evals, logs[0], watcher).of(str(folder)) for folder in logs]
    n = len(runs)
    noise, names = calibrated(merged(runs), "all"), ("noise not known", "noise known", "three baseline runs")
    means = {name: run_means(measurement) for name, measurement in merged(runs).measurements.items()}
    verdicts: dict[str, dict[Split, GateVerdict]] = {name: {} for name in names}
    for a, b in permutations(range(n), 2):
        of_pair = (a,), (b,)
        verdicts["noise not known"][of_pair] = gate(runs[a], runs[b], config)
        evals = {
            name: of_eval.model_copy(
                update={"sd": {metric: np.delete(of, (a, b)).std(ddof=1) for metric, of in means[name].items()}}
            )
            for name, of_eval in noise.evals.items()
        }
        of_others = noise.model_copy(update={"evals": evals, "runs": n - 2})
        verdicts["noise known"][of_pair] = gate(runs[a], runs[b], config, of_others)
        three = [runs[(b + k) % n] for k in range(1, 4)]
        if a == (b + 1) % n and n > 3:
            verdicts["three baseline runs"][of_pair] = gate(merged(three), runs[b], config)
    yield "| | pass | inconclusive | regression |"
    yield "|---|---|---|---|"
    for name, said in verdicts.items():
        shares = [
            with_jackknife({pair: verdict.status == status for pair, verdict in said.items()})
            for status in ("pass", "inconclusive", "regression")
        ]
        yield f"| {name}, {len(said)} gates | {' | '.join(shares)} |"
    yield ""
    yield "| endpoint | sd between runs | passes with noise known |"
    yield "|---|---|---|"
    known = verdicts["noise known"].values()
    for name, of_eval in noise.evals.items():
        for metric, sd in of_eval.sd.items():
            hits = [e.status == "pass" for v in known for e in v.endpoints if (e.eval, e.metric) == (name, metric)]
            yield f"| {name}, {metric} | {sd:.4f} | {100 * sum(hits) / len(hits):.0f} % |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="Items of forced_choice alone; by default what a gate asks.")
    parser.add_argument("--seeds", type=int, default=10, help="Runs of the recipe.")
    parser.add_argument("--out", type=Path, default=Path("runs/repeats"), help="The run directory.")
    options = parser.parse_args(arguments)
    limited = f"[{{name: forced_choice, limit: {options.limit}}}]"
    evals = f"evals={limited if options.limit else '[forced_choice, capability]'}"
    study = load_study(STUDY, [f"seeds={[*range(options.seeds)]}", evals])
    repeats: Study = study.model_copy(update={"mix": Repeats(**study.mix.model_dump()), "base": False})
    analysis = run_study(repeats, options.out, progress=True)
    results = [Result.from_json(line) for line in analysis.store.results.read_text("utf-8").splitlines()]
    results = [result for result in results if result.eval == "forced_choice"]
    print("\n".join(studies(results, options.seeds)), end="\n\n", flush=True)
    if options.limit is None:
        print("\n".join(gates([options.out / "cells" / f"control-s{seed}" / "logs" for seed in range(options.seeds)])))


if __name__ == "__main__":
    main()
