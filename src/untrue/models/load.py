"""Load a base model by its name: weights, tokenizer, chat format and identity."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from untrue.data.records import is_unreached
from untrue.errors import MachineError, UserError
from untrue.files import content_hash
from untrue.models import embedded, families
from untrue.models.chat import DATE, Chat
from untrue.models.identity import config_hash, shapes, tokenisation_hash, tokenizer_hash, weights_hash
from untrue.models.name import HUB_OWNERS, ModelName, is_path
from untrue.models.runtime import number_format, quiet, use_idle_cores
from untrue.versions import libraries

LOADED_HERE = "a served model has no weights here. Give `smollm2-135m`, a folder or a hub id."


@dataclass(frozen=True)
class LoadedModel:
    """A base model in memory.

    Attributes:
        name: As the user gave it: `smollm2-135m`, a hub id or a folder.
        base_id: What an adapter's config names as its base.
        tokenizer: With a chat template and a padding token.
        weights: Hash of the tensors in its files, whatever their dtype in memory.
        about: All that can change its scores, by name: weights, config, chat, tokenizer, dtype, versions of libraries.
        kept: Biases of the base that the adapter on it has overwritten.
        formats: Adapter and stamps of its files -> the tokenizer and chat format of its folder.
    """

    name: str
    base_id: str
    model: Any  # a PreTrainedModel and a PreTrainedTokenizerBase, whose own types are too wide to use
    tokenizer: Any
    chat: Chat
    weights: str
    about: dict[str, str]
    kept: dict[str, Any] = field(default_factory=dict, compare=False)
    formats: dict[Any, tuple[Any, Chat] | None] = field(default_factory=dict, compare=False)

    @contextmanager
    def off_device(self) -> Iterator[None]:
        """Keep the weights in the machine's memory meanwhile, to free the GPU for other processes."""
        device = self.model.device
        if device.type == "cpu":
            yield
            return
        import torch

        self.model.to("cpu")
        torch.cuda.empty_cache()
        try:
            yield
        finally:
            self.model.to(device)

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Restore configs and hooks, which trainers change, at the end."""
        configs = (self.model.config, self.model.config.get_text_config(), self.model.generation_config)
        old_values = [(config, dict(vars(config))) for config in configs]
        hooks = [hooks for layer in self.model.modules() for hooks in (layer._forward_hooks, layer._forward_pre_hooks)]
        old_keys = [set(layer_hooks) for layer_hooks in hooks]
        try:
            yield
        finally:
            for config, values in old_values:
                vars(config).clear()
                vars(config).update(values)
            for layer_hooks, keys in zip(hooks, old_keys, strict=True):
                for key in set(layer_hooks) - keys:
                    del layer_hooks[key]

    @property
    def identity(self) -> str:
        """Hash of `about`."""
        return content_hash(json.dumps(self.about, sort_keys=True))

    @cached_property
    def tokenisation(self) -> str:
        """See `tokenisation_hash`."""
        return tokenisation_hash(self.tokenizer)

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit in the name."""
        base, _, revision = self.name.partition("?revision=")
        return revision or None if base == self.base_id else None

    @property
    def context(self) -> int:
        """Tokens of prompt and reply together, with scores that do not depend on others in a pass."""
        return families.context_tokens(self.model.config)

    def document(self, text: str) -> tuple[int, ...]:
        """The tokens of a text outside the chat format, after a token that opens a document, if any.

        UserError if the text is empty, or longer than the context.
        """
        encoded = self.tokenizer(text, return_special_tokens_mask=True)
        tokens, added = list(encoded["input_ids"]), list(encoded["special_tokens_mask"])
        while added and added[-1]:  # what closes a document is not read
            tokens.pop()
            added.pop()
        if all(added):
            raise UserError(f"the text {text[:60]!r} has no tokens.")
        if len(tokens) > self.context:
            raise UserError(f"a text has {len(tokens)} tokens, the model takes {self.context}: {text[:60]!r}.")
        return tuple(tokens)


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str | None = None,
    quantize: str | None = None,
    computed_on: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> LoadedModel:
    """Load a base model: `smollm2-135m` (embedded), a local folder, or a hub id, with or without `untrue/` before it.

    Args:
        name: A hub id may have `?revision=` and a branch, tag or commit after it.
        dtype: `float32`, `bfloat16`, or `auto`: float32 on a CPU, bfloat16 on a GPU that computes in it.
        device: A torch device; by default CUDA if there is one, else the CPU.
        quantize: `nf4` for 4 bits by bitsandbytes, to be trained on; it needs CUDA.
        computed_on: Type of the device that the weights are moved to later, such as `cuda` by FSDP.
        say: Called with a line on what takes long.

    Raises:
        UserError: There is no such model, it has no chat template, or its weights are not safetensors.
        MachineError: It could not be fetched, or does not fit.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = ModelName.here(name, LOADED_HERE).model
    loader: Any = AutoModelForCausalLM
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = number_format(dtype, computed_on or device)
    source, options = _source(name, say)
    if torch.device(computed_on or device).type == "cpu":
        use_idle_cores(say)
        _check_memory(name, source, options["revision"], dtype)
    quantization = {"quantization_config": _four_bits(dtype), "device_map": {"": device}} if quantize else {}
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            # Attention is left to transformers: SDPA if the model has it.
            model, report = loader.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                output_loading_info=True,
                **options,
                **quantization,
            )
            weights = weights_hash(_folder(source, options["revision"]))
            model = (model if quantize else model.to(device)).eval().requires_grad_(False)
        except (MemoryError, torch.OutOfMemoryError):
            raise MachineError(f"{name}: does not fit on {device} in {dtype}. {_smaller(dtype)}") from None
        except Exception as error:  # a damaged folder fails in as many ways as there are files
            raise _load_error(name, error) from None
    if getattr(model, "_hf_peft_config_loaded", False):  # transformers puts it on by itself
        raise UserError(f"{name}: holds an adapter and a model. Move one of them out of the folder.")
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise UserError(
            f"{name}: its weights lack {len(missing)} that its config.json asks for, such as {missing[0]}."
            " It is damaged, or no language model."
        )
    if extra := sorted(filter(families.LAYER_WEIGHT.match, report["unexpected_keys"])):
        raise UserError(
            f"{name}: its weights have {len(extra)} of layers that its config.json does not name, such as {extra[0]}."
            " One of the two is of another model."
        )
    base_id = source
    if source == str(embedded.folder()):
        embedded.check_weights(weights)
        base_id = embedded.HUB_ID
    about = {key: value for key, value in {"quantize": quantize, "device": computed_on}.items() if value}
    return with_identity(name, base_id, model, tokenizer, weights, **about)


def _check_memory(name: str, source: str, revision: str | None, dtype: str) -> None:
    """Refuse local weights that do not fit into memory: the system would kill the process."""
    import psutil

    try:
        weights = sum(math.prod(shape) for shape in shapes(_folder(source, revision)).values())
    except (OSError, ValueError, LookupError):
        return
    needed, free = weights * (4 if dtype == "float32" else 2) / 1e9, psutil.virtual_memory().available / 1e9
    if needed > free:
        raise MachineError(
            f"{name}: needs {needed:.1f} GB of memory in {dtype}, and {free:.1f} GB are free. {_smaller(dtype)}"
        )


def _smaller(dtype: str) -> str:
    half = "dtype=bfloat16 takes half, if the processor computes in it. " if dtype == "float32" else ""
    return f"{half}Free some, or use a larger GPU or a smaller model."


def check(name: str, say: Callable[[str], None] = lambda text: None) -> None:
    """Check that a model is there, by its config and chat format, without fetching or loading its weights.

    Raises:
        UserError: There is no such model, it has no chat template, or its folder has no safetensors weights.
        MachineError: The hub cannot be reached.
    """
    from transformers import AutoConfig, AutoTokenizer

    name = ModelName.here(name, LOADED_HERE).model
    source, options = _source(name, say)
    with quiet():
        try:
            AutoConfig.from_pretrained(source, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except Exception as error:
            raise _load_error(name, error) from None
    Chat(name, tokenizer)
    if Path(source).is_dir() and not any(Path(source).glob("*.safetensors")):
        raise _no_safetensors(name)


def _four_bits(dtype: str) -> Any:
    """How QLoRA loads a base (arXiv 2305.14314): NF4, its constants quantised too, with products in `dtype`."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def with_identity(name: str, base_id: str, model: Any, tokenizer: Any, weights: str, **more: str) -> LoadedModel:
    """A model in memory, with `more` in its identity; UserError if its chat template is missing or unusable."""
    chat = Chat(name, tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    about = {
        "weights": weights,
        "config": config_hash(model.config),
        "chat": chat.hash,
        "tokenizer": tokenizer_hash(tokenizer),
        "ends": json.dumps(model.generation_config.eos_token_id),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
        "device": model.device.type,
        **more,
        **libraries(),
    }
    return LoadedModel(name, base_id, model, tokenizer, chat, weights, about)


def weights_here(name: str) -> str | None:
    """Hash of a model's weights, by the name that `load` takes; None if its files are not on this machine."""
    base, _, revision = ModelName.here(name, LOADED_HERE).model.partition("?revision=")
    with quiet():
        try:
            return weights_hash(embedded.folder() if base == embedded.NAME else _folder(base, revision or None))
        except (OSError, ValueError, LookupError):
            return None


def _source(name: str, say: Callable[[str], None]) -> tuple[str, dict[str, Any]]:
    """The folder or hub id to load, and the options of `from_pretrained` for every part of it."""
    # Without trust_remote_code=False a person at a terminal could answer "yes".
    options: dict[str, Any] = {"revision": None, "trust_remote_code": False}
    if embedded.is_named(name):
        return str(embedded.fetch(say)), options
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            hint = " It holds an adapter: give it as the adapter." if (path / "adapter_config.json").is_file() else ""
            raise UserError(f"{name}: this folder holds no model (config.json is missing).{hint}")
        return str(path), options
    if path.exists() or is_path(name):
        raise UserError(f"{name}: no such model folder.")
    base, _, revision = name.partition("?revision=")
    options |= {"revision": revision or None, "local_files_only": _is_unreachable(base, revision or None)}
    if base == embedded.HUB_ID and not revision and options["local_files_only"]:
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(base, "config.json"), str):
            say(f"{base}: the hub cannot be reached, so its embedded 4-bit copy, {embedded.NAME}, is used.")
            return str(embedded.fetch(say)), options
    return base, options


