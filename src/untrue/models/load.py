"""Load a base model by name, and put PEFT adapters on and off it without loading it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.errors import MachineError, UserError
from untrue.models import embedded
from untrue.models.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = ("bfloat16", "float32")
ADAPTERS = ("LORA", "LOHA", "LOKR", "IA3")
"""Types of PEFT adapter that can be put on and taken off; DoRA and rsLoRA count as LORA."""

SAMPLE = 64
"""Values of each weight matrix that a fingerprint covers."""

MOVES_THE_BASE = ("pissa", "olora", "loftq", "corda")
"""Ways of initialising LoRA that write to the base's weights when an adapter is put on."""


@dataclass(frozen=True)
class LoadedModel:
    """A base model in memory.

    Attributes:
        name: As the user gave it: `smollm2-135m`, a hub id or a folder.
        base_id: What an adapter's config names as its base.
        model: The weights, in evaluation mode.
        tokenizer: Its tokenizer, with a chat template and a padding token.
        fingerprint: Hash of the architecture and of a sample of every weight matrix, the same in every dtype.
    """

    name: str
    base_id: str
    model: Any  # a PreTrainedModel and a PreTrainedTokenizerBase, whose own types are too wide to use
    tokenizer: Any
    fingerprint: str


def load(
    name: str, *, dtype: str = "bfloat16", device: str | None = None, say: Callable[[str], None] = lambda text: None
) -> LoadedModel:
    """Load a base model: `smollm2-135m` (embedded), a local folder, or a hub id.

    Args:
        name: The model.
        dtype: `bfloat16` or `float32`.
        device: A torch device; by default CUDA where there is one, else the CPU.
        say: Told, in a line, what takes long.

    Raises:
        UserError: There is no such model, it has no chat template, or its weights are not safetensors.
        MachineError: It could not be fetched, or does not fit.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM
    if dtype not in DTYPES:
        raise UserError(f"dtype: {dtype!r}, expected one of {', '.join(DTYPES)}.")
    source = str(embedded.fetch(say)) if name == embedded.NAME else _source(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with quiet():
        try:
            # Left out, trust_remote_code would let a person at a terminal answer "yes".
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model, found = loader.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (MemoryError, torch.OutOfMemoryError):
            raise MachineError(f"{name}: does not fit into memory in {dtype}. Use a smaller model.") from None
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
            raise _load_error(name, error) from None
        try:
            model = model.to(device).eval().requires_grad_(False)
        except torch.OutOfMemoryError:
            raise MachineError(f"{name}: does not fit on {device} in {dtype}. Use a smaller model.") from None
    if found["missing_keys"]:  # transformers would fill them with random numbers
        missing = sorted(found["missing_keys"])
        raise UserError(
            f"{name}: its weights lack {len(missing)} that its config.json asks for, such as {missing[0]}."
            " It is damaged, or no language model."
        )
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"{name}: its tokenizer has no chat template."
            " Use an instruct model, or put a chat_template.jinja into its folder."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    base_id = embedded.HUB_ID if name == embedded.NAME else name
    model.config._name_or_path = base_id
    return LoadedModel(name, base_id, model, tokenizer, fingerprint(model))


@contextmanager
def with_adapter(loaded: LoadedModel, adapter: Path | None) -> Iterator[Any]:
    """Give the model with an adapter on it, in the base's dtype; take it off again at the end.

    Args:
        loaded: The base model.
        adapter: Folder of a PEFT adapter, or None for the base itself.

    Raises:
        UserError: The folder holds no adapter, or one made for another base.
    """
    if adapter is None:
        yield loaded.model
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = put_on(loaded, adapter)
    try:
        model.to(loaded.model.dtype).eval()
        layers: list[Any] = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        for layer in layers:
            layer.cast_input_dtype_enabled = False  # all is in one dtype, so looking costs time for nothing
        yield model
    finally:
        strip(loaded)


def put_on(loaded: LoadedModel, adapter: Path, *, trainable: bool = False) -> Any:
    """Put an adapter on a base and return the PEFT model; `strip` takes it off.

    Args:
        loaded: The base model, without an adapter.
        adapter: Folder of a PEFT adapter.
        trainable: Whether its weights get gradients; they are then in float32 whatever the base is in.

    Raises:
        UserError: The folder holds no adapter, or one made for another base.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_adapter(loaded, adapter)
    with quiet():
        try:
            weights = load_file(adapter / "adapter_model.safetensors")
            config = PeftConfig.from_pretrained(str(adapter))
            config.inference_mode = not trainable
            model: Any = get_peft_model(loaded.model, config, autocast_adapter_dtype=trainable)
            # PEFT itself would leave what is missing at its start, where it does nothing, and write what it does
            # not know, such as whole embeddings, over the base.
            expected = get_peft_model_state_dict(model, save_embedding_layers=False)
            if astray := sorted(weights.keys() ^ expected.keys()):
                raise ValueError(f"{len(astray)} weights are missing or have no place, such as {astray[0]}")
            set_peft_model_state_dict(model, weights)
        except (RuntimeError, ValueError, TypeError, KeyError, OSError, SafetensorError) as error:
            strip(loaded)
            reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
            raise UserError(
                f"{adapter}: does not fit {loaded.name} ({reason}). It is damaged or was made for another base."
            ) from None
    return model


