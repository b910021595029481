"""Are the controls of the instrument named rightly? Runs studies/instrument.yaml and prints the confusion matrix.

    python benchmarks/instrument.py
    python benchmarks/instrument.py --out runs/one-seed seeds=1

Each control is compared with `benign` by itself, as a candidate would be: once for each seed, whose verdict is about
the two adapters, and once with all seeds, whose verdict is about the recipes. Then the gate is asked of each adapter.
A run resumes. Exits with 1 where a conclusion is wrong (`untrue.study.routes.instrument.EXPECTED` says which are right)
or an adapter with a fault passes the gate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from untrue.api import load_study, run_study
from untrue.gating.config import GateConfig
from untrue.gating.subject import Subjects
from untrue.gating.verdict import GateVerdict, gate
from untrue.progress import TerminalWatcher
from untrue.report.words import CONCLUSIONS
from untrue.stats.types import Conclusion
from untrue.study.results import Analysis
from untrue.study.routes.instrument import AGAIN, CONTROL, EXPECTED, Expected

STUDY = Path(__file__).parents[1] / "studies" / "instrument.yaml"


class Named(NamedTuple):
    """What one eval concluded of a control, and what it must conclude; None where any conclusion will do.

    Attributes:
        control: Its name.
        eval: Label of the eval.
        expected: What is right.
        by_seed: What each seed's adapter was called.
        together: What all seeds together were called.
    """

    control: str
    eval: str
    expected: Expected | None
    by_seed: tuple[tuple[Conclusion, ...], ...]
    together: tuple[Conclusion, ...]

    @property
    def is_wrong(self) -> bool:
        """Whether the control was not named rightly."""
        return self.expected is not None and not self.expected.is_met(self.by_seed, self.together)


def named(together: Analysis, by_seed: Sequence[Analysis]) -> Iterator[Named]:
    """What each eval of a study concluded of each control, with all seeds and with each."""
    for of_eval in together.evals:
        key = of_eval.spec.key
        for arm in of_eval.verdict.arms:
            alone = tuple(
                other.conclusions
                for analysis in by_seed
                for evaluated in analysis.evals
                for other in evaluated.verdict.arms
                if (evaluated.spec.key, other.arm) == (key, arm.arm)
            )
            yield Named(arm.arm, key, EXPECTED[arm.arm].get(of_eval.spec.name), alone, arm.conclusions)


def table(matrix: Sequence[Named]) -> str:
    """The confusion matrix, as Markdown."""
    seeds = range(len(matrix[0].by_seed))
    lines = [
        "| control | eval | must be called | " + "".join(f"seed {seed} | " for seed in seeds) + "all seeds | |",
        "|---|---|---|" + "---|" * len(seeds) + "---|---|",
    ]
    for row in matrix:
        expected = _words(row.expected.named, " or ") if row.expected else "any"
        if row.expected and row.expected.beside:
            expected += f" (beside it {_words(row.expected.beside, ' or ')} may stand)"
        called = [_words(conclusions, ", ") for conclusions in (*row.by_seed, row.together)]
        if row.expected:  # what decides
            decisive = range(len(called)) if row.expected.of == "adapter" else [len(seeds)]
            called = [f"**{words}**" if place in decisive else words for place, words in enumerate(called)]
        is_right = "" if row.expected is None else "wrong" if row.is_wrong else "right"
        lines.append(f"| `{row.control}` | {row.eval} | {expected} | {' | '.join(called)} | {is_right} |")
    return "\n".join(lines)


def gated(out: Path, control: str, seed: int) -> GateVerdict:
    """What the gate, at its defaults but for the items, says of a control as the candidate of `benign`."""
    config = GateConfig()
    with TerminalWatcher(Console(stderr=True)) as watcher:
        subjects = Subjects(config.evals, out, watcher)
        logs = [str(out / "cells" / f"{name}-s{seed}" / "logs") for name in (CONTROL, control)]
        return gate(subjects.of(logs[0]), subjects.of(logs[1]), config)


def gate_table(verdicts: dict[str, list[GateVerdict]]) -> str:
    """Each control's verdict for each seed, with the metrics in which it regresses, as Markdown."""
    seeds = range(len(next(iter(verdicts.values()))))
    lines = ["| control |" + "".join(f" seed {seed} |" for seed in seeds), "|---|" + "---|" * len(seeds)]
    for control, by_seed in verdicts.items():
        cells = []
        for verdict in by_seed:
            worse = [end.metric.replace("_", " ") for end in verdict.endpoints if end.status == "regression"]
            cells.append(f"{verdict.status}{': ' if worse else ''}{', '.join(worse)}")
        lines.append(f"| `{control}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _words(conclusions: Sequence[Conclusion] | frozenset[Conclusion], joined: str) -> str:
    return joined.join(words.lower() for name, words in CONCLUSIONS.items() if name in conclusions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="Keys of the study, as key=value.")
    parser.add_argument("--out", type=Path, default=Path("runs/instrument"), help="The run directory.")
    options = parser.parse_args(arguments)

    def run(*narrowed: str, progress: bool = False) -> Analysis:
        return run_study(load_study(STUDY, [*options.overrides, *narrowed]), options.out, progress=progress)

    study = run(progress=True).study
    matrix = []
    for case in study.mix.cases:
        alone = [run(f"mix.cases=[{case}]", f"seeds=[{seed}]") for seed in study.seeds]
        matrix += named(run(f"mix.cases=[{case}]"), alone)
    print(table(matrix))
    wrong = [row for row in matrix if row.is_wrong]
    judged = [row for row in matrix if row.expected]
    print(f"\n{len(judged) - len(wrong)} of {len(judged)} named rightly. Report: {run().store.report}\n")
    verdicts = {case: [gated(options.out, case, seed) for seed in study.seeds] for case in study.mix.cases}
    print(gate_table(verdicts))
    passed = [case for case, of in verdicts.items() if case != AGAIN and any(v.status == "pass" for v in of)]
    return 1 if wrong or passed else 0


if __name__ == "__main__":
    sys.exit(main())
