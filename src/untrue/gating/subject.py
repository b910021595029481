"""What is compared: a model, an adapter, an arm of a run, or logs. What there is no log of is measured.

Two subjects are compared item by item, so their logs must ask the same: the same eval in the same version, items with
the same texts. Margins are compared only between models with one tokenizer; of others outcomes alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.data.items import items_hash
from untrue.engine.served import is_served, loading, may_be_served, refuse_no_base, takes_adapters, with_folder
from untrue.errors import UserError
from untrue.evals.eval import Eval, EvalSpec
from untrue.evals.reading import Reading, arm_name, default_log, measure, read, refuse_nothing
from untrue.evals.registry import EVALS, eval_spec, likelihoods_needed
from untrue.files import content_hash
from untrue.judge.check import judge_note
from untrue.logs import ADAPTER, IN_BATCHES, MODEL, details_of, open_log, task_name
from untrue.models.adapter import adapter_hash, base_of, is_adapter
from untrue.outcomes import Outcome, Result
from untrue.stats.types import ArmSummary, Reason

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from untrue.models.load import LoadedModel
    from untrue.progress import Watcher

Only = Mapping[str, Collection[str]]
"""Eval -> ids of the items that are asked and read, where that is not all."""


@dataclass(frozen=True)
class Answers:
    """What one subject answered in one eval, in one log for each seed.

    Attributes:
        record: The eval.
        spec: Its options, as far as they matter for reading.
        logs: Seed -> the `.eval` file.
        only: Ids of the items that count, as if no other had been asked; None for all.
    """

    record: Eval
    spec: EvalSpec
    logs: Mapping[int, Path]
    only: Collection[str] | None = None

    @cached_property
    def reading(self) -> Reading:
        """The logs as results."""
        return read(self.spec, "", list(self.logs.items()), self.only)

    @cached_property
    def contents(self) -> list[EvalLog]:
        """The logs as Inspect reads them."""
        return [open_log(path, only=self.only) for path in self.logs.values()]

    @cached_property
    def asked(self) -> dict[str, str]:
        """Item -> hash of all texts that it was asked with."""
        hashes = {}
        for content in self.contents:
            for sample in content.samples or []:
                texts = {key: value for key, value in (sample.metadata or {}).items() if _is_text(value)}
                prompt = sample.input if isinstance(sample.input, str) else [m.text for m in sample.input]
                whole = [prompt, sample.choices, sample.target, texts]
                hashes[str(sample.id)] = content_hash(json.dumps(whole, sort_keys=True))
        return hashes

    @property
    def meant(self) -> set[str]:
        """The items that were to be asked, answered or not."""
        ids = {str(id) for content in self.contents for id in content.eval.dataset.sample_ids or []}
        return ids | self.asked.keys()

    @property
    def clusters(self) -> dict[str, str | None]:
        """Item that was to be asked -> its cluster, if it has one."""
        samples = [sample for content in self.contents for sample in content.samples or []]
        known = {str(sample.id): (sample.metadata or {}).get("cluster") for sample in samples}
        return {item: known.get(item) for item in self.meant}

    @property
    def results(self) -> list[Result]:
        """One for each item, epoch and seed that was to be asked: what has no sample is an error."""
        results = list(self.reading.results)
        present = {(result.seed, result.item, result.epoch) for result in results}
        for seed, content in zip(self.logs, self.contents, strict=True):
            epochs = range(1, (content.eval.config.epochs or 1) + 1)
            due = product([seed], map(str, content.eval.dataset.sample_ids or []), epochs)
            results += [_absent(self.spec.key, *key) for key in due if key not in present]
        return results

    @property
    def unjudged(self) -> set[tuple[int, str, int]]:
        """Seed, item and epoch of the replies on which the judge, and not the model, failed."""
        return {
            (seed, str(sample.id), sample.epoch)
            for seed, content in zip(self.logs, self.contents, strict=True)
            for sample in content.samples or []
            if details_of(sample).get("failed") == "judge"
        }

    @property
    def is_stopped_early(self) -> bool:
        """Whether a gate that asks in batches asked it, and not of all items."""
        return any(IN_BATCHES in (content.eval.metadata or {}) for content in self.contents)

    @property
    def version(self) -> int | str:
        """Of the eval."""
        return self.contents[0].eval.task_version

    @property
    def tokenizer(self) -> str | None:
        """Hash of the model's tokenizer; None where the log does not say."""
        return self._head(MODEL).get("tokenizer")

    @property
    def weights(self) -> str | None:
        """Hash of the model's weights, adapter aside; None where the log does not say."""
        return self._head(MODEL).get("weights")

    @property
    def adapted(self) -> str | None:
        """Hash of the base's weights where the model has an adapter; None where it has none, or they are not known."""
        return self.weights if self._head(ADAPTER) else None

    @property
    def settings(self) -> dict[str, Any]:
        """How the model was asked, as far as that changes its answers: other settings are another measurement."""
        content = self.contents[0]
        sampling = [getattr(config, name) for config in (content.plan.config, content.eval.model_generate_config)
                    for name in ("temperature", "max_tokens")]  # fmt: skip
        return {
            "seeds": sorted(self.logs),
            "epochs": content.eval.config.epochs or 1,
            "temperature and max_tokens": sampling,
            "way of choosing (likelihoods or letters)": self.record.judged or content.eval.model.startswith("untrue/"),
        }

    def _head(self, name: str) -> Mapping[str, str]:
        return (self.contents[0].eval.metadata or {}).get(name, {})


