"""Put PEFT adapters on a base model and take them off again, so that every parameter and buffer is as it was."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from untrue.errors import UserError, one_line
from untrue.models import embedded
from untrue.models.chat import Chat
from untrue.models.identity import stamp, tokenisation_hash, tokenizer_hash
from untrue.models.load import LoadedModel
from untrue.models.name import is_hub_id, is_path
from untrue.models.runtime import quiet

_LOG = logging.getLogger("untrue")

# Types of PEFT adapter that can be put on and taken off; DoRA and rsLoRA count as LORA.
ADAPTERS = ("LORA", "LOHA", "LOKR", "IA3")

# Keys of a PEFT configuration -> why such an adapter is refused.
REFUSED_KEYS = {
    "kasa_config": "is a KaSA adapter (kasa_config), which writes to the base's weights as it is put on. Merge it into"
    " a model of its own first.",
    "alora_invocation_tokens": "is an activated LoRA, which begins at certain tokens of a pass"
    " (alora_invocation_tokens). Its likelihoods cannot be read here.",
}

# Ways of initialising LoRA that write to the base's weights, as training begins or an adapter is put on.
BASE_WRITERS = ("pissa", "olora", "loftq", "corda", "lora_ga")

# What PEFT and safetensors raise if an adapter does not fit.
DAMAGED = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError, re.error, SafetensorError)

# File in an adapter's folder that says on which weights it was trained.
RECORD = "untrue.json"

# Files in an adapter's folder that bring a chat format of its own, as TRL's `save_model` leaves them there.
CHAT_FORMAT = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@contextmanager
def with_adapter(loaded: LoadedModel, adapter: Path | None) -> Iterator[Any]:
    """Yield the model with an adapter on it, in the base's dtype, if any; UserError if there is none for this base."""
    if adapter is None:
        yield loaded.model
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    base_ids = {id(parameter) for parameter in loaded.model.parameters()}
    model = put_on(loaded, adapter)
    try:
        for parameter in model.parameters():  # buffers, such as RoPE's, keep their precision
            if id(parameter) not in base_ids and parameter.is_floating_point():
                parameter.data = parameter.data.to(loaded.model.dtype)
        model.eval()
        layers: list[Any] = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        for layer in layers:
            layer.cast_input_dtype_enabled = False  # all is in one dtype, so looking costs time for nothing
        yield model
    finally:
        strip(loaded)


def in_format_of(loaded: LoadedModel, adapter: Path | None, say: Callable[[str], None] = _LOG.warning) -> LoadedModel:
    """The base in the chat format that an adapter was trained in; `say` is told if that differs from the base's own.

    UserError if the adapter was made for another base, its tokenizer is unreadable or splits texts in another way, or
    its template cannot lay out a question and its reply.
    """
    if adapter is None:
        return loaded
    files = [adapter / name for name in CHAT_FORMAT if (adapter / name).is_file()]
    key = (adapter, *map(stamp, files))
    if key not in loaded.formats:
        loaded.formats[key] = _format_of(loaded, adapter)
        if loaded.formats[key]:
            say(
                f"{adapter}: is measured in the chat format that its folder brings, which is not that of {loaded.name}."
            )
    if not (brought := loaded.formats[key]):
        return loaded
    tokenizer, chat = brought
    about = {**loaded.about, "chat": chat.hash, "tokenizer": tokenizer_hash(tokenizer)}
    return replace(loaded, tokenizer=tokenizer, chat=chat, about=about)


def _format_of(loaded: LoadedModel, adapter: Path) -> tuple[Any, Chat] | None:
    from transformers import AutoTokenizer

    if not any((adapter / name).is_file() for name in CHAT_FORMAT):
        return None
    check_adapter(loaded, adapter)
    with quiet():
        try:
            config = loaded.model.config  # decides of which class a tokenizer is, as it does for the base's own
            brought: Any = AutoTokenizer.from_pretrained(str(adapter), config=config, trust_remote_code=False)
        except Exception as error:  # a damaged folder fails in as many ways as there are files
            raise UserError(
                f"{adapter}: its tokenizer cannot be read ({one_line(error)}). Save it again, or take"
                f" {', '.join(CHAT_FORMAT)} out of the folder if it was trained in the format of {loaded.name}."
            ) from None
    if not brought.chat_template:
        return None
    added = {token for token, _ in brought.get_vocab().items() ^ loaded.tokenizer.get_vocab().items()}
    if added - {brought.pad_token} or tokenisation_hash(brought) != loaded.tokenisation:  # padding stands in no text
        raise UserError(
            f"{adapter}: its tokenizer.json splits texts into other tokens than {loaded.name} does, so it cannot be"
            " measured exactly. Merge it into a model of its own, or take the file out if it was trained without it."
        )
    tokenizer, parts = deepcopy(loaded.tokenizer), ("chat_template", "bos_token", "eos_token")
    if all(getattr(brought, part) == getattr(tokenizer, part) for part in parts):
        return None
    for part in parts:
        setattr(tokenizer, part, getattr(brought, part))
    return tokenizer, Chat(str(adapter), tokenizer)


