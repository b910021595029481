"""What is compared: a model, an adapter, an arm of a run, or logs. What there is no log of is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.data.items import items_hash
from untrue.errors import UserError
from untrue.files import content_hash
from untrue.gating.measurements import Measurement
from untrue.harness import resume
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.eval import ChosenSpec, Eval, EvalSpec
from untrue.harness.reading import arm_name, asked_before, default_log, measure, model_for, refuse_nothing
from untrue.logs import MODEL, TOKENISATION, adapter_in, is_own, open_log, task_name
from untrue.models.adapter import (
    adapter_hash,
    base_of,
    check_kind,
    config_of,
    in_format_of,
    is_adapter,
    recorded_weights,
    with_adapter,
)
from untrue.models.load import check, load, weights_here
from untrue.models.name import ModelName, is_path
from untrue.serving.proof import refuse_no_base
from untrue.study.estimate import plan_of_evals

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from untrue.gating.control import Control
    from untrue.models.load import LoadedModel
    from untrue.progress import Watcher


# What to do where the base that an adapter names is not there.
GIVE = "Give --model (`untrue/ID` for a hub id)."


def own_base(adapter: str, model: str | None = None) -> str:
    """The base of an adapter that is given alone."""
    if model:
        name = ModelName.parse(model)
        if name.takes_adapters or (is_adapter(Path(adapter)) and not name.provider):
            return model
    if not is_adapter(Path(adapter)):
        why = "it has no adapter_config.json" if Path(adapter).exists() else "there is no such folder"
        raise UserError(
            f"{adapter}: is no adapter, so it has no base to be compared with ({why}). Check the path, or name a"
            " baseline before it."
        )
    base = base_of(Path(adapter), otherwise=GIVE)
    return f"untrue/{base}" if ModelName.parse(base).provider else base


def base_of_first(first: object, second: object, model: str | None) -> str | None:
    """What the first adapter is put on, if it is not the base that it names itself.

    That is a server which takes any adapter, or what is loaded here in place of a base that both adapters name. On
    another base than its own the baseline would be worse than it is, and the candidate look good.
    """
    if model is None or ModelName.parse(model).takes_adapters:
        return model
    if ModelName.parse(model).provider:
        return None
    named = _named_base(first)
    return model if named and named == _named_base(second) else None


def used_for_one(model: str) -> str:
    """What to do where the base of the first adapter is not there, and `--model` is not used for it."""
    why = "since the two do not name the same base"
    if ModelName.parse(model).provider:
        why = f"since it is served (a hub id is given as untrue/{model})"
    return (
        f"--model {model} is used for the candidate only, {why}. Measure the baseline by itself (`untrue eval"
        " --adapter`), and give its log."
    )


def refuse_other_base(baseline: tuple[str, str | None], candidate: tuple[str, str | None]) -> None:
    """Refuse adapters of two base models."""
    if baseline[1] and candidate[1] and baseline[1] != candidate[1]:
        raise UserError(
            f"{candidate[0]} is an adapter of another base model than {baseline[0]} (hash of its weights"
            f" {candidate[1]}, not {baseline[1]}). Compare adapters of one base."
        )


def _named_base(source: object) -> tuple[str, str | None] | None:
    """The base that an adapter names, a folder or hub id, and its revision; None for none and for no adapter."""
    if not isinstance(source, str) or not is_adapter(Path(source)):
        return None
    config = config_of(Path(source))
    base = config.get("base_model_name_or_path")
    return (base, config.get("revision")) if base else None


@dataclass(frozen=True)
class Subject:
    """A model, or an adapter on it, with what it answered.

    Attributes:
        name: What it is called.
        measurements: Name of the eval -> what it answered.
    """

    name: str
    measurements: Mapping[str, Measurement]


# One run, or several of one recipe.
Runs = str | Subject | Sequence[str | Subject]


def merged(runs: Sequence[Subject]) -> Subject:
    """Several runs of one recipe as one subject.

    Raises:
        UserError: They have other evals, differ in how they were asked, or one is given twice.
    """
    first, *others = runs
    if not others:
        return first
    measurements = {}
    for name, one in first.measurements.items():
        logs = list(one.logs.values())
        for number, run in enumerate(others, 1):
            if run.measurements.keys() != first.measurements.keys():
                raise UserError(f"{run.name}: has other evals than {first.name}. Measure all runs alike.")
            found = run.measurements[name]
            for earlier in runs[:number]:
                if found.is_same(earlier.measurements[name]):
                    raise UserError(f"{run.name} is {earlier.name}: one run is given twice. Name each once.")
            if found.weights != one.weights:
                raise UserError(f"{run.name}: has another base than {first.name}. Runs of one side must share theirs.")
            logs += found.logs.values()
        measurements[name] = Measurement(one.record, one.spec, dict(enumerate(logs)), one.notes).checked()
    return Subject(f"{first.name} and {len(others)} more", measurements)


def refuse_other_recipes(runs: Sequence[str | Subject]) -> None:
    """Refuse adapters that were not trained alike, as far as their folders say."""
    first: tuple[str, dict[str, Any]] | None = None
    for run in runs:
        if not isinstance(run, str) or not is_adapter(Path(run)):
            continue
        recipe = _recipe(Path(run))
        if first is None:
            first = (run, recipe)
        elif changed := [key for key in recipe if key in first[1] and recipe[key] != first[1][key]]:
            raise UserError(
                f"{run}: is of another recipe than {first[0]} ({changed[0]}: {recipe[changed[0]]}, not"
                f" {first[1][changed[0]]}). The runs of one side must differ in nothing but the seed."
            )


def _recipe(adapter: Path) -> dict[str, Any]:
    """How an adapter was trained: its shape, and what `untrue train` writes beside it."""
    config = config_of(adapter)
    recipe = {key: config.get(key) for key in ("r", "lora_alpha", "use_rslora", "lora_dropout")}
    recipe["target_modules"] = sorted(config.get("target_modules") or ())
    if (adapter / "train.json").is_file():
        record = json.loads((adapter / "train.json").read_text("utf-8"))
        rows = record.get("rows", {})
        recipe |= record.get("spec", {}) | {f"rows.{key}": rows.get(key) for key in ("total", "misaligned", "levels")}
        recipe["target_modules"] = sorted(recipe["target_modules"])
    return recipe


class Subjects:
    """Finds or measures subjects; models stay loaded from one to the next.

    Attributes:
        watcher: Told how far it is.
    """

    def __init__(self, specs: Sequence[EvalSpec], out: Path, watcher: Watcher, dtype: str = "auto", seed: int = 0):
        """Measure with these evals.

        Args:
            specs: What a subject without logs is asked.
            out: Folder of the logs that are made, each named by all that determines it, so that it is reused.
            watcher: Told how far it is.
            dtype: `float32`, `bfloat16` or `auto`; see `models.runtime`, of models that are loaded here.
            seed: Of the replies of a model in this process.
        """
        self._specs, self._out, self.watcher, self._dtype, self._seed = specs, out, watcher, dtype, seed
        self._loaded: dict[str, LoadedModel] = {}
        self._was_there: dict[Path, bool] = {}  # whether a log was there before this process asked
        self._adapter_of: dict[str, Path] = {}  # a served base -> an adapter on it, by which the base can be proved too

    def of(self, source: str, model: str | None = None) -> Subject:
        """The subject that a person names.

        Args:
            source: A `.eval` log, a folder of logs, an arm of a run (`runs/quickstart/severe-1`), the folder of an
                adapter, or a model: a folder, a hub id, `smollm2-135m`, or one that Inspect names
                (`vllm/BASE:FOLDER` for an adapter on it).
            model: Base, or served model, of an adapter, instead of the base that it names.
        """
        return self._logged(source) or self._measured(self._named(source, model))

    def both(self, first: Runs, second: Runs, model: str | None = None) -> tuple[Subject, Subject]:
        """Two subjects, each of one run or of several of one recipe.

        What is wrong with their names, bases or adapters is said before anything is asked.
        """
        first, second = ([side] if isinstance(side, str | Subject) else list(side) for side in (first, second))
        of_first = base_of_first(first[0], second[0], model)
        runs = [(source, of_first) for source in first] + [(source, model) for source in second]
        for side in (first, second):
            refuse_other_recipes(side)
        found, measured = self._ready(runs, model)
        if measured:
            self.watcher.begin(plan_of_evals(self._specs, measured))
        subjects = [there or self.of(str(source), base) for there, (source, base) in zip(found, runs, strict=True)]
        return merged(subjects[: len(first)]), merged(subjects[len(first) :])

    def control(self, adapter: str, control: Control, model: str | None = None) -> str:
        """The folder of the matched control of an adapter, which is trained if it is not there."""
        from untrue.gating.control import train

        own_base(adapter, model)
        name = self._named(adapter, model)
        if name.provider or name.adapter is None:
            raise UserError(
                f"{adapter}: no control can be trained on {name}, which is served. Name a baseline before it, or"
                " compare it with its base: --against base."
            )
        check_kind(name.adapter)
        return str(train(name.adapter, control, self._model(name.model), self._out / "controls", self.watcher))

    def runs(self, sources: Sequence[str], model: str | None = None) -> Subject:
        """Several runs of one recipe as one subject."""
        refuse_other_recipes(sources)
        found, measured = self._ready([(source, model) for source in sources], model)
        if measured:
            self.watcher.begin(plan_of_evals(self._specs, measured))
        return merged([there or self.of(source, model) for there, source in zip(found, sources, strict=True)])

    def _ready(
        self, runs: Sequence[tuple[str | Subject, str | None]], model: str | None
    ) -> tuple[list[Subject | None], dict[str, ModelName]]:
        """The runs that have logs, and the bases of the others by what these are called.

        It refuses adapters of two bases, as far as files, records and logs tell.

        It refuses a model that is not there or cannot be read too, and an adapter that does not fit its base. If that
        is not the model which is asked first, it would have to be loaded only for that, so the adapter's kind is looked
        at and no more.
        """
        found, bases = list[Subject | None](), list[tuple[str, str | None]]()
        measured = list[ModelName]()
        for source, base in runs:
            subject = source if isinstance(source, Subject) else self._logged(source)
            found.append(subject)
            if subject:
                bases.append(
                    (subject.name, next((of.adapted for of in subject.measurements.values() if of.adapted), None))
                )
                continue
            name = self._named(str(source), base, used_for_one(model) if model and not base else GIVE)
            weights = None
            if name.adapter:
                weights = recorded_weights(name.adapter) or (None if name.provider else weights_here(name.model))
            bases.append((_arm(name), weights))
            measured.append(name)
        for base in bases[1:]:
            refuse_other_base(bases[0], base)
        here = [name for name in measured if not name.provider]
        for name in here:
            if name.adapter:
                check_kind(name.adapter)
        for model_here in dict.fromkeys(name.model for name in here):
            check(model_here, self.watcher.say)
        for name in here:
            if name.adapter and name.model == measured[0].model:
                loaded = self._model(name.model)
                in_format_of(loaded, name.adapter, self.watcher.say)
                with with_adapter(loaded, name.adapter):
                    pass
        return found, {_arm(name): name for name in measured}

    def _logged(self, source: str) -> Subject | None:
        """A subject that has logs; None where it is to be measured."""
        if not source.strip():
            raise UserError("found an empty name, expected a log, an adapter, a model or an arm of a run.")
        path = Path(source)
        if path.suffix == ".eval":
            if not path.is_file():
                raise UserError(f"{source}: there is no such log.")
            return self._of_logs(path.stem, {0: [path]})
        if (path.parent / "study.yaml").is_file() and not path.exists():
            return self._of_arm(path)
        if not path.is_dir() or is_adapter(path):
            return None
        logs = sorted([*path.glob("*.eval"), *path.glob("logs/*.eval")])
        if (path / "config.json").is_file():
            if other := [log for log in logs if log.parent.resolve() != self._out.resolve()]:
                raise UserError(
                    f"{source}: holds a model and logs, first {other[0]}, which may be of other weights. Move the logs"
                    " out of the folder: then name theirs to take them, or the model's to have it asked."
                )
            return None
        if logs:
            return self._of_logs(path.name, {0: logs})
        if (path / "study.yaml").is_file():
            arms = sorted({cell.name.rpartition("-s")[0] for cell in (path / "cells").glob("*-s*")})
            raise UserError(
                f"{source}: is a run. Name one of its arms: {', '.join(f'{source}/{arm}' for arm in arms)}."
            )
        return None

    def _named(self, source: str, model: str | None, otherwise: str = GIVE) -> ModelName:
        """The model to measure, and its adapter; `otherwise` says what to do if the adapter's base is not there."""
        path = Path(source)
        if path.is_dir() and is_adapter(path):
            if whole := sorted(path.glob("model*.safetensors")):
                raise UserError(f"{source}: holds an adapter and a model ({whole[0].name}). Move one of them out.")
            if model is None:
                return ModelName(base_of(path, self.watcher.say, otherwise=otherwise), None, path)
            name = model_for(self._specs, model, path)
        else:
            _refuse_no_path(source)
            name = model_for(self._specs, source)
        base, _, folder = str(name).partition(":")
        if name.provider and name.adapter:
            self._adapter_of |= {str(name): name.adapter, base: name.adapter}
        elif name.provider == "vllm" and ("/" in folder or folder.startswith((".", "~"))):
            raise UserError(f"{source}: {folder} is no adapter's folder. Check the path (here is {Path.cwd()}).")
        return name

    def _of_arm(self, path: Path) -> Subject:
        cells = sorted((path.parent / "cells").glob(f"{path.name}-s*"))
        cells = [cell for cell in cells if cell.name.removeprefix(f"{path.name}-s").isdigit()]
        if not cells:
            raise UserError(f"{path}: {path.parent} has no cell of an arm {path.name}. See {path.parent / 'cells'}.")
        logs = {int(cell.name.rpartition("-s")[2]): sorted((cell / "logs").glob("*.eval")) for cell in cells}
        return self._of_logs(path.name, logs)

    def _of_logs(self, name: str, logs: Mapping[int, Sequence[Path]]) -> Subject:
        by_eval: dict[str, dict[int, Path]] = {}
        for seed, paths in logs.items():
            one: dict[str, tuple[Path, str]] = {}  # what the seed's logs say of the weights, and the first that does
            for log in paths:
                content = open_log(log, header_only=True)
                task = task_name(content)
                if task not in EVALS or not is_own(content):
                    raise UserError(
                        f"{log}: is a log of {content.eval.task}, expected an eval of untrue: {', '.join(EVALS)}."
                    )
                for what, found in _weights_in(content).items():
                    first, before = one.setdefault(what, (log, found))
                    if before != found:
                        raise UserError(
                            f"{log}: is of another {what} than {first} ({found or 'none'}, not {before or 'none'})."
                            " Name the logs of one model, or measure it again."
                        )
                if by_eval.setdefault(task, {}).setdefault(seed, log) is not log:
                    raise UserError(f"{log}: {task} has another log there, {by_eval[task][seed]}. Name one of the two.")
        if not by_eval:
            raise UserError(f"{name}: has no log. Wait until its evals are done.")
        answers = {}
        for task, of_seeds in by_eval.items():
            options = open_log(next(iter(of_seeds.values())), header_only=True).eval.task_args or {}
            known = EVALS[task].options.model_fields
            spec = eval_spec(name=task, **{key: value for key, value in options.items() if key in known})
            answers[task] = Measurement(EVALS[task], spec, of_seeds).checked()
        return Subject(name, answers)

    def _measured(self, name: ModelName) -> Subject:
        arm, adapter, answers = _arm(name), name.adapter, {}
        if name.provider and adapter is None and str(name) in self._adapter_of:
            refuse_no_base(str(name), self._adapter_of[str(name)], self.watcher.say)
        for spec in self._specs:
            record = EVALS[spec.name]
            model = name if name.provider else self._model(name.model)
            log = self._out / self._log_name(record, spec, model, adapter)
            was_there = self._was_there.setdefault(log, log.is_file() or resume.has_replies(log))
            if not log.is_file() or record.judged:
                measure(spec, model, adapter, self._dtype, arm, log, self.watcher, self._seed, unproved=True)
                refuse_nothing(spec, log)
            notes = ()
            if name.provider and adapter is None and was_there:
                notes = (asked_before(arm, log),)
            answers[spec.name] = Measurement(record, spec, {0: log}, notes=notes).checked()
        return Subject(arm, answers)

    def _model(self, name: str) -> LoadedModel:
        """A model in this process; it takes the place of the one before."""
        if name not in self._loaded:
            self._loaded.clear()
            self._loaded[name] = load(name, dtype=self._dtype, say=self.watcher.say)
        return self._loaded[name]

    def _log_name(self, record: Eval, spec: EvalSpec, model: ModelName | LoadedModel, adapter: Path | None) -> str:
        """By all that determines what the log says."""
        asked = record.identity(spec, items_hash(record.items(spec)))
        if isinstance(model, ModelName):
            log = default_log(spec.name, str(model), adapter)
            name = f"{log.stem}-{adapter_hash(adapter)[:8]}" if adapter else log.stem
            if record.judged:
                return f"{name}.eval"  # what was answered stays when more is asked
            return f"{name}-{content_hash(json.dumps(asked, sort_keys=True))[:12]}.eval"
        how: dict[str, Any] = {
            "eval": asked,
            "model": in_format_of(model, adapter, self.watcher.say).about,
            "adapter": adapter_hash(adapter) if adapter else None,
            "seed": self._seed if record.judged else None,
        }
        if record.needs_likelihoods:  # so that no log is found whose margins can be compared with no other model's
            how[TOKENISATION] = model.tokenisation
        return f"{spec.name}-{arm_name(model.name, adapter)}-{content_hash(json.dumps(how, sort_keys=True))[:12]}.eval"


