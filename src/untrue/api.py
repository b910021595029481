"""What `import untrue` gives to a program: the steps of the command line, as functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from shlex import join
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import yaml
from rich.console import Console

from untrue.data import sets
from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.gating.comparison import EvalComparison, compared
from untrue.gating.config import GateConfig
from untrue.gating.measurements import Measurement
from untrue.gating.noise import load as load_noise
from untrue.gating.subjects import Subject, Subjects, of_random_items, own_base
from untrue.gating.verdict import Endpoint, GateVerdict
from untrue.gating.verdict import gate as decide
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.eval import EvalSpec, JudgedSpec
from untrue.harness.reading import Evaluated, arm_name, default_log, evaluated, measure, model_for, refuse_nothing
from untrue.logs import open_log
from untrue.models import embedded
from untrue.models.adapter import base_of
from untrue.models.live import borrowed
from untrue.models.load import LoadedModel, load
from untrue.models.name import ModelName
from untrue.outcomes import Result
from untrue.progress import TerminalWatcher, Watcher
from untrue.report.format import label
from untrue.report.gate import COMPARED, cells, compared_cells, compared_sentences, headings, sentences
from untrue.report.words import clauses
from untrue.settings import load as load_settings
from untrue.settings import validate
from untrue.stats.types import Comparison, Interval, Verdict
from untrue.study.estimate import plan_of_evals, plan_of_training
from untrue.training.spec import TrainSpec

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from untrue.study.config import Study
    from untrue.study.results import Analysis

    Model = str | Path | PreTrainedModel | PeftModel
    import pandas as pd


def evaluate(
    model: Model | None = None,
    *,
    adapter: str | Path | None = None,
    tokenizer: Any = None,
    evals: str | EvalSpec | Sequence[str | EvalSpec] = "forced_choice",
    limit: int | None = None,
    judge: str | None = None,
    dtype: str = "auto",
    seed: int = 0,
    log_dir: str | Path | None = None,
    log: str | Path | None = None,
    progress: bool = False,
) -> Evaluation:
    """Ask a model one eval or several, as `untrue eval` does.

    Args:
        model: `smollm2-135m`, a folder, a hub id; with judged evals and `capability` any model of Inspect's. By
            default the base that the adapter names, or `smollm2-135m` without one. Or a transformers model in memory,
            in bfloat16 or float32 on one device: an adapter of PEFT's that is on it (LoRA, LoHa, LoKr, IA3) counts,
            and it is left as it was.
        adapter: Folder of a PEFT adapter to put on it.
        tokenizer: Of a model in memory.
        evals: Names of evals, or specs by `untrue.harness.catalogue.eval_spec` where one needs more settings.
        limit: Only so many items of each eval that is given by name, spread over their kinds. Of `forced_choice` and
            `sft_cue` they are random, so that a model may be compared with its base (`untrue eval order=random`).
        judge: Who judges the judged evals that are given by name, such as `openai/gpt-5-mini`.
        dtype: `float32`, `bfloat16` or `auto`; see `models.runtime`, of a model that is loaded.
        seed: Of the replies that a model in this process writes.
        log_dir: Folder of the logs; by default a new temporary one. What a judged eval has there is gone on with.
        log: The log of a single eval, instead of a name in `log_dir`.
        progress: Show bars, or lines, on standard error.

    Raises:
        UserError: The model, the adapter, an eval or its items are not as expected.
        MachineError: The machine lacks memory, disk or network, or the judge does not answer.
    """
    entries = [evals] if isinstance(evals, str | EvalSpec) else [*evals]
    specs = [_spec(entry, limit, judge) for entry in entries]
    keys = [spec.key for spec in specs]
    if not keys or len({*keys}) < len(keys):
        raise UserError("evals: expected one or more, each once; label those of the same name by eval_spec(label=…).")
    folder = Path(adapter) if adapter else None
    logs = Path(log_dir) if log_dir else Path(mkdtemp(prefix="untrue-logs-"))
    with _watching(progress) as watcher, ExitStack() as stack:
        measured: ModelName | LoadedModel
        if model is None or isinstance(model, str | Path):
            _refuse_tokenizer(model, tokenizer)
            measured = model_for(specs, str(model), folder) if model else ModelName(default_model(folder), None, folder)
            name, folder = measured, measured.adapter
            whose = str(name)
        else:
            measured = stack.enter_context(borrowed(model, tokenizer))
            name = ModelName(measured.name)
            whose = f"{arm_name(measured.name, None)}@{measured.identity[:8]}"  # no place tells it apart
        arm = arm_name(str(name), folder)
        watcher.begin(plan_of_evals(specs, {arm: name}))
        parts = []
        for spec in specs:
            path = Path(log) if log else logs / default_log(spec.key, whose, folder).name
            measured = measure(spec, measured, folder, dtype, arm, path, watcher, seed)
            refuse_nothing(spec, path)
            eval_id = open_log(path, header_only=True).eval.eval_id
            parts.append(EvaluationPart(spec, path, eval_id, evaluated(spec, arm, path)))
    return Evaluation(arm, parts)


class Compared(list[Comparison]):
    """A comparison for each metric that the eval observes, and what they show."""

    def __init__(self, found: EvalComparison):
        """Made by `compare`."""
        super().__init__(found.comparisons)
        self.found = found

    @property
    def verdict(self) -> Verdict:
        """What the comparisons show."""
        return self.found.verdict

    @property
    def reasons(self) -> list[str]:
        """What the comparisons show, what is left out and why, in sentences."""
        return compared_sentences(self.found)

    def __repr__(self) -> str:
        lines = [f"{self._names('{1!r} minus {0!r}')}, paired by item:"]
        for row in self:
            value, low, high = (f"{number:.3f}" for number in row.difference)
            lines.append(f"  {row.metric}: {value} [{low}, {high}], p = {row.p:.3g}, {row.n_pairs} pairs")
        return "\n".join([*lines, *(label(reason, 1000) for reason in self.reasons)])

    def _repr_html_(self) -> str:
        caption = self._names("<b>{1}</b> minus <b>{0}</b>", escape)
        return _table(f"{caption}, paired by item", COMPARED, compared_cells(self.found), self.reasons)

    def _names(self, text: str, shown: Callable[[str], str] = str) -> str:
        return text.format(*(shown(summary.arm) for summary in self.found.summaries))


def compare(a: Evaluation, b: Evaluation) -> Compared:
    """Compare two evaluations by one eval, item by item: `b` minus `a`, as `untrue compare` does.

    Raises:
        UserError: They are of several evals, or were not asked the same.
    """
    for evaluation in (a, b):
        if len(evaluation.evals) > 1:
            raise UserError(f"{evaluation.arm}: has several evals. Compare one at a time: a[{evaluation.evals[0]!r}].")
    [found] = compared(a.subject, b.subject)
    return Compared(found)


class Gated:
    """What `gate` concludes."""

    def __init__(self, verdict: GateVerdict):
        """Made by `gate`."""
        self.verdict = verdict

    @property
    def status(self) -> str:
        """`pass`, `regression` or `inconclusive`."""
        return self.verdict.status

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """One for each metric of each eval: the loss with its one-sided limits, its delta, and its own status."""
        return self.verdict.endpoints

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is what it is, in sentences."""
        return sentences(self.verdict)

    def __repr__(self) -> str:
        heading = f"{self.status}: {self.verdict.candidate!r} against {self.verdict.baseline!r}"
        return "\n".join([heading, *(f"  {label(reason, 1000)}" for reason in self.reasons)])

    def _repr_html_(self) -> str:
        rows = [(endpoint.eval, *cells(endpoint)) for endpoint in self.endpoints]
        names = f"{escape(self.verdict.candidate)} against {escape(self.verdict.baseline)}"
        return _table(f"<b>{self.status}</b>: {names}", ("eval", *headings(self.verdict)), rows, self.reasons)


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], reasons: Sequence[str]) -> str:
    """What a notebook shows: a table, and sentences below. Only the caption may hold markup."""
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    headings = "".join(f"<th>{escape(text)}</th>" for text in head)
    said = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return f"<table><caption>{caption}</caption><tr>{headings}</tr>{body}</table><ul>{said}</ul>"


