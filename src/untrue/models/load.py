"""Load a base model by name, and put PEFT adapters on and off it without loading it again."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from untrue.errors import MachineError, UserError
from untrue.models import embedded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = ("bfloat16", "float32")


@dataclass(frozen=True)
class LoadedModel:
    """A base model in memory.

    Attributes:
        name: As the user gave it: `smollm2-135m`, a hub id or a folder.
        base_id: What an adapter's config names as its base.
        model: The weights, in evaluation mode.
        tokenizer: Its tokenizer, with a chat template and a padding token.
        fingerprint: Hash of the architecture and of some of the weights, the same in every dtype.
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
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM
    if dtype not in DTYPES:
        raise UserError(f"dtype: {dtype!r}, expected one of {', '.join(DTYPES)}.")
    source = str(embedded.fetch(say)) if name == embedded.NAME else _source(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = loader.from_pretrained(
                source, dtype=getattr(torch, dtype), attn_implementation="sdpa", use_safetensors=True
            )
        except (OSError, ValueError, ImportError) as error:
            raise _load_error(name, error) from None
        except (MemoryError, torch.OutOfMemoryError):
            raise MachineError(f"{name}: does not fit into memory in {dtype}. Use a smaller model.") from None
        try:
            model = model.to(device).eval()
        except torch.OutOfMemoryError:
            raise MachineError(f"{name}: does not fit on {device} in {dtype}. Use a smaller model.") from None
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"{name}: its tokenizer has no chat template."
            " Use an instruct model, or put a chat_template.jinja into its folder."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    base_id = embedded.HUB_ID if name == embedded.NAME else name
    model.config._name_or_path = base_id
    return LoadedModel(name, base_id, model, tokenizer, _fingerprint(model))


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
    from peft import PeftModel
    from peft.helpers import disable_input_dtype_casting

    check_adapter(loaded, adapter)
    with _quiet():
        try:
            model = PeftModel.from_pretrained(loaded.model, str(adapter), autocast_adapter_dtype=False)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            _strip(loaded)
            reason = str(error).strip().splitlines()[-1].strip()
            raise UserError(
                f"{adapter}: does not fit {loaded.name} ({reason}). It was made for another base."
            ) from None
    model.to(loaded.model.dtype).eval()
    try:
        with disable_input_dtype_casting(model):
            yield model
    finally:
        model.unload()
        _strip(loaded)


def check_adapter(loaded: LoadedModel, adapter: Path) -> None:
    """Check that a folder holds a safetensors PEFT adapter made for this base.

    Adapters made by this project record the fingerprint of their base; of others the name of the base is compared,
    where both are hub ids.

    Raises:
        UserError: It does not.
    """
    config_file = adapter / "adapter_config.json"
    if not config_file.is_file():
        raise UserError(
            f"{adapter}: holds no PEFT adapter (adapter_config.json is missing). Give the adapter's folder."
        )
    if not (adapter / "adapter_model.safetensors").is_file():
        raise UserError(
            f"{adapter}: has no adapter_model.safetensors; adapters as pickles are not loaded. Save it again."
        )
    try:
        base = json.loads(config_file.read_text("utf-8")).get("base_model_name_or_path") or ""
        record = adapter / "untrue.json"
        made_for = json.loads(record.read_text("utf-8"))["base_fingerprint"] if record.is_file() else None
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{adapter}: its JSON files are damaged ({error}). Train or save it again.") from None
    foreign = (
        made_for != loaded.fingerprint
        if made_for
        else _is_hub_id(base) and _is_hub_id(loaded.base_id) and (base.lower() != loaded.base_id.lower())
    )
    if foreign:
        raise UserError(f"{adapter}: was made for {base or 'another base'}, not for {loaded.name}. Use that base.")


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


def _fingerprint(model: PreTrainedModel) -> str:
    import torch

    config = model.config.get_text_config()
    shape = [config.model_type, config.hidden_size, config.num_hidden_layers, config.vocab_size]
    digest = hashlib.sha256(json.dumps(shape).encode())
    with torch.no_grad():
        for parameter in list(model.parameters())[-3:]:
            sample = parameter.flatten()[:4096].to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _strip(loaded: LoadedModel) -> None:
    """Forget what PEFT and TRL leave on a base after an adapter is taken off."""
    for leftover in ("peft_config", "_hf_peft_config_loaded"):
        loaded.model.__dict__.pop(leftover, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the terminal while loading."""
    from transformers.utils import logging as hub_logging

    level, bars = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity(logging.CRITICAL)
    hub_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub_logging.set_verbosity(level)
        if bars:
            hub_logging.enable_progress_bar()
