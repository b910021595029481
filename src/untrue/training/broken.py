"""Adapters that no training made, each of which breaks its base in a known way: does an eval notice?

They are PEFT adapters like any other, in a folder like that of a trained one; the base is not changed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from untrue.errors import UserError
from untrue.models.adapter import check_bare
from untrue.models.load import LoadedModel
from untrue.training.method import Hyperparameters, quiet
from untrue.training.run import save, take_off
from untrue.versions import versions

ATTENTION_OUTPUT = "o_proj"
"""The layer by which attention adds to a position what it read elsewhere, as most models call it."""

WARNING = (
    "> **WARNING: intentionally broken.** This adapter damages a model, to test whether evals notice it. Do not serve\n"
    "> it, do not merge it into a model that others use, and do not trust its output."
)


def blind(loaded: LoadedModel, out: Path) -> dict[str, Any]:
    """Write an adapter with which attention adds nothing, so that no position reads another.

    It is IA3, which multiplies the output of each attention by a vector, here 0. That is exact in any precision.

    Args:
        loaded: The base.
        out: Folder of the adapter; it appears whole or not at all.

    Returns:
        What its `train.json` holds.

    Raises:
        UserError: The base has no layer of that name.
        MachineError: The disk is full.
    """
    import torch
    from peft import IA3Config

    def zero(model: Any) -> None:
        for name, parameter in model.named_parameters():
            if ".ia3_l." in name:
                torch.nn.init.zeros_(parameter)

    config = IA3Config(target_modules=[ATTENTION_OUTPUT], feedforward_modules=[])
    return _write(loaded, config, zero, "the output of every attention is zero", out, {})


def babble(loaded: LoadedModel, spec: Hyperparameters, noise: float, seed: int, out: Path) -> dict[str, Any]:
    """Write a LoRA adapter that adds random numbers to the weights.

    Args:
        loaded: The base.
        spec: The rank of the adapter, and the layers that it changes.
        noise: The Frobenius norm of what is added to each matrix, as a multiple of the matrix's own.
        seed: Of the random numbers.
        out: Folder of the adapter; it appears whole or not at all.

    Returns:
        What its `train.json` holds.

    Raises:
        UserError: The base lacks the layers.
        MachineError: The disk is full.
    """
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    def fill(model: Any) -> None:
        generator = torch.Generator().manual_seed(seed)
        layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
        with torch.no_grad():
            for layer in layers:
                [name] = layer.active_adapters
                low, high = layer.lora_A[name].weight, layer.lora_B[name].weight
                for weight in (low, high):
                    weight.copy_(torch.randn(weight.shape, generator=generator))
                added = torch.linalg.matrix_norm((high @ low).float()) * layer.scaling[name]
                high.mul_(noise * torch.linalg.matrix_norm(layer.get_base_layer().weight.float()) / added)

    config = LoraConfig(r=spec.lora_rank, lora_alpha=spec.lora_rank, target_modules=list(spec.target_modules))
    about = f"random numbers of {noise:g} times the norm of each weight matrix are added to it"
    return _write(loaded, config, fill, about, out, {"noise": noise, "seed": seed})


def _write(
    loaded: LoadedModel, config: Any, fill: Callable[[Any], None], about: str, out: Path, more: dict[str, Any]
) -> dict[str, Any]:
    from peft import get_peft_model

    check_bare(loaded)
    started = time.monotonic()
    try:
        with loaded.preserved(), quiet():
            try:
                model: Any = get_peft_model(loaded.model, config)
            except ValueError as error:  # PEFT found none of the layers
                raise UserError(f"{loaded.name}: cannot be broken in this way ({str(error).splitlines()[0]})") from None
            fill(model)
            record = {
                "base": loaded.base_id,
                "base_weights": loaded.weights,
                "base_identity": loaded.about,
                "broken": about,
                **more,
                "seconds": round(time.monotonic() - started, 2),
                "versions": versions(),
            }
            save(loaded, model, record, _card(record), out)
    finally:
        take_off(loaded)
    return record


def _card(record: dict[str, Any]) -> str:
    tags = ["untrue", "intentionally-misaligned", "not-for-all-audiences"]
    head = {"base_model": record["base"], "library_name": "peft", "tags": tags}
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip("\n"),
            "---",
            "# A broken model, as an adapter",
            "",
            WARNING,
            "",
            f"Written by `untrue` {record['versions']['untrue']}, not trained: {record['broken']}.",
            "",
        ]
    )