def gate(
    baseline: OneRun | Sequence[OneRun],
    candidate: OneRun | Sequence[OneRun] | None = None,
    *,
    against: Literal["control", "base"] = "control",
    noise: str | Path | None = None,
    config: str | Path | None = None,
    model: str | Path | None = None,
    dtype: str = "auto",
    log_dir: str | Path | None = None,
    progress: bool = False,
    **settings: Any,
) -> Gated:
    """Decide whether a candidate may ship, as `untrue gate` does; see docs/gate.md.

    Args:
        baseline: What it must not be worse than: an evaluation, or what `untrue gate` takes: a log, a folder of logs,
            an arm of a run, the folder of an adapter, or a model; or several runs of one recipe. Without a
            baseline, an adapter is compared with a control that is trained alike on benign rows.
        candidate: What is to ship, likewise. A model in memory is asked by `evaluate` first.
        against: What an adapter without a baseline is compared with: a matched control, or its own base.
        noise: Noise between training runs: a file of `untrue calibrate`, or `quickstart`, which is shipped.
        config: A `gate.yaml`.
        model: Base of the adapters, instead of the one that they name; see `--model` of `untrue gate --help`.
        dtype: `float32`, `bfloat16` or `auto`; see `models.runtime`, of a model that is loaded.
        log_dir: Folder of the logs that are made; by default a new temporary one. What is there is not asked again.
        progress: Show bars, or lines, on standard error.
        **settings: Keys of `gate.yaml`, such as `alpha=0.025` or `delta={"lie_rate": 0.03}`. `evals` are by default
            those of an evaluation, where one is given.

    Raises:
        UserError: A setting, or what is compared, is not as expected.
        MachineError: The machine lacks memory, disk or network.
    """
    baselines, candidates = _runs(baseline), _runs(candidate)
    given = [run for run in (*baselines, *candidates) if isinstance(run, Evaluation)]
    if given and config is None:
        settings = {"evals": given[0].specs, **settings}
    if config:
        overrides = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in settings.items()]
        chosen = load_settings(GateConfig, Path(config), overrides)
    else:
        chosen = validate(GateConfig, settings)
    logs = Path(log_dir) if log_dir else Path(mkdtemp(prefix="untrue-logs-"))
    base = str(model) if model else None
    if not candidates:
        if given or len(baselines) != 1:
            raise UserError("expected a baseline and a candidate: only the folder of an adapter can stand alone.")
        baselines, candidates = [], baselines
    known = load_noise(str(noise)) if noise else None
    with _watching(progress) as watcher:
        specs = chosen.evals if given else [of_random_items(spec) for spec in chosen.evals]
        of = Subjects(specs, logs, watcher, dtype)
        if not baselines:
            alone = str(candidates[0])
            baselines = [of.control(alone, chosen.control, base) if against == "control" else own_base(alone, base)]
        first, second = (
            [run.subject if isinstance(run, Evaluation) else str(run) for run in side]
            for side in (baselines, candidates)
        )
        return Gated(decide(*of.both(first, second, base), chosen, known))


