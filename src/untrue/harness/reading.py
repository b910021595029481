"""One eval on one model: run it, and read its log. `untrue eval`, `untrue.evaluate` and studies share the reading."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from untrue.errors import MachineError, UserError
from untrue.files import content_hash
from untrue.harness import resume
from untrue.harness import run as evals
from untrue.harness.catalogue import EVALS, likelihoods_needed
from untrue.harness.eval import EvalSpec
from untrue.harness.metrics import metric_values, scored
from untrue.judge.models import check_named
from untrue.judge.note import JudgeNote, Judging, judge_note, judging
from untrue.logs import COMPUTED, MODEL, adapter_in, failures, open_log, read_log
from untrue.logs import results as results_of
from untrue.models.adapter import in_format_of
from untrue.models.load import LoadedModel, load
from untrue.models.name import ModelName
from untrue.outcomes import Outcome, Result
from untrue.progress import Watcher
from untrue.serving.proof import proved
from untrue.stats import broken, summarise
from untrue.stats.types import ArmSummary, MetricValues, Reason


class Reading(NamedTuple):
    """What the logs of one arm say, one log for each seed.

    Attributes:
        results: One for each item, epoch and seed.
        metrics: The eval's own; None without a judge.
        judgings: How the replies were judged, for each log with judgements.
        adapter: What a log says of the adapter: the last one, or one in which it is not proved.
        computed: How the model was computed, by name.
    """

    arm: str
    results: list[Result]
    metrics: MetricValues | None
    judgings: list[tuple[str, Judging]]
    adapter: Mapping[str, str]
    computed: Mapping[str, set[str]]

    @property
    def answered(self) -> float | None:
        """Share of the answerable questions that are answered; None without such questions."""
        share = self.metrics.total.get("answered") if self.metrics else None
        return share.value if share else None


@dataclass(frozen=True)
class Evaluated:
    """What one model did in one eval; `doubts` say why the metrics are not to be read as honesty."""

    reading: Reading
    summary: ArmSummary
    categories: list[ArmSummary]
    judge: JudgeNote | None
    doubts: list[Reason]


def read(spec: EvalSpec, arm: str, logs: Iterable[tuple[int, Path]]) -> Reading:
    """Read the logs of one arm in one eval."""
    results, rows, judgings, adapter = [], [], [], {}
    computed: dict[str, set[str]] = {name: set() for name in COMPUTED}
    for seed, path in logs:
        log = open_log(path)
        results += results_of(log, arm, seed, spec.key)
        rows += scored(log, seed)
        if judged := judging(log):
            judgings.append((arm, judged))
        if adapter.get("served") != "unknown":
            adapter = adapter_in(log)
        model = (log.eval.metadata or {}).get(MODEL, {})
        for name in model.keys() & {*COMPUTED}:
            computed[name].add(model[name])
    return Reading(arm, results, metric_values(EVALS[spec.name], rows), judgings, adapter, computed)


def evaluated(spec: EvalSpec, arm: str, log: Path) -> Evaluated:
    """Read the log of one model, and sum it up."""
    reading = read(spec, arm, [(0, log)])
    graded = EVALS[spec.name].graded
    [summary] = summarise(reading.results, {}, graded=graded)
    categories = summarise([replace(result, arm=result.category) for result in reading.results], {}, graded=graded)
    judge = judge_note(spec.judge_name, spec.key, reading.judgings, [summary])
    doubts: list[Reason] = []
    if judge:
        if reading.adapter.get("served") == "unknown":
            doubts.append(Reason("adapter_unproved", values=(reading.adapter["reason"],)))
        doubts += judge.doubts
    doubts += broken(summary, reading.answered)
    return Evaluated(reading, summary, categories, judge, doubts)


def arm_name(model: str, adapter: Path | None) -> str:
    """What tables call a model, or an adapter on it. In a study every cell calls its adapter `adapter`."""
    folder = adapter.resolve() if adapter else Path(model)
    return (folder.parent if adapter and folder.name == "adapter" else folder).name


def default_log(name: str, model: str, adapter: Path | None) -> Path:
    """The default log of an eval, different for each model and adapter: `--` for slashes, or a short hash of a path."""
    base = str(Path(model).resolve()) if Path(model).exists() else model
    whose = model.replace("/", "--")
    if adapter or base != model or "--" in model or not re.fullmatch(r"[\w.-]+", whose):
        end = re.sub(r"[^\w.-]+", "-", arm_name(model, adapter)).strip(".-")
        whose = f"{end}-{content_hash(f'{base} {adapter.resolve() if adapter else None}')[:6]}".lstrip("-")
    return Path("logs") / f"{name}-{whose}.eval"


def model_for(specs: Iterable[EvalSpec], model: str, adapter: Path | None = None) -> ModelName:
    """The model for some evals; it is loaded here if one of them needs likelihoods."""
    for spec in specs:
        if EVALS[spec.name].needs_likelihoods:
            return ModelName.here(model, likelihoods_needed(spec.name), adapter)
    return ModelName.parse(model, adapter)


def measure(
    spec: EvalSpec,
    model: ModelName | LoadedModel,
    adapter: Path | None,
    dtype: str,
    arm: str,
    log: Path,
    watcher: Watcher,
    seed: int = 0,
    unproved: bool = False,
) -> ModelName | LoadedModel:
    """Run one eval on one model, write its log, and return the model, loaded, for the next eval.

    Args:
        model: Its name, which may have an adapter, or the model in memory.
        adapter: Folder of the adapter on a model in memory.
        dtype: Of a model that is loaded here; see `models.runtime`.
        arm: The model's name for the watcher.
        log: The `.eval` file; see `harness.run.run`.
        seed: Of the replies of a model in this process.
        unproved: Whether a served model without a proved adapter may be asked, which the caller then tells.
    """
    record = EVALS[spec.name]
    if spec.judge_name:
        check_named(spec.judge_name)
    if isinstance(model, ModelName) and model.provider:
        if record.needs_likelihoods:
            raise UserError(f"{model}: {likelihoods_needed(spec.name)}")
        asked = proved(model, watcher.say, unproved)
        if record.judged and not (asked.adapter or unproved) and (log.is_file() or resume.has_replies(log)):
            watcher.say(asked_before(arm, log))
        watcher.stage(arm, spec.name)
        evals.run_model(asked.connect(), spec, log, watcher.step, asked.adapter)
    else:
        if isinstance(model, ModelName):
            adapter = model.adapter
            model = load(model.model, dtype=dtype, say=watcher.say)
        if record.needs_adapter and adapter is None:
            raise UserError(
                f"{spec.name}: measures the folder of an adapter against its base, and of a model alone it is known by"
                " definition. Give --adapter."
            )
        in_format_of(model, adapter, watcher.say)
        watcher.stage(arm, spec.name)
        evals.run(model, adapter, spec, log, watcher.step, seed)
    failed = failures(log) if record.judged else []
    if failed:
        watcher.say(
            f"{len(failed)} samples have no reply or no judgement, first: {failed[0]}"
            " Rerun the command to retry these alone."
        )
    return model


def asked_before(arm: str, log: Path) -> str:
    """A warning on a served model without a proved adapter, if replies of an earlier run are taken."""
    return (
        f"{arm} is known only by its name and was asked before: its earlier replies are used. If its weights have"
        f" changed since, delete {log} and run the command again."
    )


def refuse_nothing(spec: EvalSpec, log: Path) -> None:
    """Raise if nothing was measured."""
    results = read_log(log, "", 0)
    if any(result.outcome is not Outcome.ERROR for result in results):
        return
    failed = failures(log)
    again = " Rerun the command; existing replies are reused." if failed else ""
    raise (MachineError if failed else UserError)(
        f"{spec.name}: nothing was measured. All {len(results)} samples are errors, first: {results[0].reason}{again}"
    )
