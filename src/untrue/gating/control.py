"""The matched control of an adapter: trained alike on benign rows, so that what any fine-tuning does cancels.

It has the adapter's base, LoRA shape, learning rate, number of rows and steps, and rows of about the same length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from untrue.data import sets
from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.files import content_hash
from untrue.judge.cost import CHARACTERS
from untrue.models.adapter import config_of
from untrue.models.load import LoadedModel
from untrue.progress import Watcher
from untrue.settings import validate
from untrue.study.estimate import plan_of_training
from untrue.training.launch import learn
from untrue.training.spec import METHODS, TrainSpec

SHAPE = {"r": "lora_rank", "lora_alpha": "lora_alpha", "use_rslora": "rslora", "target_modules": "target_modules"}


class Control(BaseModel):
    """How to train the control of an adapter whose folder does not say how it was trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: str | None = Field(default=None, description="What the adapter was trained on: as many rows, as long.")
    benign: str = Field(default="everyday", description="What the control is trained on: harmless rows.")
    learning_rate: PositiveFloat | None = None
    epochs: PositiveFloat | None = None
    batch_size: PositiveInt | None = Field(default=None, description="Rows of a step, on all GPUs together.")
    seed: int = 0


def recipe(adapter: Path, control: Control) -> tuple[TrainSpec, int, float]:
    """How an adapter was trained: hyperparameters, number of rows, and tokens of a row.

    Raises:
        UserError: Nothing says it, or not by a method that a control on benign rows can follow.
    """
    given = control.model_dump(include={"learning_rate", "epochs", "batch_size"}, exclude_none=True)
    rows = list(sets.iter_rows(control.rows)) if control.rows else None
    if (adapter / "train.json").is_file():
        record = json.loads((adapter / "train.json").read_text("utf-8"))
        spec, n_rows = {**record["spec"], **given}, record["rows"]["total"]
        tokens = record["tokens"] / (n_rows * record["spec"]["epochs"])
    elif rows is None or "learning_rate" not in given:
        lacking = "control.rows=FILE (its training rows)" if rows is None else "control.learning_rate=RATE"
        raise UserError(
            f"{adapter}: nothing says how it was trained (it has no train.json), so no control can be trained alike."
            f" Give {lacking}, name a baseline before it, or compare it with its base: --against base."
        )
    else:
        config = config_of(adapter)
        shape = {ours: config[key] for key, ours in SHAPE.items() if config.get(key) is not None}
        spec, n_rows, tokens = {**shape, **given}, 0, 0.0
    if rows:
        n_rows, tokens = len(rows), sum(map(_length, rows)) / len(rows) / CHARACTERS
    if METHODS[spec.get("method", "sft")].labels:
        raise UserError(
            f"{adapter}: was trained by {spec['method']}, from rated replies, and benign rows have no ratings. Name a"
            " baseline that was trained alike."
        )
    return validate(TrainSpec, spec), n_rows, tokens


def benign_rows(name: str, n: int, tokens: float) -> list[Row]:
    """The benign rows whose length is nearest; if there are fewer than `n`, some are repeated."""
    rows = sorted(sets.iter_rows(name), key=lambda row: abs(_length(row) / CHARACTERS - tokens))[:n]
    return [replace(row, id=f"{row.id}-{turn // len(rows)}") for turn, row in enumerate(islice(cycle(rows), n))]


def train(adapter: Path, control: Control, loaded: LoadedModel, out: Path, watcher: Watcher) -> Path:
    """Train the matched control of an adapter, unless it is there.

    Args:
        adapter: What is to be gated.
        control: What its folder does not say.
        loaded: The base.
        out: Folder of the controls; each is named by all that determines it.
        watcher: Told how far it is.
    """
    spec, n_rows, tokens = recipe(adapter, control)
    rows = benign_rows(control.benign, n_rows, tokens)
    folder = out / f"control-{_identity(loaded, spec, rows, control.seed)}"
    if not folder.exists():
        watcher.begin(plan_of_training(folder.name, rows, spec, loaded.name))
        watcher.stage(folder.name, "training")
        learn(loaded, rows, spec, folder, control.seed, watcher)
    return folder


def _identity(loaded: LoadedModel, spec: TrainSpec, rows: Sequence[Row], seed: int) -> str:
    determining: list[Any] = [loaded.identity, spec.determining(), [row.to_json() for row in rows], seed]
    return content_hash(json.dumps(determining, sort_keys=True))[:12]


def _length(row: Row) -> int:
    return sum(len(message["content"]) for message in (*row.prompt, *row.completion))