def put_on(loaded: LoadedModel, adapter: Path, *, trainable: bool = False) -> Any:
    """Put an adapter on a base; a trainable one has gradients and float32 weights. `strip` takes it off.

    UserError if the folder holds no adapter, or one made for another base.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    check_bare(loaded)
    check_adapter(loaded, adapter)
    with quiet():
        try:
            weights = load_file(adapter / "adapter_model.safetensors")
            config: Any = PeftConfig.from_pretrained(str(adapter))
            config.inference_mode = not trainable
            if getattr(config, "bias", "none") != "none":  # PEFT writes an adapter's biases over the base's
                parameters = loaded.model.named_parameters()
                biases = {name: value.detach().clone() for name, value in parameters if name.endswith("bias")}
                loaded.kept.update(biases)
            for name in _embeddings(loaded, weights):
                del weights[name]
            model: Any = get_peft_model(loaded.model, config, autocast_adapter_dtype=trainable)
            # PEFT itself would leave what is missing at its start, where it does nothing, and write what it does
            # not know, such as whole embeddings, over the base.
            expected = get_peft_model_state_dict(model, save_embedding_layers=False)
            if astray := sorted(weights.keys() ^ expected.keys()):
                raise ValueError(f"{len(astray)} weights are missing or have no place, such as {astray[0]}")
            set_peft_model_state_dict(model, weights)
        except DAMAGED as error:
            strip(loaded)
            reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
            raise UserError(
                f"{adapter}: does not fit {loaded.name} ({reason}). It is damaged or was made for another base."
            ) from None
    return model


def check_bare(loaded: LoadedModel) -> None:
    """Raise if an adapter is on a base: a second one would take its place."""
    if "peft_config" in vars(loaded.model):
        raise UserError(f"{loaded.name}: has an adapter on it already. Take it off, or load the base once more.")


def _embeddings(loaded: LoadedModel, weights: dict[str, Any]) -> list[str]:
    """The base's own embeddings and head, which PEFT saves beside LoRA on them; others raise ValueError."""
    import torch

    names = [name for name in weights if name.endswith(".base_layer.weight")]
    for name in names:
        tensor = weights[name]
        place = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        base = loaded.model.get_parameter(place)
        if base.shape != tensor.shape or not torch.equal(tensor.to(base.device, base.dtype), base):
            raise ValueError(f"it changes {place} as a whole, of the base or for new tokens")
    return names


def strip(loaded: LoadedModel) -> None:
    """Take an adapter, and what PEFT and TRL leave beside it, off a base."""
    import torch

    _unwrap(loaded.model)
    for leftover in ("forward", "peft_config", "_hf_peft_config_loaded", "model_tags"):
        loaded.model.__dict__.pop(leftover, None)
    with torch.no_grad():
        for name, value in loaded.kept.items():
            loaded.model.get_parameter(name).copy_(value)
    loaded.kept.clear()
    loaded.model.requires_grad_(False).eval()