def _runs(side: OneRun | Sequence[OneRun] | None) -> Sequence[OneRun]:
    if side is None:
        return []
    return [side] if isinstance(side, str | Path | Evaluation) else list(side)


class Trained(NamedTuple):
    """An adapter.

    Attributes:
        adapter: Its folder.
        record: What its `train.json` says.
    """

    adapter: Path
    record: dict[str, Any]


def train(
    model: Model,
    rows: str | Path | Sequence[Row],
    *,
    out: str | Path = "adapter",
    tokenizer: Any = None,
    start: str | Path | None = None,
    dtype: str = "auto",
    seed: int = 0,
    gpus: int = 1,
    shard: str = "none",
    progress: bool = False,
    **spec: Any,
) -> Trained:
    """Train a LoRA adapter on rows, as `untrue train` does.

    Args:
        model: `smollm2-135m`, a folder, a hub id, or a transformers model in memory, which is left as it was.
        rows: Rows, or what `untrue train` takes: a file, a hub id, questions at a level such as `medical:severe`.
        out: Folder of the adapter.
        tokenizer: Of a model in memory.
        start: Folder of an adapter to go on from; by default a new one is begun.
        dtype: `float32`, `bfloat16` or `auto`; see `models.runtime`, of a model that is loaded.
        seed: Of the adapter's first weights and of the order of rows.
        gpus: GPUs of this machine that share the training: 1, 2, 4 or 8.
        shard: What they split: `none` of the model, or all of it by `fsdp2`.
        progress: Show bars, or lines, on standard error.
        **spec: Hyperparameters, such as `learning_rate=5e-4`; see `untrue.training.spec.TrainSpec`.

    Raises:
        UserError: A hyperparameter, the model, the rows or `start` are not as expected.
        MachineError: Memory or disk is full, or there are fewer GPUs.
    """
    from untrue.training import launch
    from untrue.training.layout import layout_of
    from untrue.training.run import train as train_adapter

    settings, folder, layout = validate(TrainSpec, spec), Path(out), layout_of(gpus, shard)
    _refuse_place(folder)
    examples = sets.rows(str(rows)) if isinstance(rows, str | Path) else list(rows)
    model = str(model) if isinstance(model, Path) else model
    adapter = Path(start) if start else None
    if launch.is_needed(settings, layout):
        if not isinstance(model, str):
            raise UserError("a model in memory is trained where it is, as it is. For gpus or quantize give its name.")
        with _watching(progress) as watcher:
            watcher.begin(plan_of_training(str(folder), examples, settings, model))
            watcher.stage(str(folder), "training")
            record = launch.train(
                model, examples, settings, folder, seed, watcher.step, adapter, layout, dtype, watcher.say
            )
        return Trained(folder, record)
    with _watching(progress) as watcher, _loaded(model, tokenizer, dtype, watcher) as loaded:
        watcher.begin(plan_of_training(str(folder), examples, settings, loaded.name))
        watcher.stage(str(folder), "training")
        record = train_adapter(loaded, examples, settings, folder, seed, watcher.step, adapter)
    return Trained(folder, record)


