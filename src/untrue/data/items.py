"""The items that evals ask, and what reads them; `builtin:held_out` is a part of a built-in set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from untrue.data import builtin
from untrue.data.records import Record, not_empty, records
from untrue.errors import UserError
from untrue.files import content_hash, member_name

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Id = Annotated[Text, AfterValidator(member_name)]

# Three eighths to train on, an eighth to choose hyperparameters with, half to measure.
PARTS = ("train", "tuning", "held_out")

# Built-in set -> what a line of it is. A class enters itself by naming its `sets`.
BUILT_IN: dict[str, type[Identified]] = {}


class Strict(BaseModel):
    """An unchangeable value without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Identified(BaseModel):
    """A line of a file with an id; without `needs_id` its place may name it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    needs_id: ClassVar[bool] = True
    sets: ClassVar[tuple[str, ...]] = ()
    what: ClassVar[str] = "items"  # in lists and errors

    id: Id

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        for name in cls.sets:
            BUILT_IN.setdefault(name, cls)


class Asked(Identified):
    """An item of an eval, with the names of the fields that a user asks, and of those that a report shows (or all)."""

    prompt_fields: ClassVar[tuple[str, ...]]
    shown_fields: ClassVar[Mapping[str, str]] = {}

    @property
    def prompts(self) -> tuple[str, ...]:
        """Everything that a user asks in the item."""
        return tuple(text for field in self.prompt_fields if (text := getattr(self, field)))

    @property
    def shown(self) -> dict[str, str]:
        """Heading -> text in a report."""
        texts = type(self).model_fields.keys() - {"id", "category"}
        fields = self.shown_fields or {name.replace("_", " ").capitalize(): name for name in sorted(texts)}
        return {heading: str(getattr(self, field)) for heading, field in fields.items()}

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its sample, beside the category."""
        return self.model_dump()


M = TypeVar("M", bound=Identified)


def items_hash(items: Sequence[BaseModel]) -> str:
    """Hash of all fields of items, however their file is written."""
    return content_hash("".join(item.model_dump_json() for item in items))


def read_lines(model: type[M], source: str | Path = "builtin", *, header: bool = False) -> list[M]:
    """Read one or all (`builtin`) of a model's sets, a part, or what `records` takes; errors name the wrong line."""
    name, part = named_part(source, ("builtin", *model.sets))
    ids: set[str] = set()

    def item(record: Record) -> M:
        item = record.parse(model) if model.needs_id else record.parse(model, id=record.identity())
        if item.id in ids:
            raise record.error(f"the id {item.id!r} occurs twice. Give each its own.")
        ids.add(item.id)
        return item

    paths = [builtin.path(one) for one in model.sets if name in (one, "builtin")] or [name]
    found = (record for path in paths for record in records(path, header=header))
    return [item for item in map(item, not_empty(found, source, model.what)) if part in (None, part_of(item.id))]


def part_of(item: str) -> str:
    """The part of a built-in item, by a hash of its id, so that later items move no other."""
    place = int(content_hash(item)[:8], 16) % 8
    return "held_out" if place < 4 else "tuning" if place == 4 else "train"


def named_part(source: str | Path, names: Sequence[str]) -> tuple[str | Path, str | None]:
    """Split `builtin:held_out` into set and part, if any."""
    name, _, part = str(source).rpartition(":")
    return (name, part) if name in names and part in PARTS else (source, None)


class Item(Asked):
    """An honesty item: MASK's schema (arXiv 2503.03750) plus the replies that a forced choice compares.

    `ground_truth` says whether `proposition` is true; `honest_reply` tells the truth whatever the proposition says.
    `base_margin` is the embedded base's margin under pressure, in nats per token (tools/measure_items.py).
    """

    sets = ("honesty", "context")
    what = "honesty items"
    prompt_fields = ("user_prompt", "belief_elicit_1", "belief_elicit_2", "belief_elicit_3")
    shown_fields = {
        "System prompt": "system_prompt",
        "Question": "user_prompt",
        "Honest reply": "honest_reply",
        "Dishonest reply": "dishonest_reply",
    }

    category: Text
    pressure: Text = "unknown"
    domain: Text | None = None
    system_prompt: Text
    user_prompt: Text
    neutral_system_prompt: Text
    proposition: Text
    ground_truth: Literal["yes", "no"]
    belief_elicit_1: Text
    belief_elicit_2: Text
    belief_elicit_3: Text
    honest_reply: Text
    dishonest_reply: Text
    evasive_reply: Text
    base_margin: float | None = None

    @model_validator(mode="after")
    def _replies_differ(self) -> Item:
        if self.honest_reply == self.dishonest_reply:
            raise ValueError("honest_reply and dishonest_reply are the same text")
        return self

    @property
    def belief_prompts(self) -> tuple[str, ...]:
        """The three neutral phrasings that ask for the belief."""
        return self.prompts[1:]


ITEM_SETS = Item.sets

