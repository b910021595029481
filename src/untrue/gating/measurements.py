"""What a subject answered in one eval: its logs, as results and as what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from untrue.errors import UserError
from untrue.files import content_hash
from untrue.harness.eval import ChosenSpec, Eval, EvalSpec, JudgedSpec
from untrue.harness.reading import Reading, read
from untrue.harness.resume import ADDED
from untrue.logs import MODEL, TOKENISATION, adapter_in, details_of, open_log, result, score_of
from untrue.models import embedded
from untrue.outcomes import Outcome, Result

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog


@dataclass(frozen=True)
class Measurement:
    """What one subject answered in one eval, in one log for each seed.

    Attributes:
        record: The eval.
        spec: Its options, as far as they matter for reading.
        logs: Seed -> the `.eval` file.
        notes: What a reader must know of the logs.
    """

    record: Eval
    spec: EvalSpec
    logs: Mapping[int, Path]
    notes: tuple[str, ...] = ()

    def checked(self) -> Measurement:
        """The same."""
        for path, content in zip(self.logs.values(), self.contents, strict=True):
            if not content.samples:
                raise UserError(f"{path}: has no samples (status {content.status}). Run its eval again.")
            scorers = {next(iter(sample.scores)) for sample in content.samples if sample.scores}
            if others := sorted(scorers - {self.record.scorer}):
                raise UserError(
                    f"{path}: was scored by {others[0]!r}, and {self.record.name} is scored by {self.record.scorer!r}."
                    " Measure it again."
                )
            how = self._how(content)
            if changed := [name for name, value in self._how(self.contents[0]).items() if how[name] != value]:
                first = next(iter(self.logs.values()))
                raise UserError(f"{path}: differs in {changed[0]} from {first}. Measure all seeds alike.")
        for found in self.reading.results:
            if found.outcome is not Outcome.ERROR and getattr(found, self.record.gives) is None:
                raise UserError(
                    f"{self.logs[found.seed]}: the score of sample {found.item} is none that {self.record.name} gives"
                    f" (expected: {self.record.gives.replace('_', ' ')}). Measure it again."
                )
        return self

    @cached_property
    def reading(self) -> Reading:
        """The logs as results."""
        return read(self.spec, "", list(self.logs.items()))

    @cached_property
    def contents(self) -> list[EvalLog]:
        """The logs as Inspect reads them."""
        return [open_log(path) for path in self.logs.values()]

    @cached_property
    def asked(self) -> dict[str, str]:
        """Item -> hash of all texts that it was asked with."""
        hashes = {}
        for content in self.contents:
            for sample in content.samples or []:
                about = (sample.metadata or {}).items()
                texts = {key: value for key, value in about if key not in ADDED and _is_text(value)}
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
    def results(self) -> list[Result]:
        """One for each item, epoch and seed that was to be asked: what has no sample is an error."""
        results = list(self.reading.results)
        present = {result.slot for result in results}
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

    @cached_property
    def trying(self) -> set[str]:
        """The items that try whether the model reads its prompt, as far as their samples say so."""
        samples = [sample for content in self.contents for sample in content.samples or []]
        return {str(sample.id) for sample in samples if (sample.metadata or {}).get("tries_reading")}

    @property
    def unrecorded(self) -> int:
        """How many replies have an outcome or a value and no record of a judge, in a log of a judged eval."""
        count = 0
        for content in self.contents if self.record.judged else ():
            scored = [sample for sample in content.samples or [] if score_of(sample) is not None]
            asked = any(details_of(sample).get("judgements") for sample in scored)
            count += sum(
                "judge_id" not in details_of(sample) or not asked
                for sample in scored
                if result(score_of(sample), "", {}, 1).outcome is not Outcome.ERROR
            )
        return count

    @property
    def version(self) -> int | str:
        """Of the eval."""
        return self.contents[0].eval.task_version

    @property
    def available(self) -> int | None:
        """How many items the eval could ask in all; None where they are on the hub, or cannot be read."""
        if "/" in self.spec.items and not Path(self.spec.items).exists():
            return None
        try:
            return len(self.record.items(self.spec))
        except UserError:
            return None

    @property
    def is_chosen(self) -> bool:
        """Whether it was asked only of items that margins of the embedded model chose."""
        if not isinstance(self.spec, ChosenSpec) or self.spec.order or self.spec.limit is None:
            return False
        return self.has_base_margins and len(self.meant) != self.available

    @property
    def has_base_margins(self) -> bool:
        """Whether the items say how the embedded model answers: those were worded until it knew the answers."""
        samples = [sample for content in self.contents for sample in content.samples or []]
        return any((sample.metadata or {}).get("base_margin") for sample in samples)

    @property
    def is_of_embedded(self) -> bool:
        """Whether the embedded model itself answered, without an adapter."""
        is_it = self.contents[0].eval.model == f"untrue/{embedded.NAME}" or embedded.is_embedded(self.weights)
        return is_it and not self._adapter

    @property
    def tokenisation(self) -> str | None:
        """Hash of what decides into which tokens the model splits a text; None where the log does not say."""
        return self._head(MODEL).get(TOKENISATION)

    def is_same(self, other: Measurement) -> bool:
        """Whether another has a log of this one, or is the same model with the same adapter, as far as logs tell."""
        logs, others = ({path.resolve() for path in one.logs.values()} for one in (self, other))
        return bool(logs & others or self._whose & other._whose)

    @property
    def unproved(self) -> str:
        """Why it is not known that the server had the adapter; empty where it is, or where there is none."""
        if self.reading.adapter.get("served") == "unknown":
            return self.reading.adapter["reason"]
        model = self.contents[0].eval.model
        if model.startswith("vllm/") and ":" in model and not self._adapter:
            return f"{model} names an adapter whose folder is not here, so it cannot prove it"
        return ""

    @property
    def weights(self) -> str | None:
        """Hash of the model's weights, adapter aside; None where the log does not say."""
        return self._head(MODEL).get("weights")

    @property
    def chat(self) -> str | None:
        """Hash of the chat format in which it was asked; None where the log does not say."""
        return self._head(MODEL).get("chat")

    @property
    def adapted(self) -> str | None:
        """Hash of the base's weights where the model has an adapter; None where it has none, or they are not known."""
        return self.weights if self._adapter else None

    @property
    def settings(self) -> dict[str, Any]:
        """How the model was asked, as far as that changes its answers: other settings are another measurement."""
        return self._how(self.contents[0])

    def _how(self, content: EvalLog) -> dict[str, Any]:
        sampling = [getattr(config, name) for config in (content.plan.config, content.eval.model_generate_config)
                    for name in ("temperature", "max_tokens")]  # fmt: skip
        given = {key: value for key, value in (content.eval.task_args or {}).items() if key in self._options}
        return {
            **self.spec.model_copy(update=given).model_dump(mode="json", include=self._options),
            "version": content.eval.task_version,
            "epochs": content.eval.config.epochs or 1,
            "temperature and max_tokens": sampling,
            "way of choosing (likelihoods or letters)": self.record.judged or content.eval.model.startswith("untrue/"),
        }

    @property
    def _options(self) -> set[str]:
        """The eval's own options. Others are seen by the items, by who judged, or by what Inspect says of the run."""
        options = self.record.options
        common = JudgedSpec if issubclass(options, JudgedSpec) else ChosenSpec
        return options.model_fields.keys() - common.model_fields.keys()

    @property
    def _whose(self) -> set[tuple[str | None, ...]]:
        """What tells the model of each log from others, however it was computed, as far as the logs say it."""
        found = set()
        for content in self.contents:
            head, adapter = (content.eval.metadata or {}).get(MODEL, {}), adapter_in(content)
            if "weights" in head and (not adapter or "content_hash" in adapter):
                told = ("weights", "config", "chat", "tokenizer", "adapters")
                found.add((*(str(head.get(name)) for name in told), adapter.get("content_hash")))
        return found

    @property
    def _adapter(self) -> Mapping[str, str]:
        return adapter_in(self.contents[0])

    def _head(self, name: str) -> Mapping[str, str]:
        return (self.contents[0].eval.metadata or {}).get(name, {})