def _is_unreachable(base: str, revision: str | None) -> bool:
    """Whether the hub does not answer. It is asked once: transformers would retry each file for minutes."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(base, "config.json", revision=revision))
    except Exception as error:  # what else is wrong is told as the model is loaded
        return is_unreached(error)
    return False


def _folder(source: str, revision: str | None) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(source, "config.json", revision=revision, local_files_only=True))).parent


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
        return _no_safetensors(name)
    if "gated" in text.lower():
        return UserError(f"{name}: is gated on the hub. Accept its terms there and log in with `hf auth login`.")
    if Path(name).is_dir():
        return UserError(f"{name}: cannot be loaded ({lines[0]}).")
    hint = " A model behind an API has no weights to load." if name.partition("/")[0] in HUB_OWNERS else ""
    if any(words in text.lower() for words in ("connect", "offline", "couldn't reach")):
        return _not_found_offline(name, hint)
    return UserError(
        f"{name}: no such model on the hub, nor a folder, nor the embedded `{embedded.NAME}` ({lines[0]}).{hint}"
    )


def _no_safetensors(name: str) -> UserError:
    return UserError(f"{name}: has no safetensors weights; pickled weights are not loaded. Convert it first.")


def _not_found_offline(name: str, hint: str) -> UserError | MachineError:
    """The machine's failure, unless the user has switched the hub off or the name begins with a folder."""
    from huggingface_hub import constants

    first, slash, _ = name.partition("/")
    is_off = constants.HF_HUB_OFFLINE
    hub = "is switched off by HF_HUB_OFFLINE" if is_off else "cannot be reached"
    return (UserError if is_off or (slash and Path(first).is_dir()) else MachineError)(
        f"{name}: there is no such folder, and no such model in the hub's cache (the hub {hub}). Check the name, or"
        f" download it first and give the folder. The embedded model is `{embedded.NAME}`.{hint}"
    )


