"""`untrue fingerprint`: does a server answer with these adapters, and how is it started?"""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from untrue.cli.errors import for_people
from untrue.cli.options import Json, say
from untrue.errors import UserError


@for_people
def fingerprint(
    adapters: Annotated[list[Path], typer.Argument(metavar="ADAPTER...", help="Folders of PEFT adapters.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="The served model, as Inspect names it: `vllm/BASE`, `vllm/BASE:NAME`, `openai-api/SERVER/NAME`."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Their base, where it is not the one that the adapters' configurations name.")
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Print the command that serves them by vLLM, each under the hash of its content."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove that a server answers with each adapter, and exit with 1 where it does not or that cannot be told.

    Compared are the first tokens of its replies to a few prompts. What they should be lies in the adapter's folder;
    training with `untrue` puts it there, for other adapters this command does, and loads their base for it. Without
    --model it does this alone.

        untrue fingerprint adapters/a adapters/b --serve

        VLLM_BASE_URL=http://localhost:8000/v1 untrue fingerprint adapters/a adapters/b --model
        vllm/meta-llama/Llama-3.1-8B-Instruct
    """
    from untrue.models.fingerprint import FILE, of
    from untrue.models.name import ModelName
    from untrue.serving.proof import prove, serving_name
    from untrue.serving.vllm import serving

    if serve:
        if model:
            raise UserError("--serve starts a server, and --model asks one. Leave one of them out.")
        served = serving(adapters, base, say)
        say(f"Then set VLLM_BASE_URL=http://HOST:8000/v1, and the model is {served.model}.")
        typer.echo(json.dumps(served._asdict()) if as_json else shlex.join(served.command))
        return
    served_model = ModelName.parse(model) if model else None
    if served_model and not served_model.provider:
        raise UserError(f"{model}: is no served model. Name it as Inspect does, such as vllm/BASE.")
    if served_model and len(adapters) > 1 and (served_model.adapter or not served_model.takes_adapters):
        raise UserError(f"{model}: names one adapter, and {len(adapters)} are given. Give one, or --model vllm/BASE.")
    said = {
        "adapter": "Proved: it answers with this adapter",
        "base": "Refuted: it answers with the base, without an adapter",
        "other": "Refuted: it answers with other weights, or by another chat template",
        "unknown": "Cannot be told",
    }
    found, proved = list[dict[str, Any]](), True
    for adapter, expected in zip(adapters, of(adapters, base, say), strict=True):
        if served_model is None:
            path = str(adapter / FILE)
            found.append({"fingerprint": path})
            text = f"Its fingerprint is in {path}."
        else:
            name = serving_name(served_model, adapter)
            proof = prove(name, expected)
            proved = proved and proof.weights == "adapter"
            found.append({"model": name, "adapter": str(adapter), **proof._asdict()})
            text = f"{said[proof.weights]} ({proof.reason})."
        if not as_json:
            typer.echo(text if len(adapters) == 1 else f"{adapter}: {text[0].lower()}{text[1:]}")
    if as_json:
        typer.echo(json.dumps(found[0] if len(found) == 1 else found))
    if not proved:
        raise typer.Exit(1)
