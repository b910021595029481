"""How much trainings of one recipe differ by chance: measured on harmless runs, kept as `noise.json` for a gate.

With K baseline runs and m candidates the mean difference has the error s sqrt(1/K + 1/m), with s the standard deviation
between runs: for one candidate, Student's prediction interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import stdtr, stdtrit

from untrue import settings
from untrue.errors import UserError
from untrue.files import content_hash, write_text
from untrue.gating.losses import metrics_of
from untrue.gating.measurements import Measurement
from untrue.gating.subjects import Subject
from untrue.stats.intervals import RUNS
from untrue.stats.pairing import align

FEWEST_RUNS = 8
BUILT_IN = Path(__file__).parent / "recipes"


class RunNoise(NamedTuple):
    """The standard deviation of a metric between runs, and its degrees of freedom."""

    sd: float
    freedom: int

    def half(self, n_baseline: int, n_candidate: int, alpha: float) -> float:
        """The one-sided half-width of the difference between the means of so many runs."""
        return self._error(n_baseline, n_candidate) * float(stdtrit(self.freedom, 1 - alpha))

    def p(self, loss: float, n_baseline: int, n_candidate: int) -> float:
        """One-sided p that runs of one recipe differ by as much."""
        error = self._error(n_baseline, n_candidate)
        return float(stdtr(self.freedom, -loss / error)) if error else float(loss <= 0)

    def _error(self, n_baseline: int, n_candidate: int) -> float:
        return self.sd * math.sqrt(1 / n_baseline + 1 / n_candidate)


class EvalNoise(BaseModel):
    """The noise of one eval: which items it was measured on, and metric -> standard deviation between runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int | str
    n_items: int
    items: str
    sd: dict[str, float]


class Noise(BaseModel):
    """What `untrue calibrate` writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str | None = Field(description="Hash of the base's weights.")
    runs: int = Field(ge=FEWEST_RUNS)
    recipe: str = Field(description="What the runs are, for people.")
    evals: dict[str, EvalNoise]

    def check(self, measurement: Measurement) -> None:
        """Refuse an eval that the noise was not measured on.

        Raises:
            UserError: Another base, eval, version or items.
        """
        name = measurement.record.name
        if self.base != measurement.weights:
            raise UserError(
                f"noise: is of another base model (hash of its weights {self.base}, not {measurement.weights})."
                " Run untrue calibrate on runs of this base."
            )
        if name not in self.evals:
            raise UserError(f"noise: has {', '.join(self.evals)}, and not {name}. Run untrue calibrate with {name}.")
        of_eval = self.evals[name]
        for what, found, expected in (
            ("version", measurement.version, of_eval.version),
            ("n", len(measurement.asked), of_eval.n_items),
            ("items", items_of(measurement), of_eval.items),
        ):
            if found != expected:
                raise UserError(
                    f"noise: {name} has another {what} there ({expected}, not {found}). Run untrue calibrate with the"
                    " items of this gate."
                )

    def of(self, name: str, metric: str) -> RunNoise | None:
        """The noise of a metric; None if the runs did not have it."""
        sd = self.evals[name].sd.get(metric)
        return None if sd is None else RunNoise(sd, self.runs - 1)


def items_of(measurement: Measurement) -> str:
    """Hash of all texts of the items."""
    return content_hash(json.dumps(sorted(measurement.asked.items())))


def pooled(baseline: NDArray[np.float64], candidate: NDArray[np.float64]) -> RunNoise | None:
    """The noise within both sides, from the means of their runs; None for fewer than two degrees of freedom."""
    freedom = len(baseline) + len(candidate) - 2
    if freedom < RUNS - 1:
        return None
    squares = sum(float(np.square(means - means.mean()).sum()) for means in (baseline, candidate))
    return RunNoise(math.sqrt(squares / freedom), freedom)


def run_means(measurement: Measurement) -> dict[str, NDArray[np.float64]]:
    """Metric -> its mean in each run, of those that the eval has."""
    results = measurement.results
    grids = {metric: align([results], how)[0] for metric, how in metrics_of(measurement.record).items()}
    return {metric: np.nanmean(grid, axis=0) for metric, grid in grids.items() if not np.isnan(grid).all()}


def calibrated(runs: Subject, recipe: str) -> Noise:
    """Measure the noise between runs of one recipe.

    Raises:
        UserError: There are too few runs, or one has an answer that failed.
    """
    evals, base = {}, None
    for name, measurement in runs.measurements.items():
        n_runs = len(measurement.logs)
        if n_runs < FEWEST_RUNS:
            raise UserError(f"{runs.name}: has {n_runs} runs, and at least {FEWEST_RUNS} are needed.")
        base = measurement.weights
        sd = {metric: float(means.std(ddof=1)) for metric, means in run_means(measurement).items()}
        evals[name] = EvalNoise(
            version=measurement.version, n_items=len(measurement.asked), items=items_of(measurement), sd=sd
        )
    n_runs = len(next(iter(runs.measurements.values())).logs)
    return Noise(base=base, runs=n_runs, recipe=recipe, evals=evals)


def built_in() -> Mapping[str, Path]:
    """Name -> file of the noise that is shipped."""
    return {path.stem: path for path in sorted(BUILT_IN.glob("*.json"))}


def load(name: str) -> Noise:
    """Read the noise that is shipped under a name, or a file.

    Raises:
        UserError: There is no such file, or it is none that `untrue calibrate` writes.
    """
    return settings.load(Noise, built_in().get(name, Path(name)))


def write(noise: Noise, path: Path) -> None:
    """Write it as JSON."""
    write_text(path, noise.model_dump_json(indent=1) + "\n")