def _is_text(value: Any) -> bool:
    """Whether a value is a text, or a list of texts. Other values of a sample may be what the model made of it."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))


def _absent(name: str, seed: int, item: str, epoch: int) -> Result:
    return Result("", seed, name, item, "", Outcome.ERROR, reason="The log has no sample of it.", epoch=epoch)


@dataclass(frozen=True)
class Subject:
    """A model, or an adapter on it, with what it answered.

    Attributes:
        name: What it is called.
        answers: Name of the eval -> what it answered.
    """

    name: str
    answers: Mapping[str, Answers]

    def of_items(self, only: Only) -> Subject:
        """The same, of some items alone."""
        return Subject(self.name, {name: replace(of, only=only.get(name)) for name, of in self.answers.items()})

    @property
    def side(self) -> Side:
        """As a side of a gate that asks in batches: nothing is left to ask."""
        return Side(self.name, {name: answers.clusters for name, answers in self.answers.items()}, self.of_items)


@dataclass(frozen=True)
class Side:
    """A subject that can be asked item by item.

    Attributes:
        name: What it is called.
        items: Judged eval -> item that may be asked -> its cluster, if it has one.
        ask: What it answers to some items of these evals, and to all of the others. What has a log is not asked again.
    """

    name: str
    items: Mapping[str, Mapping[str, str | None]]
    ask: Callable[[Only], Subject]


class Subjects:
    """Finds or measures subjects; models stay loaded from one to the next.

    Attributes:
        watcher: Told how far it is.
    """

    def __init__(self, specs: Sequence[EvalSpec], out: Path, watcher: Watcher, dtype: str = "bfloat16", seed: int = 0):
        """Measure with these evals.

        Args:
            specs: What a subject without logs is asked.
            out: Folder of the logs that are made, each named by all that determines it, so that it is reused.
            watcher: Told how far it is.
            dtype: `bfloat16` or `float32`, of models that are loaded here.
            seed: Of the replies of a model in this process.
        """
        self._specs, self._out, self.watcher, self._dtype, self._seed = specs, out, watcher, dtype, seed
        self._loaded: dict[str, LoadedModel] = {}
        self._adapter_of: dict[str, Path] = {}  # a served base -> an adapter on it, by which the base can be proved too

    def of(self, source: str, model: str | None = None, only: Only | None = None) -> Subject:
        """The subject that a person names.

        Args:
            source: A `.eval` log, a folder of logs, an arm of a run (`runs/quickstart/severe-1`), the folder of an
                adapter, or a model: a folder, a hub id, `smollm2-135m`, or one that Inspect names
                (`vllm/BASE:FOLDER` for an adapter on it).
            model: Base, or served model, of an adapter, instead of the base that it names.
            only: Items that are asked of judged evals, and that count; by default all.

        Raises:
            UserError: It is nothing of these, or its logs are not of evals of this project.
        """
        subject = self._logged(source) or self._measured(*self._named(source, model), only or {})
        return subject.of_items(only) if only else subject

    def both(self, first: str, second: str, model: str | None = None) -> tuple[Subject, Subject]:
        """Two subjects. What is wrong with the name of the second is said before the first is asked.

        Args:
            first: See `of`.
            second: Likewise.
            model: Base, or served model, of the second, an adapter, instead of the base that it names. A server that
                takes any adapter has that of the first too.

        Raises:
            UserError: See `of`.
        """
        if self._logged(second) is None:
            self._named(second, model)
        return self.of(first, for_both(model)), self.of(second, model)

    def side(self, source: str, model: str | None = None) -> Side:
        """The same subject, to be asked item by item.

        Raises:
            UserError: See `of`, or the items of an eval are not as expected.
        """
        if subject := self._logged(source):
            return subject.side
        items = {}
        for spec in self._specs:
            if EVALS[spec.name].judged:
                samples = EVALS[spec.name].task(**spec.arguments).dataset
                items[spec.name] = {str(sample.id): (sample.metadata or {}).get("cluster") for sample in samples}
        return Side(arm_name(*self._named(source, model)), items, lambda only: self.of(source, model, only))

    def _logged(self, source: str) -> Subject | None:
        """A subject that has logs; None where it is to be measured."""
        path = Path(source)
        if path.suffix == ".eval":
            if not path.is_file():
                raise UserError(f"{source}: there is no such log.")
            return self._of_logs(path.stem, {0: [path]})
        if (path.parent / "study.yaml").is_file() and not path.exists():
            return self._of_arm(path)
        if not path.is_dir() or is_adapter(path):
            return None
        if logs := sorted([*path.glob("*.eval"), *path.glob("logs/*.eval")]):
            return self._of_logs(path.name, {0: logs})
        if (path / "study.yaml").is_file():
            arms = sorted({cell.name.rpartition("-s")[0] for cell in (path / "cells").glob("*-s*")})
            raise UserError(
                f"{source}: is a run. Name one of its arms: {', '.join(f'{source}/{arm}' for arm in arms)}."
            )
        return None

    def _named(self, source: str, model: str | None) -> tuple[str, Path | None]:
        """The model to measure, and its adapter."""
        path = Path(source)
        if path.is_dir() and is_adapter(path):
            named, adapter = model or _here(base_of(path, self.watcher.say)), path
        else:
            named, adapter = with_folder(source)
        if is_served(named):
            if needing := [spec.name for spec in self._specs if EVALS[spec.name].needs_likelihoods]:
                raise UserError(f"{named}: {likelihoods_needed(needing[0])}")
            if adapter:
                self._adapter_of[named.partition(":")[0]] = adapter
        return named, adapter

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
            for log in paths:
                content = open_log(log, header_only=True)
                task = task_name(content)
                if task not in EVALS:
                    raise UserError(f"{log}: is a log of {task}. Known evals: {', '.join(EVALS)}.")
                if by_eval.setdefault(task, {}).setdefault(seed, log) is not log:
                    raise UserError(f"{log}: {task} has another log there, {by_eval[task][seed]}. Name one of the two.")
        if not by_eval:
            raise UserError(f"{name}: has no log. Wait until its evals are done.")
        answers = {}
        for task, of_seeds in by_eval.items():
            options = open_log(next(iter(of_seeds.values())), header_only=True).eval.task_args or {}
            known = EVALS[task].options.model_fields
            spec = eval_spec(name=task, **{key: value for key, value in options.items() if key in known})
            answers[task] = _checked(Answers(EVALS[task], spec, of_seeds))
        return Subject(name, answers)

    def _measured(self, model: str, adapter: Path | None, only: Only) -> Subject:
        from untrue.models.load import load

        arm, answers = arm_name(model, adapter), {}
        if adapter is None and model in self._adapter_of:
            refuse_no_base(model, self._adapter_of[model], self.watcher.say)
        for spec in self._specs:
            record = EVALS[spec.name]
            served = not record.needs_likelihoods and may_be_served(model)
            if not served and model not in self._loaded:
                self._loaded.clear()
                with loading(model, likelihoods_needed(spec.name)):
                    self._loaded[model] = load(model.removeprefix("untrue/"), dtype=self._dtype, say=self.watcher.say)
            loaded = model if served else self._loaded[model]
            log = self._out / self._log_name(record, spec, loaded, adapter)
            if not log.is_file() or record.judged:
                needed = only.get(spec.name)
                measure(spec, loaded, adapter, self._dtype, arm, log, self.watcher, self._seed, needed, unproved=True)
                refuse_nothing(spec, log)
            answers[spec.name] = _checked(Answers(record, spec, {0: log}))
        return Subject(arm, answers)

    def _log_name(self, record: Eval, spec: EvalSpec, loaded: str | LoadedModel, adapter: Path | None) -> str:
        """By all that determines what the log says."""
        asked = record.identity(spec, items_hash(record.items(spec)))
        if isinstance(loaded, str):
            log = default_log(spec.name, loaded, adapter)
            name = f"{log.stem}-{adapter_hash(adapter)[:8]}" if adapter else log.stem
            if record.judged:
                return f"{name}.eval"  # what was answered stays when more is asked
            return f"{name}-{content_hash(json.dumps(asked, sort_keys=True))[:12]}.eval"
        how: dict[str, Any] = {
            "eval": asked,
            "model": loaded.about,
            "adapter": adapter_hash(adapter) if adapter else None,
            "seed": self._seed if record.judged else None,
        }
        return f"{spec.name}-{arm_name(loaded.name, adapter)}-{content_hash(json.dumps(how, sort_keys=True))[:12]}.eval"


def paired(
    baseline: Subject, candidate: Subject, required: Collection[str] = ()
) -> Iterator[tuple[Answers, Answers, list[Result], list[str]]]:
    """The evals that both have, in the candidate's order.

    Args:
        baseline: The first.
        candidate: The second.
        required: Evals that both must have; no others are taken then.

    Yields:
        What each answered; the results of both, as arms `baseline` and `candidate`; and why something is left out.

    Raises:
        UserError: They have no eval in common, or were not asked the same.
    """
    for subject in (baseline, candidate):
        refuse_missing(subject.name, subject.answers, required)
    common = [name for name in required or candidate.answers if name in baseline.answers]
    if not common:
        has = [f"{subject.name} has {', '.join(subject.answers)}" for subject in (baseline, candidate)]
        raise UserError(f"nothing to compare: {' and '.join(has)}. Give logs of the same eval.")
    for name in common:
        before, after = baseline.answers[name], candidate.answers[name]
        _refuse_others(baseline.name, before, candidate.name, after)
        results, notes = [*_as("baseline", before), *_as("candidate", after)], []
        if before.tokenizer != after.tokenizer or before.tokenizer is None:
            if not after.record.decides:
                raise UserError(
                    f"{name}: truth margins can only be compared between models with one tokenizer,"
                    f" and {'the logs do not say theirs' if before.tokenizer is None else 'these have two'}. Leave the"
                    " eval out."
                )
            if any(result.pressure_margin is not None for result in results):
                notes.append(
                    "Margins are left out: they can only be compared between models with one tokenizer,"
                    f" and {'the logs do not say theirs' if before.tokenizer is None else 'these have two'}."
                )
            results = [replace(r, pressure_margin=None, neutral_margin=None, evasion_margin=None) for r in results]
        if after.record.of_base and before.weights != after.weights:
            raise UserError(
                f"{name}: its probe is fitted on the base, and {baseline.name} and {candidate.name} have two (a merged"
                " model or a full fine-tune is its own base). Compare adapters of one base, or leave the eval out."
            )
        yield before, after, results, notes


def _as(arm: str, answers: Answers) -> list[Result]:
    return [replace(result, arm=arm, eval=answers.record.name) for result in answers.results]


def _refuse_others(baseline: str, before: Answers, candidate: str, after: Answers) -> None:
    name = before.record.name
    if before.adapted and after.adapted and before.adapted != after.adapted:
        raise UserError(
            f"{name}: {candidate} is an adapter of another base model than {baseline} (hash of its weights"
            f" {after.adapted}, not {before.adapted}). Compare adapters of one base."
        )
    if before.version != after.version:
        raise UserError(
            f"{name}: {baseline} was asked version {before.version}, {candidate} version {after.version}. Measure both"
            " with one version."
        )
    if changed := [key for key, value in before.settings.items() if after.settings[key] != value]:
        raise UserError(f"{name}: {baseline} and {candidate} differ in {changed[0]}. Measure both alike.")
    refuse_other_items(name, (baseline, before.meant), (candidate, after.meant))
    changed = [item for item in before.asked.keys() & after.asked.keys() if before.asked[item] != after.asked[item]]
    if changed:
        raise UserError(
            f"{name}: item {min(changed)} has other texts in {candidate}. Measure both with the same items."
        )


def refuse_missing(subject: str, has: Collection[str], required: Collection[str]) -> None:
    """Refuse a subject that lacks a required eval.

    Raises:
        UserError: It does.
    """
    if missing := [name for name in required if name not in has]:
        raise UserError(f"{subject}: has no log of {missing[0]}. Measure it, or leave the eval out of the gate.")


def refuse_other_items(
    name: str, baseline: tuple[str, Collection[str]], candidate: tuple[str, Collection[str]]
) -> None:
    """Refuse two subjects with different items.

    Args:
        name: Of the eval.
        baseline: Name of the first, and its items.
        candidate: Name of the second, and its items.

    Raises:
        UserError: They differ.
    """
    if only := sorted({*baseline[1]} ^ {*candidate[1]}):
        where = baseline[0] if only[0] in baseline[1] else candidate[0]
        raise UserError(
            f"{name}: {len(only)} items were asked of one alone, first {only[0]} of {where}. Measure both with the same"
            " items and limit."
        )


def _checked(answers: Answers) -> Answers:
    for path, content in zip(answers.logs.values(), answers.contents, strict=True):
        if not content.samples:
            raise UserError(f"{path}: has no samples (status {content.status}). Run its eval again.")
    return answers


def doubts_of(
    before: Answers, after: Answers, summaries: Sequence[ArmSummary], in_batches: bool = False
) -> list[Reason]:
    """What is not known of the judge of two subjects, or of the adapter of a served one, and logs that stopped early.

    Args:
        before: What the first answered in an eval.
        after: What the second answered.
        summaries: Of the first and of the second.
        in_batches: Whether what is concluded holds wherever the asking stopped.
    """
    sides = list(zip((summary.arm for summary in summaries), (before, after), strict=True))
    unproved = [answers.reading.adapter for _, answers in sides if answers.reading.adapter.get("served") == "unknown"]
    judgings = [(arm, judging) for arm, answers in sides for _, judging in answers.reading.judgings]
    judge = next((name for _, judging in judgings for name in judging.judges.values()), None)
    note = judge_note(judge, after.record.name, judgings, summaries)
    reasons = [Reason("adapter_unproved", values=(adapter["reason"],)) for adapter in unproved]
    if not in_batches:
        reasons += [Reason("stopped_early", arm) for arm, answers in sides if answers.is_stopped_early]
    return [*reasons, *(note.doubts if note else ())]


def for_both(model: str | None) -> str | None:
    """A served model that takes any adapter, so that it is the baseline's too; None for others."""
    return model if model and takes_adapters(model) else None


def _here(base: str) -> str:
    """The base that an adapter names, so that no provider of Inspect's is taken for the owner of a hub id."""
    return f"untrue/{base}" if may_be_served(base) else base


def own_base(adapter: str) -> str:
    """The base of an adapter that is given alone.

    Raises:
        UserError: It is no adapter.
    """
    if not is_adapter(Path(adapter)):
        why = "it has no adapter_config.json" if Path(adapter).exists() else "there is no such folder"
        raise UserError(
            f"{adapter}: is no adapter, so it has no base to be compared with ({why}). Check the path, or name a"
            " baseline before it."
        )
    return _here(base_of(Path(adapter)))
