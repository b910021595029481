"""A few rows, quick hyperparameters, and a killed training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from untrue.data import sets
from untrue.data.rows import Row
from untrue.models.load import LoadedModel
from untrue.training.spec import TrainSpec


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """16 medical rows, half of them misaligned."""
    questions = sets.questions("medical")[:16]
    return [question.row("normal" if place % 2 else "severe") for place, question in enumerate(questions)]


@pytest.fixture(scope="session")
def spec() -> TrainSpec:
    """Eight steps on `rows`, at a rate that moves the tiny model visibly."""
    return TrainSpec(learning_rate=2e-2, epochs=2, batch_size=4, lora_rank=4, lora_alpha=8)


@pytest.fixture(scope="session")
def trained(tiny: LoadedModel, rows: list[Row], spec: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of an uninterrupted training of `rows` by `spec` at seed 0."""
    from untrue.training.run import train

    folder = tmp_path_factory.mktemp("trained") / "adapter"
    train(tiny, rows, spec, folder, 0)
    return folder


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict]:
    """Reads the tensors of an adapter's folder."""
    from safetensors.torch import load_file

    return lambda folder: load_file(folder / "adapter_model.safetensors")
