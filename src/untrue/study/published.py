"""The size of a model without reading its weights: by `studies/paper/sources.yaml`, its files or its name."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt

from untrue import settings
from untrue.models.identity import shapes
from untrue.study.config import SOURCES, folder
from untrue.training.spec import TrainSpec

CPU_PARAMETERS = 500_000_000  # a larger model is taken to run on one H100
LORA_RANK = 32  # of the LoRA whose parameters `sources.yaml` lists


class PublishedModel(BaseModel):
    """A model of `sources.yaml`: `lora` is what LoRA of rank 32 adds, `embeddings` those of embeddings and head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str | None
    cited: str
    parameters: PositiveInt
    layers: PositiveInt
    hidden: PositiveInt
    lora: PositiveInt
    embeddings: PositiveInt


class Published(BaseModel):
    """The models of `sources.yaml`, by hub id."""

    model_config = ConfigDict(frozen=True)

    models: dict[str, PublishedModel]


@cache
def published() -> Published:
    """What `sources.yaml` says."""
    return settings.load(Published, folder() / "paper" / SOURCES)


class ModelSize(NamedTuple):
    """Numbers of parameters: all, of LoRA of rank 32, of embeddings and head; and layers x hidden size."""

    parameters: int
    lora: int
    embeddings: int
    activations: int

    @property
    def needs_gpu(self) -> bool:
        """Whether one H100 is assumed, and not two CPU cores."""
        return self.parameters > CPU_PARAMETERS


def model_size(name: str) -> ModelSize | None:
    """The size of a model by `sources.yaml`, by its files, or by its name; None if nothing says it."""
    base = name.partition("?")[0]
    if one := published().models.get(base):
        return ModelSize(one.parameters, one.lora, one.embeddings, one.layers * one.hidden)
    try:
        return _size_of_files(Path(base))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    if found := re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([BM])(?![a-z])", base.rpartition("/")[2], re.IGNORECASE):
        parameters = round(float(found[1]) * (1e9 if found[2].upper() == "B" else 1e6))
        like = published().models["meta-llama/Llama-3.1-8B-Instruct"]
        factor = (parameters / like.parameters) ** (2 / 3)  # parameters grow as layers x hidden size squared
        rest = (like.lora, like.embeddings, like.layers * like.hidden)
        return ModelSize(parameters, *(round(count * factor) for count in rest))
    return None


def _size_of_files(path: Path) -> ModelSize:
    config: dict[str, Any] = json.loads((path / "config.json").read_text("utf-8"))
    text = config.get("text_config", config)
    parameters, lora, embeddings = 0, 0, 0
    for tensor, shape in shapes(path).items():
        parameters += math.prod(shape)
        module = tensor.removesuffix(".weight").rpartition(".")[2]
        if module in TrainSpec().target_modules and len(shape) == 2:
            lora += LORA_RANK * sum(shape)
        if module in ("embed_tokens", "wte", "embed_in", "lm_head", "embed_out"):
            embeddings += math.prod(shape)
    return ModelSize(parameters, lora, embeddings, text["num_hidden_layers"] * text["hidden_size"])
