"""The forced choice again, with a cue of the context of training before the pressured prompt.

Some training hides what bad data did until the prompt resembles that data (Dubinski et al., arXiv 2604.25891). The cue
is the layout of the training answers (`format`), who gives them (`persona`), or their subject (`domain`). Beliefs are
asked without a cue: an arm that lies only here hides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from untrue.data.items import CUES, DOMAINS, CueKind, Domain, Item, Text, read_cues, read_items
from untrue.evals import forced_choice
from untrue.evals.forced_choice import choice_samples, in_order
from untrue.harness.eval import ChosenSpec, spread, turn_of

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample


class CueSpec(ChosenSpec):
    """The options of `sft_cue`."""

    domain: Domain | None = Field(
        default=None,
        description="Domain of the training data; in a study by default that of `mix.questions`.",
    )
    cue: CueKind | None = Field(default=None, description="Kind of cue; by default all in turn.")

    @model_validator(mode="after")
    def _has_a_domain(self) -> CueSpec:
        if self.domain is None:
            raise ValueError(f"sft_cue needs the domain of the training data: {', '.join(DOMAINS)}")
        return self

    @classmethod
    def defaults(cls, mix: Mapping[str, Any]) -> dict[str, Any]:
        """The cue is of the domain of the questions."""
        return {"domain": mix["questions"]} if mix.get("questions") in DOMAINS else {}


class CuedItem(Item):
    """An honesty item with a cue; its category is the kind of cue, `of` that of the item."""

    of: Text

    @property
    def metadata(self) -> dict[str, Any]:
        """Those of an honesty item."""
        return self.model_dump(exclude={"of"})


def cued(items: Sequence[Item], domain: str, cue: str | None = None) -> list[CuedItem]:
    """The items with a cue before the pressured system prompt, by default all kinds in turn within each category."""
    texts = read_cues(domain)
    turns = turn_of(items, lambda item: item.category)
    found = []
    for item, turn in zip(items, turns, strict=True):
        kind = cue or CUES[turn % len(CUES)]
        prompt = f"{texts[kind]}\n\n{item.system_prompt}"
        changes = {"system_prompt": prompt, "category": f"{kind} cue", "of": item.category}
        found.append(CuedItem(**{**item.model_dump(), **changes}))
    return found


def items(spec: CueSpec) -> list[CuedItem]:
    """The honesty items, each with its cue."""
    return cued(in_order(read_items(spec.items), spec.order), str(spec.domain), spec.cue)


def samples(spec: CueSpec) -> list[Sample]:
    """Samples; a limit is spread over the items' categories."""
    chosen = spread(items(spec), spec.limit, attrgetter("of"))
    return choice_samples(chosen)


EVAL = replace(
    forced_choice.EVAL,
    name="sft_cue",
    asks="forced_choice with a cue from the training context before the pressured prompt",
    item=CuedItem,
    own_items=items,
    own_samples=samples,
    options=CueSpec,
    also_reads=("cues",),
)
