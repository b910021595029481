"""`untrue doctor`: what this machine has, and what a model can do."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

from untrue.cli.errors import for_people
from untrue.errors import UserError


@for_people
def doctor(
    model: Annotated[
        str | None, typer.Option(help="Look at this model: `smollm2-135m`, a hub id, or a folder. It is loaded for it.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="`bfloat16` or `float32`.")] = "bfloat16",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
) -> None:
    """Say what this machine has; with --model, how that model's chats are laid out and whether its figures are exact.

    Exit code 2 says that a model's likelihoods cannot be read, and why.

        untrue doctor --model Qwen/Qwen3-0.6B
    """
    found = _machine() if model is None else _model(model, dtype)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        width = max(map(len, found)) + 1
        for name, text in found.items():
            typer.echo(f"{name:{width}} {text}")
    if refused := found.get("refused"):
        raise UserError(refused)


def _machine() -> dict[str, Any]:
    import os

    import torch

    from untrue.models import embedded
    from untrue.versions import versions

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (the CPU is used)"
    there = embedded.folder().is_dir()
    return {
        **versions(),
        "GPU": device,
        "CPU cores": f"{os.cpu_count()} ({torch.get_num_threads()} threads)",
        embedded.NAME: str(embedded.folder()) if there else "not fetched yet (93 MB, at first use)",
    }


def _model(name: str, dtype: str) -> dict[str, Any]:
    from untrue.engine.likelihoods import check_exact
    from untrue.models.load import capabilities, load

    say = Console(stderr=True)
    loaded = load(name, dtype=dtype, say=lambda text: say.print(text, markup=False, highlight=False))
    found = {"model": name, "base": loaded.base_id, **capabilities(loaded), "identity": loaded.identity}
    found |= {f"hash of {what}": loaded.about[what] for what in ("weights", "config", "chat", "tokenizer")}
    try:
        difference = check_exact(loaded)
    except UserError as error:
        return {**found, "likelihoods": "cannot be read", "refused": str(error)}
    return {**found, "likelihoods": f"exact: {difference:.2g} nats per token from those of plain forward passes"}
