"""Are the controls of the instrument named rightly? Runs studies/instrument.yaml and prints the confusion matrix.

    python benchmarks/instrument.py
    python benchmarks/instrument.py --out runs/one-seed 'seeds=[0]'

A run resumes. Exits with 1 where a conclusion is wrong; `untrue.study.routes.instrument.EXPECTED` says which are right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from untrue.api import load_study, run_study
from untrue.report.words import CONCLUSIONS
from untrue.stats.types import Conclusion
from untrue.study.results import Analysis
from untrue.study.routes.instrument import EXPECTED, Expected

STUDY = Path(__file__).parents[1] / "studies" / "instrument.yaml"


class Named(NamedTuple):
    """What one eval concluded of a control, and what it must conclude; None where any conclusion will do."""

    control: str
    eval: str
    expected: Expected | None
    conclusions: tuple[Conclusion, ...]

    @property
    def is_wrong(self) -> bool:
        """Whether the control was not named rightly."""
        return self.expected is not None and not self.expected.is_met(self.conclusions)


def named(analysis: Analysis) -> Iterator[Named]:
    """What each eval of a study concluded of each control."""
    for of_eval in analysis.evals:
        for arm in of_eval.verdict.arms:
            expected = EXPECTED[arm.arm].get(of_eval.spec.name)
            yield Named(arm.arm, of_eval.spec.key, expected, arm.conclusions)


def table(matrix: Sequence[Named]) -> str:
    """The confusion matrix, as Markdown."""
    lines = ["| control | eval | expected | concluded | |", "|---|---|---|---|---|"]
    for row in matrix:
        expected = _words(row.expected.named, " or ") if row.expected else "any"
        if row.expected and row.expected.beside:
            expected += f" (beside it {_words(row.expected.beside, ' or ')} may stand)"
        is_right = "" if row.expected is None else "**wrong**" if row.is_wrong else "right"
        lines.append(f"| {row.control} | {row.eval} | {expected} | {_words(row.conclusions, ', ')} | {is_right} |")
    return "\n".join(lines)


def _words(conclusions: Sequence[Conclusion] | frozenset[Conclusion], joined: str) -> str:
    return joined.join(words.lower() for name, words in CONCLUSIONS.items() if name in conclusions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="Keys of the study, as key=value.")
    parser.add_argument("--out", type=Path, default=Path("runs/instrument"), help="The run directory.")
    options = parser.parse_args(arguments)
    analysis = run_study(load_study(STUDY, options.overrides), options.out, progress=True)
    matrix = list(named(analysis))
    print(table(matrix))
    wrong = [row for row in matrix if row.is_wrong]
    judged = [row for row in matrix if row.expected]
    print(f"\n{len(judged) - len(wrong)} of {len(judged)} named rightly. Report: {analysis.store.report}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