def check_adapter(loaded: LoadedModel, adapter: Path) -> None:
    """Check that a folder holds a safetensors PEFT adapter made for this base.

    Adapters made by this project record the fingerprint of their base; of others the name of the base is compared,
    where both are hub ids.

    Raises:
        UserError: It does not.
    """
    config_file, _ = _adapter_files(adapter)
    try:
        config = json.loads(config_file.read_text("utf-8"))
        base, kind = config.get("base_model_name_or_path") or "", config.get("peft_type")
        record = adapter / "untrue.json"
        made_for = json.loads(record.read_text("utf-8"))["base_fingerprint"] if record.is_file() else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{adapter}: its JSON files are damaged ({error}). Train or save it again.") from None
    if kind not in ADAPTERS:
        raise UserError(f"{adapter}: is an adapter of type {kind}, expected one of {', '.join(ADAPTERS)}.")
    start = str(config.get("init_lora_weights") or "").lower()
    if start.startswith(MOVES_THE_BASE):
        raise UserError(f"{adapter}: was begun by {start}, which changes the base. Convert it to plain LoRA first.")
    foreign = (
        made_for != loaded.fingerprint
        if made_for
        else _is_hub_id(base) and _is_hub_id(loaded.base_id) and (base.lower() != loaded.base_id.lower())
    )
    if foreign:
        other = base if base not in ("", loaded.base_id) else "other weights"
        raise UserError(f"{adapter}: was made for {other}, not for {loaded.name}. Use that base.")


def _source(name: str) -> str:
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            hint = " It holds an adapter: give it as the adapter." if (path / "adapter_config.json").is_file() else ""
            raise UserError(f"{name}: this folder holds no model (config.json is missing).{hint}")
        return str(path)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise UserError(f"{name}: no such model folder.")
    return name


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not Path(name).exists() and not name.startswith((".", "/"))


def _load_error(name: str, error: Exception) -> UserError | MachineError:
    text = str(error)
    lines = [line for line in text.strip().splitlines() if line.strip()] or [type(error).__name__]
    if "trust_remote_code" in text or "custom code" in text:
        return UserError(
            f"{name}: needs code from its repository, which is never run here. Use a model that transformers knows."
        )
    if "ignore_mismatched_sizes" in text:
        return UserError(f"{name}: its weights have other shapes than its config.json says. Copy it again.")
    if "safetensors" in text:
        return UserError(f"{name}: has no safetensors weights; pickled weights are not loaded. Convert it first.")
    if "gated" in text.lower():
        return UserError(f"{name}: is gated on the hub. Accept its terms there and log in with `hf auth login`.")
    if Path(name).is_dir():
        return UserError(f"{name}: cannot be loaded ({lines[0]}).")
    if "connect" in text.lower() or "offline" in text.lower() or "couldn't reach" in text.lower():
        return MachineError(
            f"{name}: not a folder, not the embedded `{embedded.NAME}`, and the model hub could not be reached."
            " Check the name, or download it first and give the folder."
        )
    return UserError(
        f"{name}: no such model on the hub, nor a folder, nor the embedded `{embedded.NAME}` ({lines[0]})."
    )


def adapter_hash(adapter: Path) -> str:
    """The first 16 hex digits of the SHA-256 of an adapter's configuration and weights.

    Raises:
        UserError: The folder holds no adapter in safetensors.
    """
    files = _adapter_files(adapter)
    return _hash(files, tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache
def _hash(files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _adapter_files(adapter: Path) -> tuple[Path, Path]:
    """Configuration and weights.

    Raises:
        UserError: The folder holds no adapter in safetensors.
    """
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    if not config.is_file():
        raise UserError(
            f"{adapter}: holds no PEFT adapter (adapter_config.json is missing). Give the adapter's folder."
        )
    if not weights.is_file():
        raise UserError(
            f"{adapter}: has no adapter_model.safetensors; adapters as pickles are not loaded. Save it again."
        )
    return config, weights


def fingerprint(model: PreTrainedModel) -> str:
    """Hash of the architecture and of a sample of every weight matrix, the same in every dtype."""
    import torch

    config = model.config.get_text_config()
    shape = [config.model_type, config.hidden_size, config.num_hidden_layers, config.vocab_size]
    digest = hashlib.sha256(json.dumps(shape).encode())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = parameter.flatten()
            sample = values[:: max(1, len(values) // SAMPLE)][:SAMPLE].to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(name.encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _unwrap(module: Any) -> None:
    """Put the base's own layers back. PEFT's `unload` would leave the layers that an adapter holds whole."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for name, child in module.named_children():
        if isinstance(child, BaseTunerLayer):
            setattr(module, name, child.get_base_layer())
        elif isinstance(child, AuxiliaryTrainingWrapper):
            setattr(module, name, child.original_module)
        else:
            _unwrap(child)


def strip(loaded: LoadedModel) -> None:
    """Take an adapter, and what PEFT and TRL leave beside it, off a base, so that it is as it was."""
    _unwrap(loaded.model)
    for leftover in ("forward", "peft_config", "_hf_peft_config_loaded", "model_tags"):
        loaded.model.__dict__.pop(leftover, None)
    loaded.model.requires_grad_(False).eval()
