"""How to train: the methods, and the hyperparameters with a method among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from untrue.training.dpo import DPO
from untrue.training.kto import KTO
from untrue.training.method import Hyperparameters, Method
from untrue.training.sft import SFT

METHODS: dict[str, Method] = {"sft": SFT, "kto": KTO, "dpo": DPO}
"""The training methods. A new one is a file, and an entry here."""

if TYPE_CHECKING:
    MethodName = RatedMethod = str
else:
    MethodName = Literal[tuple(METHODS)]
    RatedMethod = Literal[tuple(name for name, method in METHODS.items() if not method.pairs)]
    """Of the methods those that can learn from rated dialogues, of which no two share their prompts."""


class TrainSpec(Hyperparameters):
    """Hyperparameters of LoRA fine-tuning by one of `METHODS`."""

    method: MethodName = Field(
        default="sft",
        description="Supervised fine-tuning, or on rows with a `label` KTO (arXiv 2402.01306) or, where each prompt has"
        " rows of both labels, DPO (arXiv 2305.18290).",
    )
