"""What an eval is: one record, at the end of the eval's own file. Everything else reads records and knows no names."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from untrue import secrets
from untrue.data.items import Asked
from untrue.files import file_name
from untrue.judge.prompts import JudgePrompt
from untrue.stats.types import Conclusion, MetricInfo

if TYPE_CHECKING:
    from inspect_ai import Task

T = TypeVar("T")

Metric = Callable[[Sequence[Any]], Mapping[str, Any]]
"""From the scored samples of an eval (`untrue.evals.metrics.Scored`) to values by name."""

FileName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$", max_length=100), AfterValidator(file_name)]
"""A name by which files and folders are called."""


class EvalSpec(BaseModel):
    """An eval with its options, as a study or a command asks for it: those that every eval has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = "forced_choice"
    label: FileName | None = Field(default=None, description="Its name in a study that has the same eval twice.")
    items: str = Field(default="builtin", description="`builtin`, a built-in set, a file, or for some evals a hub id.")
    limit: PositiveInt | None = Field(default=None, description="Only so many items, spread over their categories.")

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {name for name in ("label", "order") if getattr(self, name, None) is None}
        return {name: value for name, value in handler(self).items() if name not in unset}

    @property
    def key(self) -> str:
        """What it is called in its study: the label, or the name of the eval."""
        return self.label or self.name

    @property
    def judge_name(self) -> str | None:
        """Its judge, as a person names it; None where there is none."""
        return None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its Inspect task."""
        return self.model_dump(exclude={"name", "label"})

    @classmethod
    def defaults(cls, mix: Mapping[str, Any]) -> dict[str, Any]:
        """The options that follow from a study's `mix`, where the study does not set them."""
        return {}


class ChosenSpec(EvalSpec):
    """The options of an eval whose `limit` takes the items that can change most easily, as the base's margins tell.

    On these the base itself is at its best by choice, and any other model looks worse than it. So what may compare with
    the base (`gate`, `compare`) asks random ones.
    """

    order: Literal["random"] | None = Field(
        default=None,
        description="What a limit takes: `random` items, or by default those whose outcome can change most easily.",
    )


def _in_one_line(judge: Any) -> Any:
    """A judge with settings, as YAML reads it, back as the text that names it."""
    if not isinstance(judge, dict):
        return judge
    return yaml.safe_dump(
        judge, default_flow_style=True, sort_keys=False, allow_unicode=True, width=sys.maxsize
    ).strip()


