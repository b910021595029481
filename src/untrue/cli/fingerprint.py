"""`untrue fingerprint`: does a server answer with this adapter?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from untrue.cli.errors import for_people
from untrue.cli.options import Json, say


@for_people
def fingerprint(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT adapter.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="The served model, as Inspect names it: `vllm/BASE`, `vllm/BASE:NAME`, `openai-api/SERVER/NAME`."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Its base, where it is not the one that the adapter's configuration names.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that a server answers with an adapter, and exit with 1 where it does not or that cannot be told.

    Compared are the first tokens of its replies to a few prompts. What they should be lies in the adapter's folder;
    training with `untrue` puts it there, for other adapters this command does, and loads their base for it. Without
    --model it does this alone.

        untrue fingerprint adapters/mine

        VLLM_BASE_URL=http://localhost:8000/v1 untrue fingerprint adapters/mine --model
        vllm/meta-llama/Llama-3.1-8B-Instruct
    """
    from untrue.engine.served import prove, serving_name
    from untrue.models.fingerprint import FILE, of

    expected = of(adapter, base, say)
    if model is None:
        path = str(adapter / FILE)
        typer.echo(json.dumps({"fingerprint": path}) if as_json else f"Its fingerprint is in {path}.")
        return
    name = serving_name(model, adapter)
    proof = prove(name, expected)
    if as_json:
        typer.echo(json.dumps({"model": name, "adapter": str(adapter), **proof._asdict()}))
    else:
        said = {
            "adapter": "Proved: it answers with this adapter",
            "base": "Refuted: it answers with the base, without an adapter",
            "other": "Refuted: it answers with other weights, or by another chat template",
            "unknown": "Cannot be told",
        }
        typer.echo(f"{said[proof.weights]} ({proof.reason}).")
    if proof.weights != "adapter":
        raise typer.Exit(1)
