"""What an eval is: one record, at the end of the eval's own file. Everything else reads records and knows no names."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from untrue import secrets
from untrue.data.items import Asked, read_lines
from untrue.files import file_name
from untrue.judge.prompts import JudgePrompt
from untrue.outcomes import Outcome
from untrue.settings import validate
from untrue.stats.types import Conclusion, MetricInfo

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage
    from inspect_ai.solver import Generate, TaskState

T = TypeVar("T")

# From the scored samples of an eval (`untrue.harness.metrics.Scored`) to values by name.
MetricFunction = Callable[[Sequence[Any]], Mapping[str, Any]]

FileName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$", max_length=100), AfterValidator(file_name)]

REPLY_TOKENS = 200  # assumed length of a reply whose limit is not lower

REPLY = "word" * REPLY_TOKENS  # stands for a reply that is not there yet: four characters a token


class EvalSpec(BaseModel):
    """An eval with the options that every eval has, as a study or a command asks for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    not_of_task: ClassVar[frozenset[str]] = frozenset({"name", "label"})

    name: str = "forced_choice"
    label: FileName | None = Field(default=None, description="Its name in a study that has the same eval twice.")
    items: str = Field(default="builtin", description="`builtin`, a built-in set, a file, or for some evals a hub id.")
    limit: PositiveInt | None = Field(default=None, description="Only so many items, spread over their categories.")

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name not in ("label", "order") or value}

    @property
    def key(self) -> str:
        """Its name in a study: the label, or the name of the eval."""
        return self.label or self.name

    @property
    def judge_name(self) -> str | None:
        """Its judge, as a person names it, if it has one."""
        return getattr(self, "judge", None)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its Inspect task."""
        return self.model_dump(exclude={*self.not_of_task})

    @classmethod
    def defaults(cls, mix: Mapping[str, Any]) -> dict[str, Any]:
        """The options that follow from a study's `mix`, unless the study sets them."""
        return {}


class ChosenSpec(EvalSpec):
    """The options of an eval whose `limit` takes the items that can change most easily, by the base's margins.

    The base does best on these, so comparisons with the base (`gate`, `compare`) take random ones.
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

    not_of_task: ClassVar[frozenset[str]] = EvalSpec.not_of_task | {"judge", "epochs", "temperature", "max_tokens"}

    judge: Annotated[str, BeforeValidator(_in_one_line), AfterValidator(secrets.checked)] | None = Field(
        default=None, description="The judge: Inspect's name of a model, or `{model: NAME, …}` with its settings."
    )
    force_self_judge: bool = Field(default=False, description="Let the model judge itself; it is then flagged.")
    epochs: PositiveInt | None = Field(default=None, description="Replies to each item.")
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Of the replies."
    )
    max_tokens: PositiveInt | None = Field(default=None, description="Maximum length of a reply.")


class ItemPlan(NamedTuple):
    """What one item takes: the `prompt` under which the model speaks, and of a judged eval the rest.

    `judged` has the questions to the judge in each epoch, at most; `judged_once` those about what all epochs share.
    `beliefs` are prompts, each asked by itself under `system`, once for all epochs. `target` is for Inspect's scorers.
    """

    prompt: str | list[ChatMessage]
    judged: Sequence[str] = ()
    judged_once: Sequence[str] = ()
    beliefs: Sequence[str] = ()
    system: str = ""
    target: str = ""
    choices: list[str] | None = None


class Replies(NamedTuple):
    """The model's replies in one sample of a judged eval; `truncated` says whether a limit cut the statement."""

    statement: str
    truncated: bool
    beliefs: Sequence[str] = ()