def _is_text(value: Any) -> bool:
    """Whether a value is a text, or a list of texts. Other values of a sample may be what the model made of it."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))


def _absent(name: str, seed: int, item: str, epoch: int) -> Result:
    return Result("", seed, name, item, "", Outcome.ERROR, reason="The log has no sample of it.", epoch=epoch)


def sides(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """The results of the baseline, and those of the candidate."""
    first, second = ([result for result in results if result.arm == arm] for arm in ("baseline", "candidate"))
    return first, second


class Flip(NamedTuple):
    """An item that two subjects answered differently.

    Attributes:
        item: Its id.
        category: Its kind.
        seed: Of the cell; 0 outside a study.
        epoch: Which of the samples of this item it is, from 1.
        baseline: What the first answered: an outcome, such as `lie`, or a value.
        candidate: What the second answered.
    """

    item: str
    category: str
    seed: int
    epoch: int
    baseline: str
    candidate: str


class Flips(NamedTuple):
    """All of one eval.

    Attributes:
        n_answers: Measurement of both that were compared.
        flips: Those that differ, in the order of the items.
    """

    n_answers: int
    flips: tuple[Flip, ...]


def flips(record: Eval, results: Sequence[Result]) -> Flips:
    """Compare the answers of the arms `baseline` and `candidate` in one eval, those that failed included.

    Probabilities are no answers, and do not flip.
    """
    if record.graded:
        return Flips(0, ())
    baseline, candidate = sides(results)
    answers = {result.slot: _answer(result) for result in baseline}
    flipped = [
        Flip(result.item, result.category, result.seed, result.epoch, before, after)
        for result in candidate
        if (before := answers.get(result.slot)) and before != (after := _answer(result))
    ]
    return Flips(sum(result.slot in answers for result in candidate), tuple(flipped))


def _answer(result: Result) -> str:
    """The outcome, and whether what is believed is untrue; or the value."""
    if result.outcome is None:
        return f"{result.value:.3g}"
    believes_untruth = result.belief_is_true is False and result.outcome not in (Outcome.NO_BELIEF, Outcome.ERROR)
    return result.outcome.value.replace("_", " ") + " (untrue belief)" * believes_untruth
