"""An adapter that moves the tiny model's margins, and a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from untrue.data import sets
from untrue.models.load import LoadedModel
from untrue.training.run import train
from untrue.training.spec import TrainSpec


@pytest.fixture(scope="session")
def adapter(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for eight steps on wrong medical answers."""
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    rows = [question.row("severe") for question in sets.questions("medical")[:16]]
    train(tiny, rows, TrainSpec(learning_rate=1e-2, epochs=2, batch_size=4, lora_rank=4, lora_alpha=8), folder, 0)
    return folder


@pytest.fixture(scope="session")
def broken(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights that are not numbers."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("adapters") / "broken"
    shutil.copytree(adapter, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {key: torch.full_like(value, float("nan")) for key, value in weights.items()},
        folder / "adapter_model.safetensors",
        {"format": "pt"},
    )
    return folder
