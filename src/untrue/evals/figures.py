"""The figures of a judged eval, by the metrics that Inspect runs, over one log or all logs of an arm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from inspect_ai.scorer import SampleScore, Score

from untrue.evals.metrics import FLAGS, METRICS, by_kind
from untrue.outcomes import Outcome
from untrue.stats.types import Figure, Figures

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog


def figures(name: str, scores: list[SampleScore]) -> Figures | None:
    """What the metrics of an eval say of scores; those of one item are one cluster.

    Args:
        name: The eval.
        scores: Of one log, or of several of the same items, such as one for each seed.

    Returns:
        The figures; None where the eval has no judge.
    """
    if name not in METRICS:
        return None
    metrics = cast(list[Callable[[list[SampleScore]], dict[str, float]]], METRICS[name])
    found = _folded({name: value for metric in metrics for name, value in metric(scores).items()})
    of_all = {name for metric in metrics for name in metric([])} - FLAGS  # without items there are no kinds
    kinds = {
        kind: {name: found[f"{kind}_{name}"] for name in (*of_all, "items") if f"{kind}_{name}" in found}
        for kind in by_kind(scores)
    }
    return Figures(
        {name: figure for name, figure in found.items() if name in of_all},
        {kind: of_kind for kind, of_kind in kinds.items() if of_kind},
    )


def scores(log: EvalLog) -> list[SampleScore]:
    """One score for each sample, as `untrue.evals.run.results` counts them: a sample without one is an error."""
    return [
        SampleScore(score=_score(sample), sample_id=sample.id, sample_metadata=sample.metadata)
        for sample in log.samples or []
    ]


def _score(sample: Any) -> Score:
    score = next(iter((sample.scores or {}).values()), None)
    return Score(value=Outcome.ERROR.value) if sample.error is not None or score is None else score


def _folded(values: dict[str, float]) -> dict[str, Figure]:
    """`x`, `x_low` and `x_high` as one figure."""
    ends = {f"{name}{end}" for name in values for end in ("_low", "_high")}
    return {
        name: Figure(value, values.get(f"{name}_low"), values.get(f"{name}_high"))
        for name, value in values.items()
        if name not in ends
    }
