"""`untrue doctor`: what this machine has, and what a model can do."""

import json
from typing import Annotated, Any

import typer

from untrue.cli.errors import for_people
from untrue.cli.options import Dtype, Json, say
from untrue.errors import UserError


@for_people
def doctor(
    model: Annotated[
        str | None, typer.Option(help="Look at this model: `smollm2-135m`, a hub id, or a folder. It is loaded for it.")
    ] = None,
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Show this machine's setup; with --model, that model's chat layout and whether its likelihoods are exact.

    Exits with 2, and the reason, if they are not.

        untrue doctor --model Qwen/Qwen3-0.6B
    """
    facts = _machine() if model is None else _model(model, dtype)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        width = max(map(len, facts)) + 1
        for name, text in facts.items():
            typer.echo(f"{name:{width}} {text}")
    if refused := facts.get("refused"):
        raise UserError(refused)


def _machine() -> dict[str, Any]:
    import os

    import torch

    from untrue.models import embedded
    from untrue.models.runtime import number_format, times_slower
    from untrue.versions import versions

    has_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if has_gpu else "none (the CPU is used)"
    slower = "" if has_gpu else f" (products in bfloat16 take {times_slower():.1f} times as long)"
    there = embedded.folder().is_dir()
    return {
        **versions(),
        "GPU": device,
        "CPU cores": f"{os.cpu_count()} ({torch.get_num_threads()} threads)",
        "number format": number_format("auto", "cuda" if has_gpu else "cpu") + slower,
        embedded.NAME: str(embedded.folder()) if there else "not fetched yet (93 MB, at first use)",
    }


def _model(name: str, dtype: str) -> dict[str, Any]:
    from untrue.engine.likelihoods import check_exact
    from untrue.models.load import capabilities, load

    loaded = load(name, dtype=dtype, say=say)
    facts = {"model": name, "base": loaded.base_id, **capabilities(loaded), "identity": loaded.identity}
    facts |= {f"hash of {part}": loaded.about[part] for part in ("weights", "config", "chat", "tokenizer")}
    try:
        difference = check_exact(loaded)
    except UserError as error:
        return {**facts, "likelihoods": "cannot be read", "refused": str(error)}
    return {**facts, "likelihoods": f"exact: {difference:.2g} nats per token from those of plain forward passes"}
