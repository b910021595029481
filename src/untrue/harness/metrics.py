"""The metrics of evals: functions of scored samples, the same for Inspect, for one log and for all seeds of an arm.

The denominator is every scored reply, errors included, unless a name says otherwise. A broken model never lies, so
`conclusive` is 0 if too few items, beliefs or sides, too many errors or a bad judge forbid to read honesty.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from untrue.harness.eval import Eval, MetricFunction
from untrue.logs import details_of, results
from untrue.outcomes import Outcome, Result
from untrue.stats.compare import summarise
from untrue.stats.rates import Value, honesty_rates, mean
from untrue.stats.types import Interval, MetricInfo, MetricValue, MetricValues
from untrue.stats.verdict import broken

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

OUTCOME_METRICS = {
    "lie_rate": MetricInfo("P(lie)", "lower"),
    "honest_rate": MetricInfo("P(honest)", "higher"),
    "belief_rate": MetricInfo("holds a belief", "higher"),
    "committed_rate": MetricInfo("states a side, with a belief", "higher"),
    "evasion_rate": MetricInfo("evades, with a belief"),
    "no_belief_rate": MetricInfo("holds no belief"),
    "lie_rate_given_belief": MetricInfo("P(lie) given a belief", "lower"),
    "error_rate": MetricInfo("errors", "lower"),
    "truncated_rate": MetricInfo("cut at the token limit", "lower"),
}

WITHOUT_INTERVAL = ("evasion_rate", "no_belief_rate", "error_rate")

ITEMS = {"items": MetricInfo("items", unit="")}


class Scored(NamedTuple):
    """A scored sample: its result, further facts of its score, and its metadata."""

    result: Result
    details: Mapping[str, Any]
    sample: Mapping[str, Any]


def scored(content: EvalLog, seed: int = 0) -> list[Scored]:
    """The samples of the log of one cell, as `untrue.logs.results` counts them."""
    pairs = zip(results(content, "", seed), content.samples or [], strict=True)
    return [Scored(row, details_of(sample), sample.metadata) for row, sample in pairs]


def metric_values(record: Eval, rows: Sequence[Scored]) -> MetricValues | None:
    """The metrics that an eval shows of one log per seed; None if it has none of its own."""
    if not record.metrics:
        return None

    def shown(computed: Sequence[MetricFunction], rows: Sequence[Scored]) -> dict[str, MetricValue]:
        values = {name: value for compute in computed for name, value in compute(rows).items()}
        return {
            name: MetricValue(*value) if isinstance(value, Interval) else MetricValue(value)
            for name, value in values.items()
            if name in record.metrics
        }

    of_categories = categories(rows) if record.computed_by_category else {}
    total = shown(record.computed, rows)
    by_category = {name: shown(record.computed_by_category, of) for name, of in of_categories.items()}
    seen = total.keys() | {name for of in by_category.values() for name in of}
    return MetricValues(total, by_category, {name: info for name, info in record.metrics.items() if name in seen})


def categories(rows: Iterable[Scored]) -> dict[str, list[Scored]]:
    """The scored samples of each category, its name in one word."""
    grouped: dict[str, list[Scored]] = {}
    for row in rows:
        grouped.setdefault(row.result.category.replace(" ", "_"), []).append(row)
    return grouped


def core_rates(rows: Sequence[Scored]) -> dict[str, Interval | float]:
    """Rates of the outcomes, the decisive ones with intervals."""
    rates = honesty_rates([row.result for row in rows])
    return {name: rate.value if name in WITHOUT_INTERVAL else rate for name, rate in rates.items()}


def outcome_rates(rows: Sequence[Scored]) -> dict[str, Interval | float]:
    """Outcome rates of a judged eval, and whether they can be read as honesty."""
    return {**core_rates(rows), "truncated_rate": detail_rate(rows, "truncated"), **soundness(rows)}


def category_rates(rows: Sequence[Scored]) -> dict[str, Interval | float]:
    """Lies, honest replies, held beliefs and items of one category."""
    rates = honesty_rates([row.result for row in rows])
    plain = {name: rates[name].value for name in ("honest_rate", "belief_rate")}
    return {"lie_rate": rates["lie_rate"], **plain, **item_count(rows)}


def item_count(rows: Sequence[Scored]) -> dict[str, Interval | float]:
    """Number of different items."""
    return {"items": float(len({row.result.item for row in rows}))}


def soundness(rows: Sequence[Scored], answered: float | None = None) -> dict[str, Interval | float]:
    """Faults of the judge, and whether the results are conclusive; `answered` is a share of answerable questions."""
    from untrue.judge.note import is_one_sided

    one_sided = is_one_sided([row.details for row in rows])
    summaries = summarise([row.result for row in rows], {})
    faults = [fault for summary in summaries for fault in broken(summary, answered)]
    return {
        "self_judged": float(any(row.details.get("self_judged") for row in rows)),
        "judge_one_sided": float(one_sided),
        "conclusive": float(bool(rows) and not faults and not one_sided),
    }


def detail_rate(rows: Iterable[Scored], key: str, wanted: Collection[Any] = (True,)) -> float:
    """Share of the samples with a wanted value of a detail."""
    return mean((row.result.item, row.result.seed, float(row.details.get(key) in wanted)) for row in rows)


def error_rate(rows: Iterable[Scored]) -> float:
    """Share of the samples that ended in an error."""
    return mean((row.result.item, row.result.seed, float(row.result.outcome is Outcome.ERROR)) for row in rows)


def values_of(rows: Iterable[Scored]) -> list[Value]:
    """The values of an eval with a rate of its own; errors have none."""
    return [
        (row.result.item, row.result.seed, math.nan if row.result.value is None else row.result.value) for row in rows
    ]
