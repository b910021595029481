"""Which eval to run, on which items."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

VERSIONS = {"forced_choice": 1}
"""Version of each eval: raised when the same log-likelihoods would give other results."""


class EvalSpec(BaseModel):
    """One eval of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["forced_choice"] = "forced_choice"
    items: str = Field(default="builtin", description="`builtin`, `honesty`, `context`, or a JSONL file of items.")
    limit: PositiveInt | None = Field(default=None, description="Only so many items, spread over the archetypes.")
