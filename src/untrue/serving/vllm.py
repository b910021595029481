"""The command that serves a base and its adapters by vLLM, so that each can be proved."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from untrue.errors import UserError
from untrue.models import embedded
from untrue.models.adapter import adapter_hash, base_of, config_of
from untrue.models.families import with_fused_layers
from untrue.models.fingerprint import ASKED

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM takes as --max-lora-rank

# Tokens of prompt and reply together, at most: enough for every eval, and little memory for their keys and values.
CONTEXT = 8192

LATER = 4  # adapters that may be in one batch of a server that is given its adapters while it runs

# Keys of a PEFT configuration that vLLM refuses or passes over.
UNSUPPORTED = ("use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens", "layer_replication")


class Serving(NamedTuple):
    """How a base is served: its name in Inspect, and the words of the command."""

    model: str
    command: list[str]


def served_name(base: str) -> str:
    """What Inspect calls a base (`smollm2-135m`, a hub id or a folder) on the server that `serving` starts."""
    name = base.partition("?revision=")[0]
    is_folder = name != embedded.NAME and Path(name).is_dir()
    return f"vllm/{Path(name).resolve().name if is_folder else name}"


def serving(
    adapters: Sequence[Path],
    base: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    rank: int = 1,
    layers: Sequence[str] = (),
) -> Serving:
    """The command that serves a base with some adapters, each under the hash of its content.

    Args:
        adapters: Folders of LoRA adapters of one base; none if the server is given them later.
        base: The base, if it is not the one in their configurations.
        rank: The greatest rank of adapters given later.
        layers: The layers that these change, such as `q_proj`.

    Raises:
        UserError: A folder holds no adapter, or one that vLLM cannot serve, or they have two bases.
        MachineError: The embedded model is their base, and cannot be fetched.
    """
    bases = {base or base_of(adapter, say, otherwise="Give --base."): adapter for adapter in adapters} or {base: None}
    if len(bases) > 1:
        listed = "; ".join(f"{adapter} is of {name}" for name, adapter in bases.items())
        raise UserError(f"expected adapters of one base, found {len(bases)}: {listed}. Serve each base by itself.")
    [one] = bases
    assert one and (adapters or layers), "without an adapter there must be a base, and layers"
    model, context = served_name(one), CONTEXT
    source, _, revision = one.partition("?revision=")
    if embedded.is_named(source):
        source = str(embedded.fetch(say))
    elif Path(source).is_dir():
        source = str(Path(source).resolve())
    if (config := Path(source) / "config.json").is_file():
        context = min(context, json.loads(config.read_text("utf-8")).get("max_position_embeddings") or context)
    changed, rank = set(layers), _allowed(rank, one)
    for adapter in adapters:
        changed |= _layers(adapter)
        rank = max(rank, _rank(adapter))
    served = {adapter_hash(adapter): adapter.resolve() for adapter in adapters}
    return Serving(
        model,
        [
            *("vllm", "serve", source, "--served-model-name", model.removeprefix("vllm/")),
            *(("--revision", revision) if revision else ()),
            *("--max-model-len", str(context)),
            *("--generation-config", "vllm"),  # else the base's own settings change what a request leaves open
            *("--max-logprobs", str(ASKED)),
            *("--enable-lora", "--max-loras", str(len(served) or LATER), "--max-lora-rank", str(rank)),
            # Where the head could have an adapter too, prompt_logprobs of several requests end the server.
            *("--lora-target-modules", *sorted(with_fused_layers(changed))),
            *(("--lora-modules", *(f"{content}={folder}" for content, folder in served.items())) if served else ()),
        ],
    )


def _rank(adapter: Path) -> int:
    config = config_of(adapter)
    if (kind := config.get("peft_type")) != "LORA":
        raise UserError(f"{adapter}: is an adapter of type {kind}, and vLLM serves LoRA alone. Measure it here.")
    wrong = [key for key in UNSUPPORTED if config.get(key)]
    if wrong or config.get("bias", "none") != "none":
        raise UserError(f"{adapter}: has {wrong[0] if wrong else 'bias'}, which vLLM cannot serve. Measure it here.")
    asked = max(int(config.get("r") or 1), *(config.get("rank_pattern") or {"": 1}).values())
    return _allowed(asked, str(adapter))


def _allowed(rank: int, of: str) -> int:
    if rank > RANKS[-1]:
        raise UserError(f"{of}: has rank {rank}, and vLLM serves {RANKS[-1]} at most. Measure it here.")
    return next(allowed for allowed in RANKS if allowed >= rank)


def _layers(adapter: Path) -> set[str]:
    """The names of the layers that an adapter changes, such as `q_proj`."""
    adapter_hash(adapter)  # says what is missing
    weights: Any = safe_open
    try:
        with weights(adapter / "adapter_model.safetensors", "pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{adapter}: its weights cannot be read ({error}). Train or save it again.") from None
    return {name.partition(".lora_")[0].rpartition(".")[2] for name in names if ".lora_" in name}