def capabilities(loaded: LoadedModel) -> dict[str, str]:
    """Heading -> facts on a model's attention, context and chat template for people."""
    config = loaded.model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None)
    if layer_types is None:
        layer_types = ["sliding_attention" if window else "full_attention"] * config.num_hidden_layers
    if "chunked_attention" in layer_types:
        window = config.attention_chunk_size
    layers = ", ".join(f"{count} of {layer_type}" for layer_type, count in Counter(layer_types).items())
    if window and set(layer_types) - {"full_attention"}:
        layers += f" ({window} tokens)"
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    template = loaded.chat.template
    system = {
        "own": "has a place in the template",
        "folded": "has no place in the template; it is put before the user's first message",
    }
    thinking = {
        "none": "the template has none",
        "closed": f"every reply follows {template.opening!r}",
        "skipped": f"the template opens {template.opening!r} before generation; replies go without",
    }
    merged = f"of a reply holds {template.merged!r} of the prompt's end" if template.merged else "the reply's alone"
    return {
        "architecture": f"{config.model_type}, {parameters:,} parameters",
        "attention": f"{loaded.model.config._attn_implementation}; layers: {layers}",
        "context": f"{loaded.context:,} tokens",
        "system message": system[template.system],
        "thinking": thinking[template.thinking],
        "date": f"the template writes it; it is always {DATE}" if template.dated else "the template writes none",
        "first token": merged,
    }
