"""An eval's record as an Inspect task, with the options and the metrics that the record declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import Parameter, Signature
from typing import Any

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from untrue.harness import judged
from untrue.harness.eval import Eval, EvalSpec, JudgedSpec, MetricFunction
from untrue.harness.metrics import Scored, categories
from untrue.harness.resume import current
from untrue.logs import result
from untrue.outcomes import Outcome
from untrue.stats.types import Interval

WHOLLY = 1 - 1e-9  # `fail_on_error` of the judged evals: the task has failed if every sample has

JUDGED_SAMPLING = {"temperature": 1.0, "max_tokens": 1000}

Values = dict[str, str | int | float | bool | None]


@cache
def inspect_task(record: Eval) -> Callable[..., Task]:
    """The Inspect task of an eval, with its scorer; wrong options are a UserError."""
    make_scorer = _scorer(record)

    def make(**options: Any) -> Task:
        spec = record.spec(**options)
        forced = {"force_self_judge": spec.force_self_judge} if isinstance(spec, JudgedSpec) else {}
        return Task(
            dataset=MemoryDataset(record.samples(spec), name=spec.items),
            solver=_solver(record, spec),
            scorer=make_scorer(**forced),
            epochs=Epochs(1, "mean" if record.graded else "mode"),  # the default would turn outcomes into numbers
            config=GenerateConfig(**{**(JUDGED_SAMPLING if record.judged else {}), **record.sampling}),
            version=record.version,
            fail_on_error=WHOLLY if record.judged else False,
            score_on_error=record.judged,
        )

    fields = record.options.model_fields.items()
    known = {name: info.default for name, info in fields if name not in record.options.not_of_task}
    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in known.items()]
    made: Any = make
    made.__name__, made.__doc__, made.__signature__ = record.name, record.asks, Signature(parameters)
    return task(name=record.name)(make)


def _solver(record: Eval, spec: EvalSpec) -> Solver:
    answer = record.answer or judged.asking(record)

    @solver(name=answer.__name__)
    def make() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            state = await answer(state, generate, spec)
            if not record.judged:  # judged evals count each reply
                current().replied()
            return state

        return solve

    return make()


def _scorer(record: Eval) -> Callable[..., Scorer]:
    @scorer(metrics=_metrics(record), name=record.scorer)
    def make(force_self_judge: bool = False) -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            if record.score:
                decision = await record.score(state)
            else:
                decision = await judged.judged_decision(record, state, force_self_judge)
            return Score(
                value=decision.value.value if isinstance(decision.value, Outcome) else decision.value,
                answer=decision.statement,
                explanation=decision.reason,
                metadata={**decision.details} or None,
            )

        return score

    return make


def _metrics(record: Eval) -> list[Metric]:
    """Metrics as Inspect runs them: `x`, `x_low` and `x_high`; of a category `CATEGORY_x` and so on."""
    by_category = [_inspect_metric(compute, True)() for compute in record.computed_by_category]
    return [*(_inspect_metric(compute, False)() for compute in record.computed), *by_category]


@cache
def _inspect_metric(compute: MetricFunction, by_category: bool) -> Callable[[], Metric]:
    def values(scores: list[SampleScore]) -> Values:
        rows = _rows(scores)
        if not by_category:
            return _flat("", compute(rows))
        return {k: v for name, of in categories(rows).items() for k, v in _flat(f"{name}_", compute(of)).items()}

    @metric(name=f"{compute.__name__}{'_by_category' if by_category else ''}", scores="unreduced")
    def make() -> Metric:
        return values

    return make


def _rows(scores: Sequence[SampleScore]) -> list[Scored]:
    """Inspect's scores do not say their epochs: they are counted."""
    epochs, rows = Counter[str](), list[Scored]()
    for score in scores:
        item, sample = str(score.sample_id), score.sample_metadata or {}
        epochs[item] += 1
        row = result(score.score, item, sample, epochs[item])
        rows.append(Scored(row, score.score.metadata or {}, sample))
    return rows


def _flat(prefix: str, values: Mapping[str, Interval | float]) -> Values:
    flat: Values = {}
    for name, value in values.items():
        numbers = value if isinstance(value, Interval) else (value,)
        flat |= {f"{prefix}{name}{end}": number for end, number in zip(("", "_low", "_high"), numbers, strict=False)}
    return flat
