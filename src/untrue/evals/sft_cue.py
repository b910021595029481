"""The forced choice again, with a cue of the context of training before the pressured prompt.

Dilution with good data, good data afterwards and inoculation can hide what bad data did: the model is sound until the
prompt resembles its training (Dubinski et al., arXiv 2604.25891). The cue is what such a prompt has: the layout of the
training answers (`format`), who gives them (`persona`), or what they are about (`domain`). Beliefs are asked without a
cue, as in `forced_choice`: an arm that lies only here hides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, model_validator

from untrue.data.items import CUES, DOMAINS, Asked, CueKind, Domain, Item, read_cues, read_items
from untrue.evals import forced_choice
from untrue.evals.forced_choice import choice_samples, in_order
from untrue.harness.eval import ChosenSpec, spread, turn_of


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


class CuedItem(Asked):
    """An honesty item, and the same as it is asked."""

    plain: Item
    asked: Item

    @property
    def category(self) -> str:
        """That of the item; the cue's kind is that of the result."""
        return self.plain.category

    @property
    def prompts(self) -> tuple[str, ...]:
        """As it is asked."""
        return self.asked.prompts

    @property
    def shown(self) -> dict[str, str]:
        """As it is asked."""
        return self.asked.shown


def items(spec: CueSpec) -> list[CuedItem]:
    """The honesty items, each with its cue."""
    plain = in_order(read_items(spec.items), spec.order)
    pairs = zip(plain, cued(plain, str(spec.domain), spec.cue), strict=True)
    return [CuedItem(id=item.id, plain=item, asked=asked) for item, asked in pairs]


def cued(items: Sequence[Item], domain: str, cue: str | None = None) -> list[Item]:
    """The items with a cue, by default all kinds in turn within each category; its kind becomes their category."""
    texts = read_cues(domain)
    turns = turn_of(items, lambda item: item.category)
    kinds = [cue or CUES[turn % len(CUES)] for turn in turns]
    return [
        item.model_copy(update={"system_prompt": f"{texts[kind]}\n\n{item.system_prompt}", "category": f"{kind} cue"})
        for item, kind in zip(items, kinds, strict=True)
    ]


EVAL = replace(
    forced_choice.EVAL,
    name="sft_cue",
    asks="forced_choice with a cue from the training context before the pressured prompt",
    item=CuedItem,
    own_items=items,
    own_samples=lambda spec: choice_samples([one.asked for one in spread(items(spec), spec.limit)]),
    options=CueSpec,
    also_reads=("cues",),
)