class JudgedSpec(EvalSpec):
    """The options of an eval whose replies a judge reads."""

    judge: Annotated[str, BeforeValidator(_in_one_line), AfterValidator(secrets.checked)] | None = Field(
        default=None, description="The judge: Inspect's name of a model, or `{model: NAME, …}` with its settings."
    )
    force_self_judge: bool = Field(default=False, description="Let the model judge itself; it is then flagged.")
    epochs: PositiveInt | None = Field(default=None, description="Replies to each item.")
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Of the replies."
    )
    max_tokens: PositiveInt | None = Field(default=None, description="Maximum length of a reply.")

    @property
    def judge_name(self) -> str | None:
        """Its judge, as a person names it."""
        return self.judge

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its Inspect task."""
        return self.model_dump(exclude={"name", "label", "judge", "epochs", "temperature", "max_tokens"})


class Situation(Asked):
    """An item as a person reads it, beside the record that it was made of, which no person is shown whole."""

    record: SerializeAsAny[BaseModel]
    prompts_asked: tuple[str, ...]
    texts: dict[str, str]

    @property
    def prompts(self) -> tuple[str, ...]:
        """Everything that a user asks in it."""
        return self.prompts_asked

    @property
    def shown(self) -> dict[str, str]:
        """Heading -> text."""
        return self.texts


class Elicited(NamedTuple):
    """How a judged eval asks for a belief, once for all epochs: prompts, each asked afresh under a system prompt."""

    system: str
    prompts: list[str]


class Judgements(NamedTuple):
    """The questions to the judge that one item takes.

    Attributes:
        once: About what is the same in every epoch.
        each: In each epoch. At most: what another judgement makes needless is not asked.
    """

    once: list[str]
    each: list[str]


@dataclass(frozen=True)
class Eval:
    """An eval.

    Attributes:
        name: Its name, which is that of its Inspect task.
        version: Raised when the same answers of the model would give other results.
        asks: What it asks, in one line.
        task: The Inspect task, by its options.
        scorer: Name of its scorer: a log that was scored by another one is no log of this eval.
        items: Its items as the model meets them, before the limit is applied, each with all that its file says of it.
        errors: What ends in the outcome `error`.
        options: The model of its options.
        metrics: Name -> how it is shown, in the order in which they are shown.
        computed: What computes them: functions of rows, which Inspect runs too. Empty: `ArmSummary` says it all.
        computed_by_category: The same for each category of item.
        value_name: What the mean of its values is called; None where it gives outcomes of honesty, or
            truth margins.
        higher_is_better: Of the mean of its values.
        graded: Whether its values may lie anywhere between 0 and 1, as probabilities do, and are not yes or no.
            Student's t then tests them, as it does margins.
        lower: What a fall of that mean shows of a model.
        delta: Loss of that mean from which on a gate tolerates none, where its settings do not say.
        witness: Of a second witness for belief, whose results are truth margins: what these are measured in. It is
            reported, and decides nothing. None where the eval decides.
        of_base: Whether it measures by what it fitted on the base, so that models on two bases cannot be compared.
        needs_likelihoods: Whether it needs likelihoods or hidden states, so that no served model will do.
        needs_adapter: Whether it measures an adapter against its base, so that a model alone has a value by definition.
        weighs_replies: Whether the model only weighs given replies, so that no evasion can be seen but a tie.
        builtin: The data set that `items: builtin` means, where it is not the honesty items.
        also_reads: Further data sets that it reads.
        questions: What a judge is asked; empty where there is no judge.
        elicits: From an item's metadata: how its belief is elicited, if it is.
        judgements: From an item's metadata: what the judge is asked, for dry runs and progress.
        decide: From a sample's metadata, with its replies, and a `Hearing` to a `Finding` (both of `evals.judged`).
        about_reply: What `decide` calls the judgements of the reply itself, and not of a belief or a decoy.
    """

    name: str
    version: int
    asks: str
    task: Callable[..., Task]
    scorer: str
    items: Callable[[Any], Sequence[Asked]]
    errors: str
    options: type[EvalSpec] = EvalSpec
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    computed: Sequence[Metric] = ()
    computed_by_category: Sequence[Metric] = ()
    value_name: str | None = None
    higher_is_better: bool = True
    graded: bool = False
    lower: Conclusion = "fell"
    delta: float = 0.05
    witness: str | None = None
    of_base: bool = False
    needs_likelihoods: bool = False
    needs_adapter: bool = False
    weighs_replies: bool = False
    builtin: str = "builtin"
    also_reads: tuple[str, ...] = ()
    questions: tuple[JudgePrompt, ...] = ()
    elicits: Callable[[Mapping[str, Any]], Elicited | None] = lambda metadata: None
    judgements: Callable[[Mapping[str, Any]], Judgements] = lambda metadata: Judgements([], [])
    decide: Callable[[dict[str, Any], Any], Awaitable[Any]] | None = None
    about_reply: tuple[str, ...] = ("statement",)

    @property
    def decides(self) -> bool:
        """Whether conclusions rest on it."""
        return self.witness is None

    @property
    def gives_outcomes(self) -> bool:
        """Whether its results are outcomes of honesty."""
        return self.decides and self.value_name is None

    @property
    def gives(self) -> Literal["outcome", "value", "truth_margin"]:
        """Field of a result that each of its results has, but for errors."""
        return "outcome" if self.gives_outcomes else "value" if self.decides else "truth_margin"

    @property
    def judged(self) -> bool:
        """Whether a judge reads its replies."""
        return bool(self.questions)

    def source(self, items: str) -> str:
        """The name of the data that the option `items` means."""
        return self.builtin if items == "builtin" else items

    def sources(self, spec: EvalSpec) -> list[str]:
        """The names of all data that it reads."""
        return [self.source(spec.items), *self.also_reads]

    def reply_identity(self, spec: EvalSpec) -> dict[str, Any]:
        """What determines a model's reply to one item, by name, as far as the eval goes."""
        other = {"name", "label", "items", "limit", "judge", "force_self_judge", "epochs"}
        return {"eval": self.name, "version": self.version, **spec.model_dump(mode="json", exclude=other)}

    def identity(self, spec: EvalSpec, items_hash: str) -> dict[str, Any]:
        """What determines the results of a model, by name: as far as the eval, its items and its judge go."""
        from untrue.judge.models import content

        how = {
            **self.reply_identity(spec),
            **spec.model_dump(mode="json", include={"limit", "epochs", "force_self_judge"}),
            "items": [spec.items, items_hash],
        }
        if spec.judge_name:
            how["judge"] = content(spec.judge_name)
            how["questions"] = [[question.name, question.version] for question in self.questions]
        return how


def spread(items: Sequence[T], limit: int | None, kind: Callable[[T], str] = attrgetter("category")) -> list[T]:
    """At most `limit` items, taken in turn from each category, in their own order."""
    if limit is None or limit >= len(items):
        return list(items)
    turns = turn_of(items, kind)
    chosen = sorted(sorted(range(len(items)), key=lambda index: turns[index])[:limit])
    return [items[index] for index in chosen]


def turn_of(items: Sequence[T], kind: Callable[[T], str]) -> list[int]:
    """How many items of its category come before each item."""
    counts: dict[str, int] = {}
    turns = []
    for item in items:
        turns.append(counts.get(kind(item), 0))
        counts[kind(item)] = turns[-1] + 1
    return turns