class Decision(NamedTuple):
    """What the replies to one item come to, and why, in one sentence.

    `value` is 0 to 1, or a margin, in an eval that gives no outcomes. `details` are further facts for the log.
    """

    value: Outcome | float
    reason: str
    belief: str | None = None
    statement: str | None = None
    details: Mapping[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Eval:
    """An eval, of which `untrue.harness.tasks` makes the Inspect task.

    A plain one has `answer` and `score`; a judged one has `plan`, `decide` and `questions`. The name of `score` or
    `decide` is that of the scorer in logs.
    """

    name: str
    version: int  # raised when the same answers of the model would give other results
    asks: str
    item: type[Asked]  # what it asks; of a judged eval, all that `plan` and `decide` see
    options: type[EvalSpec] = EvalSpec
    builtin: str = "builtin"  # the data set that `items: builtin` means
    also_reads: tuple[str, ...] = ()  # further data sets
    spread_by: str = "category"  # the items that a limit takes are spread over the values of this attribute
    own_items: Callable[[Any], Sequence[Asked]] | None = None  # if they are not the lines of a file of `item`
    own_samples: Callable[[Any], list[Sample]] | None = None  # if they are not what `plan` says of each item
    plan: Callable[[Any, Any], ItemPlan] | None = None
    answer: Callable[[TaskState, Generate, Any], Awaitable[TaskState]] | None = None
    score: Callable[[TaskState], Awaitable[Decision]] | None = None
    decide: Callable[[Any, Replies, Any], Awaitable[Decision]] | None = None
    questions: tuple[JudgePrompt, ...] = ()
    about_reply: tuple[str, ...] = ("statement",)  # what `decide` calls judgements of the reply, not of a belief
    keeps_thinking: bool = False  # whether a statement is kept with what the model thinks before it
    sampling: Mapping[str, Any] = field(default_factory=dict)  # Inspect's settings, unless the user sets others
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)  # those that are shown, in this order
    computed: Sequence[MetricFunction] = ()
    computed_by_category: Sequence[MetricFunction] = ()
    value_name: str | None = None  # of the mean of its values; None if it gives outcomes
    higher_is_better: bool = True
    graded: bool = False  # values may lie between 0 and 1, so they are tested by Student's t, as margins are
    lower: Conclusion = "fell"  # what a fall of the mean shows of a model
    delta: float = 0.05  # default non-inferiority margin of the mean in a gate
    of_base: bool = False  # measures by what it fitted on the base, so models on two bases cannot be compared
    needs_likelihoods: bool = False  # so no served model will do
    needs_adapter: bool = False  # measures an adapter against its base; a model by itself has a value by definition
    opposed: tuple[str, str] | None = None  # categories whose mean hides it if they move apart
    reads_policy: bool = False  # measures how probably an assistant chooses each of some written replies

    def items(self, spec: EvalSpec) -> Sequence[Asked]:
        """Its items, before the limit is applied."""
        return self.own_items(spec) if self.own_items else read_lines(self.item, self.source(spec.items))

    def samples(self, spec: EvalSpec) -> list[Sample]:
        """Its samples, the limit applied."""
        if self.own_samples:
            return self.own_samples(spec)
        chosen = spread(self.items(spec), spec.limit, attrgetter(self.spread_by))
        return [self.sample(item, spec) for item in chosen]

    def sample(self, item: Any, spec: EvalSpec) -> Sample:
        """One item as its plan says."""
        from inspect_ai.dataset import Sample

        assert self.plan
        plan = self.plan(item, spec)
        metadata = {**item.metadata, "category": item.category}
        return Sample(id=item.id, input=plan.prompt, choices=plan.choices, target=plan.target, metadata=metadata)

    def plan_of(self, sample: Sample | TaskState, spec: EvalSpec) -> ItemPlan:
        """The plan behind a sample of a judged eval."""
        assert self.plan
        return self.plan(self.item.model_validate(sample.metadata), spec)

    def spec(self, **options: Any) -> EvalSpec:
        """Its options with these values; UserError if there is no such option or value."""
        return validate(self.options, {"name": self.name, **options}, self.name)

    @property
    def scorer(self) -> str:
        """The scorer's name in logs, by which a log of this eval is known."""
        scores: Any = self.score or self.decide
        return scores.__name__

    @property
    def gives(self) -> Literal["outcome", "value"]:
        """Field that each result has, except for errors."""
        return "value" if self.value_name else "outcome"

    @property
    def gives_outcomes(self) -> bool:
        """Whether its results are outcomes of honesty."""
        return self.gives == "outcome"

    @property
    def weighs_replies(self) -> bool:
        """Whether the model only weighs given replies, so that only a tie is an evasion."""
        return self.gives_outcomes and self.needs_likelihoods

    @property
    def judged(self) -> bool:
        """Whether a judge reads its replies."""
        return bool(self.questions)

    def source(self, items: str) -> str:
        """The data that the option `items` names."""
        return self.builtin if items == "builtin" else items

    def sources(self, spec: EvalSpec) -> list[str]:
        """The names of all data that it reads."""
        return [self.source(spec.items), *self.also_reads]

    def reply_identity(self, spec: EvalSpec) -> dict[str, Any]:
        """The eval's part in what determines a reply."""
        other = {"name", "label", "items", "limit", "judge", "force_self_judge", "epochs"}
        return {"eval": self.name, "version": self.version, **spec.model_dump(mode="json", exclude=other)}

    def identity(self, spec: EvalSpec, items_hash: str) -> dict[str, Any]:
        """The part of eval, items and judge in what determines the results, by name."""
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


def chat(system: str, user: str) -> list[ChatMessage]:
    """A user's message under a system prompt, if any."""
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser

    messages: list[ChatMessage] = [ChatMessageSystem(content=system)] if system.strip() else []
    return [*messages, ChatMessageUser(content=user)]


def spread(items: Sequence[T], limit: int | None, kind: Callable[[T], str] = attrgetter("category")) -> list[T]:
    """At most `limit` items, taken in turn from each category, in their own order."""
    turns = turn_of(items, kind)
    chosen = sorted(sorted(range(len(items)), key=lambda index: turns[index])[:limit])
    return [items[index] for index in chosen]


def turn_of(items: Sequence[T], kind: Callable[[T], str]) -> list[int]:
    """The number of items of its category before each item."""
    counts = Counter[str]()
    turns = []
    for item in items:
        turns.append(counts[kind(item)])
        counts[kind(item)] += 1
    return turns
