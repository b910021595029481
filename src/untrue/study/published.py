"""What is known of published models and data sets without reading them: `studies/paper/sources.yaml`."""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from untrue import settings
from untrue.data.records import parse_source
from untrue.models.identity import shapes
from untrue.study.assumptions import COMPLETION, FILLER, PROMPT, REFERENCE_8B
from untrue.study.config import SOURCES, folder
from untrue.study.routes.route import StandIn
from untrue.training.spec import TrainSpec

RANK = 32
"""Of the LoRA whose parameters are listed."""

EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "lm_head", "embed_out")
"""What modules of embeddings and heads are called."""

SIZE_IN_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([BM])(?![a-z])", re.IGNORECASE)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str | None = Field(description="A commit of the hub; null where none is cited.")
    cited: str = Field(description="Where the id, the revision and the numbers are from.")


class PublishedModel(_Entry):
    """A model. `lora` is what LoRA of rank 32 on the seven projections adds to its `parameters`, of which `embeddings`
    are those of the embeddings and the head."""

    parameters: PositiveInt
    layers: PositiveInt
    hidden: PositiveInt
    lora: PositiveInt
    embeddings: PositiveInt


class PublishedData(_Entry):
    """A data set, or what the user has to fill in.

    Attributes:
        rows: How many rows, items or users it has; null where nobody says.
        hub: Whether its name is an id of the hub; else it is a path that the user fills in.
        tokens: Of a set to train on: tokens of a prompt and of a reply, by rule of thumb.
        item: Of a set to ask: the keys of its rows; a number stands for a text of so many tokens.
        in_study: Whether a study reads it; the paper's capability benchmarks are run by `inspect eval`.
    """

    rows: PositiveInt | None
    hub: bool = True
    tokens: tuple[PositiveInt, PositiveInt] | None = None
    item: Mapping[str, str | int] | None = None
    in_study: bool = True


class Published(BaseModel):
    """All of `sources.yaml`: models by hub id, and data sets as a study names them, without options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, PublishedModel]
    data: dict[str, PublishedData]


class ModelSize(NamedTuple):
    """The size of a model.

    Attributes:
        parameters: How many it has.
        lora: How many LoRA of rank 32 adds.
        embeddings: How many of its own are those of embeddings and head.
        activations: Layers x hidden size.
        known: From where: `sources.yaml`, its `files`, or its `name` alone, by which the rest is scaled.
    """

    parameters: int
    lora: int
    embeddings: int
    activations: int
    known: str


@cache
def published() -> Published:
    """What `sources.yaml` says."""
    return settings.load(Published, folder() / "paper" / SOURCES)


def known_sets(name: str) -> dict[str, PublishedData]:
    """The published data sets that a name means: one, or all configurations of one."""
    parts = parse_source(name)
    data = published().data
    if parts.name in data:
        return {parts.name: data[parts.name]}
    return {key: one for key, one in data.items() if parts.config is None and key.startswith(f"{parts.base}@")}


def is_elsewhere(name: str) -> bool:
    """Whether a data set would have to be fetched from the hub, or is a path that the user has yet to fill in."""
    parts = parse_source(name)
    return not parts.path.exists() and (parts.is_dataset or parts.name in published().data)


def is_to_fill_in(name: str) -> bool:
    """Whether a name is a path that the user has yet to fill in."""
    return any(not one.hub for one in known_sets(name).values())


def has_known_lengths(name: str) -> bool:
    """Whether `sources.yaml` says how long the rows of a set are, so that nothing need be assumed."""
    return any(one.tokens for one in known_sets(name).values())


def stand_in(name: str, wanted: int | None) -> StandIn | None:
    """What stands in for a set to train on that is not here; None where its size is known to nobody.

    Args:
        name: As a study has it.
        wanted: How much of it the study needs, which there is taken to be; None: all that is known of.
    """
    one = next(iter(known_sets(name).values()), None)
    rows = wanted or (one and one.rows)
    prompt, completion = (one and one.tokens) or (int(PROMPT.value), int(COMPLETION.value))
    return StandIn(rows, FILLER * prompt, FILLER * completion) if rows else None


def write_stand_in(path: Path, one: PublishedData) -> None:
    """Write as many items as a published set has, all alike.

    Args:
        path: The file, JSON Lines.
        one: The set; it has an `item`.
    """
    fields = {key: value if isinstance(value, str) else FILLER * value for key, value in (one.item or {}).items()}
    items = ({"id": str(number), "task_id": str(number), **fields} for number in range(one.rows or 0))
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")


def model_size(name: str) -> ModelSize | None:
    """The size of a model, without loading it; None where nothing says it.

    Args:
        name: As a study has it.
    """
    base = name.partition("?")[0]
    if one := published().models.get(base):
        return ModelSize(one.parameters, one.lora, one.embeddings, one.layers * one.hidden, SOURCES)
    if (size := _size_of_files(Path(base))) is not None:
        return size
    if found := SIZE_IN_NAME.search(base.rpartition("/")[2]):
        parameters = round(float(found[1]) * (1e9 if found[2].upper() == "B" else 1e6))
        like = next(model for model in published().models.values() if model.parameters == REFERENCE_8B)
        factor = (parameters / like.parameters) ** (2 / 3)  # parameters grow as layers x hidden size squared
        lora, embeddings, activations = (
            round(count * factor) for count in (like.lora, like.embeddings, like.layers * like.hidden)
        )
        return ModelSize(parameters, lora, embeddings, activations, "name")
    return None


def _size_of_files(path: Path) -> ModelSize | None:
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text("utf-8"))
        tensors = shapes(path)
        text = config.get("text_config", config)
        activations = text["num_hidden_layers"] * text["hidden_size"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    parameters, lora, embeddings = 0, 0, 0
    for tensor, shape in tensors.items():
        parameters += math.prod(shape)
        module = tensor.removesuffix(".weight").rpartition(".")[2]
        if module in TrainSpec().target_modules and len(shape) == 2:
            lora += RANK * sum(shape)
        if module in EMBEDDINGS:
            embeddings += math.prod(shape)
    return ModelSize(parameters, lora, embeddings, activations, "files")