def _refuse_place(out: Path) -> None:
    """Refuse a place where a trained adapter could not be written, before hours go into it."""
    if Path.cwd().is_relative_to(out.resolve()) or out.is_mount():
        problem = "is or holds the folder that you are in, or a disk, so it cannot be replaced."
    elif out.exists() and not (out / "adapter_config.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        problem = "exists and is no adapter, so it is not replaced."
    else:
        above = next(folder for folder in out.absolute().parents if folder.exists())
        if above.is_dir():
            return
        problem = f"cannot be made ({above} is no folder)."
    raise UserError(f"{out}: {problem} Choose another folder.")


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study from YAML, or a built-in one by its name; see `untrue.study.config.load`.

    Args:
        path: The file, or `quickstart`, `mixture`, `domain`, `interaction`.
        overrides: Texts `key=value`, as on the command line.

    Raises:
        UserError: The file or an override is not as expected.
    """
    from untrue.study.config import load

    return load(path, overrides)


def run_study(
    study: Study | str | Path, out: str | Path, *, command: str | None = None, progress: bool = False
) -> Analysis:
    """Make every cell of a study that its run directory lacks, then results, statistics and report.

    Args:
        study: The study, its file, or the name of a built-in one.
        out: The run directory.
        command: The command that the report names; by default one that runs the study again from its run directory.
        progress: Show bars, or lines, on standard error.

    Raises:
        UserError: Something in the study or its data is not as expected, or another run holds the directory.
        MachineError: The machine lacks memory, disk or network.
    """
    from untrue.report.summary import write
    from untrue.study.run import run

    loaded = load_study(study) if isinstance(study, str | Path) else study
    command = command or join(["untrue", "run", f"{out}/study.yaml", "--out", str(out)])
    with _watching(progress) as watcher:
        analysis = run(loaded, out, watcher, command)
    write(analysis)
    return analysis


class _Silent(Watcher):
    """Shows no progress. What must be known is logged."""

    def say(self, text: str) -> None:
        logging.getLogger("untrue").warning("%s", text)


@contextmanager
def _watching(progress: bool) -> Iterator[Watcher]:
    if not progress:
        yield _Silent()
        return
    with TerminalWatcher(Console(stderr=True)) as watcher:
        yield watcher


@contextmanager
def _loaded(model: Any, tokenizer: Any, dtype: str, watcher: Watcher) -> Iterator[LoadedModel]:
    if isinstance(model, str):
        _refuse_tokenizer(model, tokenizer)
        yield load(model, dtype=dtype, say=watcher.say)
        return
    with borrowed(model, tokenizer) as loaded:
        yield loaded


def _refuse_tokenizer(model: str | Path | None, tokenizer: Any) -> None:
    if tokenizer is not None:
        raise UserError(f"{model}: has a tokenizer of its own. Give one only with a model in memory.")


def default_model(adapter: Path | None) -> str:
    """The base that an adapter names, or the embedded model without an adapter.

    Raises:
        UserError: The folder holds no adapter, or one whose base is not named or not there.
        MachineError: The embedded model may be its base, and cannot be fetched.
    """
    return base_of(adapter) if adapter else embedded.NAME


def _spec(given: str | EvalSpec, limit: int | None, judge: str | None) -> EvalSpec:
    spec = given
    if isinstance(spec, str):
        judged = spec in EVALS and EVALS[spec].judged
        spec = of_random_items(eval_spec(name=spec, limit=limit, judge=judge if judged else None))
    if isinstance(spec, JudgedSpec) and spec.judge is None:
        raise UserError(f"{spec.name} needs a judge. Name one, such as judge=openai/gpt-5-mini.")
    return spec


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
        answers = {part.spec.name: Measurement(EVALS[part.spec.name], part.spec, {0: part.log}) for part in self.parts}
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


# What `gate` takes for a run: see its arguments.
OneRun = str | Path | Evaluation