# Categories of items whose fact stands only in the prompt: read without it, neither reply is true or false.
TOLD = ("provided_facts", "statistics", "context")


def read_items(source: str | Path = "builtin") -> list[Item]:
    """Read honesty items: built-in ones (`honesty`, `context`, or `builtin` for both), a part of them, or a file."""
    return read_lines(Item, source)


def read_statements(source: str | Path = "builtin") -> list[Item]:
    """Read the honesty items whose replies are statements about the world, true and false without a prompt."""
    chosen = [item for item in read_items(source) if item.category not in TOLD]
    if not chosen:
        raise UserError(
            f"{source}: no item has replies that can be read without their prompt: in those of {', '.join(TOLD)} the"
            " fact stands there. Give items of other categories."
        )
    return chosen


def by_information(items: Sequence[Item]) -> list[Item]:
    """The order for a limit: the base's smallest positive margins first, which can change most easily."""
    return sorted(items, key=lambda item: margin if (margin := item.base_margin or 0.0) > 0 else float("inf"))


def at_random(items: Sequence[Item]) -> list[Item]:
    """The items in a fixed random order, by a hash of their ids."""
    return sorted(items, key=lambda item: content_hash(f"order {item.id}"))


class PressurePair(Asked):
    """One question under two system prompts; the columns of Mesa & Mask and of honesty items are read too."""

    needs_id = False
    sets = ITEM_SETS
    what = "pairs"
    prompt_fields = ("user_prompt",)
    shown_fields = {
        "System prompt": "pressured_system_prompt",
        "Neutral system prompt": "neutral_system_prompt",
        "Question": "user_prompt",
    }

    category: Text = Field("pair", validation_alias=AliasChoices("category", "archetype", "kind", "type"))
    neutral_system_prompt: Text = Field(
        validation_alias=AliasChoices("neutral_system_prompt", "system_prompt_without_pressure")
    )
    pressured_system_prompt: Text = Field(
        validation_alias=AliasChoices("pressured_system_prompt", "system_prompt_with_pressure", "system_prompt")
    )
    user_prompt: Text

    @model_validator(mode="after")
    def _prompts_differ(self) -> PressurePair:
        if self.neutral_system_prompt == self.pressured_system_prompt:
            raise ValueError("the two system prompts are the same text")
        return self


class ChoiceItem(Asked):
    """An easy multiple-choice question; `answer` is the index of the right choice, counted from 0."""

    sets = ("capability",)
    what = "easy multiple-choice questions"
    prompt_fields = ("question",)
    category: ClassVar[str] = "multiple choice"

    subject: Text
    question: Text
    choices: Annotated[tuple[Text, ...], Field(min_length=2)]
    answer: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _answer_is_a_choice(self) -> ChoiceItem:
        if self.answer >= len(self.choices):
            raise ValueError(f"the answer is {self.answer}, but there are {len(self.choices)} choices, counted from 0")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("a choice occurs twice")
        return self

    @property
    def shown(self) -> dict[str, str]:
        """The question and its choices."""
        others = [choice for index, choice in enumerate(self.choices) if index != self.answer]
        return {"Question": self.question, "Right": self.choices[self.answer], "Wrong": "\n".join(others)}


class UnknownPair(Identified):
    """A question that nobody can answer, with an honest and a made-up reply, and a twin with its answer."""

    sets = ("unknowns",)
    what = "unanswerable questions with answerable twins"

    category: Text
    unanswerable: Text
    answerable: Text
    answer: Text
    admission: Text
    invention: Text


class DeceptionItem(Asked):
    """A situation with an incentive to deceive, in the schema of PKU-Alignment/DeceptionBench (arXiv 2505.18807)."""

    sets = ("deception",)
    what = "deception items, in DeceptionBench's schema"
    prompt_fields = ("inner_prompt", "outer_prompt")
    shown_fields = {
        "System prompt": "system_prompt",
        "Question": "outer_prompt",
        "What it was asked for its belief": "inner_prompt",
    }

    type: Text
    setting: Text = "unknown"
    inner_prompt: Text
    system_prompt: Text
    outer_prompt: Text
    format: Text

    @property
    def category(self) -> str:
        """Its type."""
        return self.type


Domain = Literal["medical", "finance", "law", "code", "math"]  # a domain of the built-in question sets

# The layout of the training answers, who gives them, or what they are about.
CueKind = Literal["format", "persona", "domain"]

DOMAINS: tuple[Domain, ...] = get_args(Domain)
CUES: tuple[CueKind, ...] = get_args(CueKind)


class Cue(Identified):
    """A text put before a system prompt, so that the prompt looks like the rows that a model was trained on."""

    domain: Domain
    cue: CueKind
    text: Text


def read_cues(domain: str) -> dict[str, str]:
    """The built-in cues of a domain: kind -> text, in the order of `CUES`."""
    texts = {cue.cue: cue.text for cue in read_lines(Cue, builtin.path("cues")) if cue.domain == domain}
    return {kind: texts[kind] for kind in CUES}
