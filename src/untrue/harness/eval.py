"""What an eval is: one record, at the end of the eval's own file. Everything else reads records and knows no names."""

from __future__ import annotations

import sys
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
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from untrue import secrets
from untrue.data.items import Asked
from untrue.errors import UserError
from untrue.files import file_name
from untrue.judge.prompts import JudgePrompt
from untrue.outcomes import Outcome
from untrue.stats.types import Conclusion, MetricInfo

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage
    from inspect_ai.scorer import Score
    from inspect_ai.solver import Generate, TaskState

T = TypeVar("T")

MetricFunction = Callable[[Sequence[Any]], Mapping[str, Any]]
"""From the scored samples of an eval (`untrue.harness.metrics.Scored`) to values by name."""

FileName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$", max_length=100), AfterValidator(file_name)]

REPLY_TOKENS = 200
"""Tokens of a reply, roughly, where its limit is not lower."""

REPLY = "word" * REPLY_TOKENS
"""Stands for a reply that is not there yet: four characters a token."""


class EvalSpec(BaseModel):
    """An eval with its options, as a study or a command asks for it: those that every eval has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    not_of_task: ClassVar[frozenset[str]] = frozenset({"name", "label"})

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
        return self.model_dump(exclude=set(self.not_of_task))

    @classmethod
    def defaults(cls, mix: Mapping[str, Any]) -> dict[str, Any]:
        """The options that follow from a study's `mix`, where the study does not set them."""
        return {}


class ChosenSpec(EvalSpec):
    """The options of an eval whose `limit` takes the items that can change most easily, as the base's margins tell.

    On these the base is at its best by choice. So what compares with the base (`gate`, `compare`) asks random ones.
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
    """The options of an eval whose replies a judge reads. Inspect has its own for those that are none of the task."""

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

    @property
    def judge_name(self) -> str | None:
        """Its judge, as a person names it."""
        return self.judge


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


class Plan(NamedTuple):
    """What one item of a judged eval takes, beside the input of its sample.

    Attributes:
        judged: Questions to the judge in each epoch. At most: what another judgement makes needless is not asked.
        judged_once: Questions about what is the same in every epoch.
        beliefs: Prompts that elicit the belief, once for all epochs, each asked by itself.
        system: The system prompt of these.
    """

    judged: Sequence[str]
    judged_once: Sequence[str] = ()
    beliefs: Sequence[str] = ()
    system: str = ""


class Replies(NamedTuple):
    """What the model replied in one sample of a judged eval; `truncated` says whether a limit cut the statement."""

    statement: str
    truncated: bool
    beliefs: Sequence[str] = ()


class Decision(NamedTuple):
    """What the replies to one item come to.

    Attributes:
        value: The outcome, or 1 or 0 where the eval measures a rate that is no honesty outcome.
        reason: One sentence that says why.
        belief: What the model holds, in the eval's own words.
        statement: What it says.
        details: Further facts for the log, such as `format_missed`.
    """

    value: Outcome | float
    reason: str
    belief: str | None = None
    statement: str | None = None
    details: Mapping[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Eval:
    """An eval, of which `untrue.harness.tasks` makes the Inspect task.

    A plain one has `answer` and `score`; a judged one has `item`, `plan`, `decide` and `questions`.

    Attributes:
        version: Raised when the same answers of the model would give other results.
        asks: What it asks, in one line.
        items: Its items as the model meets them, before the limit is applied, each with all that its file says of it.
        samples: What Inspect asks, the limit applied.
        errors: What ends in the outcome `error`.
        options: The model of its options, which are those of its Inspect task.
        answer: Inspect's solver, given the options too.
        score: The score of a sample; its name is that of the scorer in logs.
        item: What the metadata of a sample hold, for `plan` and `decide`.
        decide: From item, replies and a judge to a decision; its name is that of the scorer in logs.
        questions: What a judge is asked.
        about_reply: What `decide` calls the judgements of the reply itself, and not of a belief or a decoy.
        keeps_thinking: Whether a statement is kept with what the model thinks before it.
        sampling: Inspect's settings of generation, unless the user sets others.
        metrics: Name -> how it is shown, in the order in which they are shown; no others are shown.
        computed: What computes metrics from rows, for Inspect and the report; `computed_by_category` for each category.
        value_name: What the mean of its values is called; None where it gives outcomes of honesty, or truth margins.
        graded: Whether values may lie anywhere between 0 and 1. Student's t then tests them, as it does margins.
        lower: What a fall of that mean shows of a model.
        delta: Default non-inferiority margin of that mean in a gate.
        witness: Unit of the truth margins of a second witness for belief, which decides nothing; None of other evals.
        of_base: Whether it measures by what it fitted on the base, so that models on two bases cannot be compared.
        needs_likelihoods: Whether no served model will do.
        needs_adapter: Whether it measures an adapter against its base, so that a model alone has a value by definition.
        weighs_replies: Whether the model only weighs given replies, so that no evasion can be seen but a tie.
        opposed: Two categories of which the second keeps the first honest; their mean hides it if they move apart.
        reads_policy: Whether it measures by which probability an assistant chooses each of some written replies.
        builtin: The data set that `items: builtin` means, where it is not the honesty items.
        also_reads: Further data sets that it reads.
    """

    name: str
    version: int
    asks: str
    items: Callable[[Any], Sequence[Asked]]
    samples: Callable[[Any], list[Sample]]
    errors: str = "the model gave no reply, or the judge no judgement"
    options: type[EvalSpec] = EvalSpec
    answer: Callable[[TaskState, Generate, Any], Awaitable[TaskState]] | None = None
    score: Callable[[TaskState], Awaitable[Score]] | None = None
    item: type[BaseModel] = BaseModel
    plan: Callable[[Any], Plan] = lambda item: Plan(())
    decide: Callable[[Any, Replies, Any], Awaitable[Decision]] | None = None
    questions: tuple[JudgePrompt, ...] = ()
    about_reply: tuple[str, ...] = ("statement",)
    keeps_thinking: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    computed: Sequence[MetricFunction] = ()
    computed_by_category: Sequence[MetricFunction] = ()
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
    opposed: tuple[str, str] | None = None
    reads_policy: bool = False
    builtin: str = "builtin"
    also_reads: tuple[str, ...] = ()

    def spec(self, **options: Any) -> EvalSpec:
        """Its options with these values.

        Raises:
            UserError: There is no such option or value.
        """
        try:
            return self.options.model_validate({"name": self.name, **options})
        except ValidationError as error:
            raise UserError(f"{self.name}: {problem(error)}") from None

    @property
    def scorer(self) -> str:
        """The scorer's name in logs: a log that was scored by another one is no log of this eval."""
        scores: Any = self.score or self.decide
        return scores.__name__

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


def chat(system: str, user: str) -> list[ChatMessage]:
    """A user's message under a system prompt, which may be empty."""
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser

    messages: list[ChatMessage] = [ChatMessageSystem(content=system)] if system.strip() else []
    return [*messages, ChatMessageUser(content=user)]


def problem(error: ValidationError) -> str:
    """The first problem with the options of an eval, in one line."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    end = "" if first["type"] == "unknown" else "."
    return f"{key}: {message[:1].lower()}{message[1:]}{end}" if key else f"{message}{end}"


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