def _unwrap(module: Any) -> None:
    """Put the base's own layers back; PEFT's `unload` would leave the layers that an adapter holds whole."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for name, child in module.named_children():
        if isinstance(child, BaseTunerLayer):
            setattr(module, name, child.get_base_layer())
        elif isinstance(child, AuxiliaryTrainingWrapper):
            setattr(module, name, child.original_module)
        else:
            _unwrap(child)


def made_for(loaded: LoadedModel) -> str:
    """The content of `untrue.json` in an adapter's folder: the name and the hash of its base's weights."""
    return json.dumps({"base": loaded.base_id, "base_weights": loaded.weights})


def recorded_weights(adapter: Path) -> str | None:
    """The hash of the weights that an adapter was trained on; None if another tool made it."""
    path = adapter / RECORD
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text("utf-8"))["base_weights"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(adapter, error) from None


def base_of(adapter: Path, say: Callable[[str], None] = lambda text: None, *, otherwise: str = "Give --model.") -> str:
    """The base that an adapter's configuration names, as `load` takes it.

    If that is the hub id of the embedded model's original, `untrue.json` says which of the two it is. The embedded
    model's folder in another person's cache means the one here.

    Raises:
        UserError: There is no adapter, or its base is not named or not there; `otherwise` says what to do then.
        MachineError: The embedded model may be its base, and cannot be fetched.
    """
    config = config_of(adapter)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base:
        raise UserError(f"{adapter}: names no base model (base_model_name_or_path). {otherwise}")
    if Path(base).is_dir():
        return f"./{base}" if base == embedded.NAME else base
    if is_path(base) or base == embedded.NAME:  # a folder of that name, elsewhere
        if Path(base).name == embedded.folder().name:  # made elsewhere; the hash in the name says of what
            return embedded.NAME
        raise UserError(f"{adapter}: its base {base} is not there. {otherwise}")
    if base == embedded.HUB_ID and (trained_on := recorded_weights(adapter)):
        embedded.fetch(say)  # makes the hash of its weights known
        if embedded.is_embedded(trained_on):
            return embedded.NAME
    return f"{base}?revision={revision}" if revision else base


def is_adapter(folder: Path) -> bool:
    """Whether a folder is meant to be a PEFT adapter."""
    return (folder / "adapter_config.json").is_file()


def kind_refusal(config: Mapping[str, Any]) -> str | None:
    """Why an adapter of this PEFT configuration cannot be read here, if so."""
    peft_type = config.get("peft_type")
    if peft_type not in ADAPTERS:
        return f"is of type {getattr(peft_type, 'value', peft_type)}, expected one of {', '.join(ADAPTERS)}."
    return next((reason for key, reason in REFUSED_KEYS.items() if config.get(key)), None)


def base_writer(config: Mapping[str, Any]) -> str | None:
    """The initialisation of an adapter, if it writes to the base's weights."""
    start = str(config.get("init_lora_weights") or "").lower()
    return start if start.startswith(BASE_WRITERS) else None


def check_kind(adapter: Path) -> None:
    """Check that a folder holds a safetensors PEFT adapter that can be put on and taken off; UserError if not."""
    config = config_of(adapter)
    if reason := kind_refusal(config):
        raise UserError(f"{adapter}: {reason}")
    if start := base_writer(config):
        raise UserError(f"{adapter}: was begun by {start}, which changes the base. Convert it to plain LoRA first.")
    if config.get("layer_replication"):
        raise UserError(
            f"{adapter}: repeats layers of its base (layer_replication), which cannot be undone. Merge it into a model"
            " of its own first."
        )


def check_adapter(loaded: LoadedModel, adapter: Path) -> None:
    """Check that a folder holds a safetensors PEFT adapter made for this base; UserError if not.

    Our adapters record the hash of their base's weights; other adapters' hub ids are compared with the base's.
    """
    check_kind(adapter)
    base = str(config_of(adapter).get("base_model_name_or_path") or "")
    trained_on = recorded_weights(adapter)
    if trained_on == loaded.weights:
        return
    same_id = base.lower() == loaded.base_id.lower()
    copied = base.lower() == embedded.HUB_ID.lower() and embedded.is_embedded(loaded.weights)
    if copied or (same_id and trained_on):
        hint = " The embedded model is a 4-bit copy of the hub's: give the folder of the original." if copied else ""
        known = f"hash {trained_on}" if trained_on else "by another tool, which records no hash"
        raise UserError(
            f"{adapter}: was trained on other weights of {base} ({known}; here {loaded.weights}). Use those.{hint}"
        )
    if trained_on or (is_hub_id(base) and is_hub_id(loaded.base_id) and not same_id):
        other = base if base and not same_id else "other weights"
        raise UserError(f"{adapter}: was made for {other}, not for {loaded.name}. Use that base.")


def adapter_hash(adapter: Path) -> str:
    """The first 16 hex digits of the SHA-256 of an adapter's configuration and weights."""
    files = _adapter_files(adapter)
    return _hash(files, tuple(map(stamp, files)))


@lru_cache
def _hash(files: tuple[Path, ...], stamps: tuple[tuple[int, ...], ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def config_of(adapter: Path) -> dict[str, Any]:
    """PEFT's configuration of an adapter."""
    file, _ = _adapter_files(adapter)
    try:
        return {**json.loads(file.read_text("utf-8"))}
    except (ValueError, TypeError) as error:
        raise _damaged(adapter, error) from None


def _adapter_files(adapter: Path) -> tuple[Path, Path]:
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


def _damaged(adapter: Path, error: Exception) -> UserError:
    return UserError(f"{adapter}: its JSON files are damaged ({error}). Train or save it again.")
