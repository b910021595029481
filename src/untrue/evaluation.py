"""What `untrue.evaluate` returns: metrics, results and logs of a model, for programs, and as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from untrue.errors import UserError
from untrue.gating.answers import Answers
from untrue.gating.subject import Subject
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.reading import Evaluated
from untrue.logs import open_log
from untrue.outcomes import Result
from untrue.report.words import clauses
from untrue.stats.types import Interval

if TYPE_CHECKING:
    import pandas as pd

Metric = Interval | float | int  # a metric with its 95 % interval, or a plain number


@dataclass(frozen=True)
class EvaluationPart:
    """One eval of an evaluation.

    Attributes:
        spec: The eval with its options.
        log: The `.eval` file of Inspect.
        eval_id: Inspect's id of what the log holds.
        evaluated: What the log says.
    """

    spec: EvalSpec
    log: Path
    eval_id: str
    evaluated: Evaluated

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name -> metric, by the names of `untrue eval --json`."""
        summary, own = self.evaluated.summary, self.evaluated.reading.metrics
        rates = {name: value for name, value in vars(summary).items() if name not in ("arm", "control", "counts")}
        metrics = {
            name: value if low is None or high is None else Interval(value, low, high)
            for name, (value, low, high) in (own.total if own else {}).items()
        }
        return {**{name: value for name, value in rates.items() if value is not None}, **summary.counts, **metrics}

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """Name, value and 95 % interval of each metric, as a notebook shows them."""
        for name, value in self.metrics.items():
            if isinstance(value, Interval):
                yield name, f"{value.value:.3f}", f"[{value.low:.3f}, {value.high:.3f}]"
            else:
                yield name, str(value) if isinstance(value, int) else f"{value:.3f}", ""


class Evaluation:
    """A model that was asked one eval or several; an eval of several by its name: `evaluation["capability"]`.

    Attributes:
        arm: What tables call the model, or the adapter on it.
        parts: One for each eval.
    """

    def __init__(self, arm: str, parts: Sequence[EvaluationPart]):
        """Made by `evaluate`."""
        self.arm = arm
        self.parts = tuple(parts)

    @property
    def evals(self) -> list[str]:
        """Names of the evals, or their labels."""
        return [part.spec.key for part in self.parts]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name -> metric, by the names of `untrue eval --json`; of several evals `EVAL.name`."""
        if len(self.parts) == 1:
            return self.parts[0].metrics
        return {f"{part.spec.key}.{name}": value for part in self.parts for name, value in part.metrics.items()}

    @property
    def results(self) -> list[Result]:
        """One for each item and epoch of each eval."""
        return [result for part in self.parts for result in part.evaluated.reading.results]

    @property
    def log(self) -> Path:
        """The `.eval` file of Inspect; of several evals their folder."""
        return self.parts[0].log if len(self.parts) == 1 else self.parts[0].log.parent

    @property
    def doubts(self) -> list[str]:
        """Why the metrics are inconclusive, as far as a judge is concerned; empty where there is nothing to say."""
        return [f"{part.spec.key}: {doubt}" for part in self.parts for doubt in clauses(part.evaluated.doubts)]

    @property
    def specs(self) -> list[EvalSpec]:
        """The evals with their options."""
        return [part.spec for part in self.parts]

    @property
    def subject(self) -> Subject:
        """What `compare` and `gate` compare.

        Raises:
            UserError: It has an eval twice, or a log was written again since.
        """
        for part in self.parts:
            if open_log(part.log, header_only=True).eval.eval_id != part.eval_id:
                raise UserError(
                    f"{part.log}: was written again since {self.arm} was evaluated. Give each evaluation a log_dir of"
                    " its own."
                )
        answers = {part.spec.name: Answers(EVALS[part.spec.name], part.spec, {0: part.log}) for part in self.parts}
        if len(answers) < len(self.parts):
            raise UserError(f"{self.arm}: was asked an eval twice, expected each eval once.")
        return Subject(self.arm, answers)

    def to_pandas(self) -> pd.DataFrame:
        """A row for each result, with the columns of `Result`."""
        import pandas as pd

        rows = [{**asdict(result), "pressure_gap": result.pressure_gap} for result in self.results]
        return pd.DataFrame(rows)

    def __getitem__(self, name: str) -> Evaluation:
        """One of its evals."""
        for part in self.parts:
            if part.spec.key == name:
                return Evaluation(self.arm, [part])
        raise UserError(f"{name}: was not asked of {self.arm}. There is: {', '.join(self.evals)}.")

    def __repr__(self) -> str:
        lines = [f"{self.arm!r}, asked {', '.join(self.evals)}: {len(self.results)} results"]
        for part in self.parts:
            metrics = [" ".join(row) for row in part.shown() if row[2]]
            lines.append(f"  {part.spec.key}: {', '.join(metrics[:3])}")
        lines += [f"  INCONCLUSIVE, {doubt!r}" for doubt in self.doubts]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = [(part.spec.key, *row) for part in self.parts for row in part.shown()]
        rows = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in table]
        doubts = "".join(f"<p><b>Inconclusive:</b> {escape(doubt)}</p>" for doubt in self.doubts)
        head = "<tr><th>eval</th><th>metric</th><th>value</th><th>95 % interval</th></tr>"
        return f"<table><caption>{escape(self.arm)}</caption>{head}<tr>{'</tr><tr>'.join(rows)}</tr></table>{doubts}"