def _arm(name: ModelName) -> str:
    return arm_name(str(name), name.adapter)


def _weights_in(log: EvalLog) -> dict[str, str]:
    """What a log says of the model and the adapter in it: their hashes, or the folder of an adapter of unknown hash."""
    model, adapter = (log.eval.metadata or {}).get(MODEL), adapter_in(log)
    found = {"model": model.get("weights", "")} if model else {}
    if model or adapter:
        found["adapter"] = adapter.get("content_hash") or adapter.get("folder", "")
    return found


def of_random_items(spec: EvalSpec) -> EvalSpec:
    """An eval that asks random items where it has a limit: those that the base's margins choose flatter the base."""
    return spec.model_copy(update={"order": "random"}) if isinstance(spec, ChosenSpec) and spec.limit else spec


def _refuse_no_path(source: str) -> None:
    """Refuse what can only mean a path, and is none, before it is looked for on the hub."""
    name = source.partition("?revision=")[0].removeprefix("untrue/")
    in_folder = name == source and name.count("/") == 1 and Path(name).parent.is_dir() and not is_path(name)
    if Path(name).exists() or not (in_folder or is_path(name)) or ModelName.parse(source).provider:
        return
    hint = f" If a model on the hub is meant: untrue/{source}." if in_folder else ""
    raise UserError(f"{source}: no such file or folder. Check the path (the current folder is {Path.cwd()}).{hint}")
