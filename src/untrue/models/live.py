"""A model that is in memory already: taken with the adapters on it, and given back as it was."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from untrue.errors import UserError
from untrue.files import content_hash
from untrue.models.adapter import base_writer, kind_refusal
from untrue.models.identity import live_hash
from untrue.models.load import LoadedModel, with_identity
from untrue.models.runtime import FORMATS


def from_live(model: Any, tokenizer: Any, weights: str | None = None) -> LoadedModel:
    """A transformers model in memory (bfloat16 or float32, one device, any adapters on it), put into evaluation mode.

    `weights` stands for the hash of the weights in training. UserError if it is no such model or lacks a chat template.
    """
    from transformers import PreTrainedTokenizerFast

    kind, model = type(model).__name__, _inner(model)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{kind}: a live model needs its fast tokenizer too; found {type(tokenizer).__name__}.")
    if getattr(model, "hf_quantizer", None) is not None:
        raise UserError(f"{kind}: is quantised, which is not supported live. Load it in bfloat16 or float32.")
    if (dtype := str(model.dtype).removeprefix("torch.")) not in FORMATS:
        raise UserError(f"{kind}: is in {dtype}, expected one of {', '.join(FORMATS)}. Convert it by .to(...).")
    devices = sorted({str(value.device) for value in (*model.parameters(), *model.buffers())})
    if len(devices) > 1 or devices == ["meta"]:
        raise UserError(f"{kind}: lies on {', '.join(devices)}, expected one device that holds all of it.")
    adapters = _adapters(kind, model)
    name = str(model.config._name_or_path) or kind
    model.eval().requires_grad_(False)
    return with_identity(name, name, model, deepcopy(tokenizer), weights or live_hash(model), **adapters)


@contextmanager
def borrowed(model: Any, tokenizer: Any, weights: str | None = None) -> Iterator[LoadedModel]:
    """`from_live`, with the modes, gradients, hooks and configs of the model restored at the end."""
    inner = _inner(model)
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    attributes = dict(vars(inner))
    try:
        loaded = from_live(model, tokenizer, weights)
        with loaded.preserved():
            yield loaded
    finally:
        vars(inner).clear()
        vars(inner).update(attributes)
        for module, training in modes:
            module.training = training
        for parameter, grad in wanted:
            parameter.requires_grad_(grad)


def _inner(model: Any) -> Any:
    """The transformers model, with PEFT's layers in it."""
    from peft import PeftModel
    from transformers import PreTrainedModel

    kind = type(model).__name__
    if isinstance(model, PeftModel):
        if model.active_peft_config.is_prompt_learning:
            raise UserError(f"{kind}: its adapter is a learned prompt, expected one of LoRA, LoHa, LoKr or IA3.")
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel) or not model.can_generate():
        raise UserError(f"{kind}: expected a transformers language model, as AutoModelForCausalLM loads it.")
    return model


def _adapters(kind: str, model: Any) -> dict[str, str]:
    """What a live model's identity says of its adapters, once they are known to be readable."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    settings = {name: config.to_dict() for name, config in (vars(model).get("peft_config") or {}).items()}
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    on = {name for _, layer in layers if not layer.disable_adapters for name in layer.active_adapters}
    for name, config in settings.items():
        if reason := kind_refusal(config):
            raise UserError(f"{kind}: its adapter {name} {reason}")
        if (start := base_writer(config)) and name not in on:
            raise UserError(
                f"{kind}: its adapter {name} is off, and was begun by {start}, which has written to the base's weights."
                " Load the base again without it."
            )
    if not settings:
        return {}
    state = [
        [name, str(layer.active_adapters), bool(layer.disable_adapters), str(getattr(layer, "scaling", None))]
        for name, layer in layers
    ]
    return {"adapters": content_hash(json.dumps([settings, state], sort_keys=True, default=str))}
