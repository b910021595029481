"""What differs between families of models. A new one is a row here, if it departs, and in tests/families/build.py."""

import re
from collections.abc import Iterable
from inspect import signature
from typing import Any, NamedTuple


class Family(NamedTuple):
    """How models of one `model_type` attend.

    Attributes:
        is_plain: Attention is a softmax of scaled scores, without soft caps or sinks; `engine.attention` computes it.
        has_alibi: A token's place in the pass enters its attention, though the config has no key `alibi`.
    """

    is_plain: bool = False
    has_alibi: bool = False


FAMILIES = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3"), Family(is_plain=True)),
    **dict.fromkeys(("bloom", "mpt"), Family(has_alibi=True)),
}

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

# What models write around their thinking.
THINKING_TAGS = {
    THINK_OPEN: THINK_CLOSE,
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[THINK]": "[/THINK]",  # Magistral
    "<|START_THINKING|>": "<|END_THINKING|>",  # Cohere
}

# Arguments of chat templates that switch thinking off; other templates ignore them.
THINKING_OFF = {
    "enable_thinking": False,  # Qwen 3, SmolLM3, GLM and others
    "thinking": False,  # Granite, DeepSeek V3.1
}

# Types of layers that obey an attention mask.
MASKED_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}

# Kinds of RoPE whose angles depend, beyond the length of training, on the longest sequence in a pass.
ROPES_BY_LENGTH = ("longrope", "dynamic")

# Config keys of models whose logits are more than a matrix product.
SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")

# Name of a weight of one of a language model's layers.
LAYER_WEIGHT = re.compile(
    r"(model|transformer|gpt_neox|model\.language_model|language_model\.model)\.(layers|h)\.\d+\."
)

# Layers that vLLM makes of several, each of which an adapter may change.
FUSED_LAYERS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}

# Context in tokens of a model whose config names none.
LONGEST_CONTEXT = 1 << 20


def family_of(config: Any) -> Family:
    """The family of a model's config."""
    return FAMILIES.get(config.get_text_config().model_type, Family())


def tree_obstacle(config: Any) -> str | None:
    """Why a model's likelihoods cannot be read off a prefix tree, as far as its config tells."""
    text_config = config.get_text_config()
    if family_of(config).has_alibi or getattr(text_config, "alibi", False):
        return "puts positions into its attention by their place in a pass (ALiBi), which a prefix tree would change"
    if mixing := set(getattr(text_config, "layer_types", None) or ()) - MASKED_LAYERS:
        return f"has layers of type {', '.join(sorted(mixing))}, which would mix the branches of a prefix tree"
    return None


def pass_tokens(config: Any) -> int:
    """Tokens of one pass up to which a model's layers go by positions only.

    Llama 4 scales its attention without RoPE by a token's place in the pass, in steps of `floor_scale` tokens.
    """
    text_config = config.get_text_config()
    return text_config.floor_scale - 1 if getattr(text_config, "attn_temperature_tuning", False) else LONGEST_CONTEXT


def context_tokens(config: Any) -> int:
    """Tokens of prompt and reply together with scores that do not depend on others in a pass."""
    text_config = config.get_text_config()
    most = min(getattr(text_config, "max_position_embeddings", None) or LONGEST_CONTEXT, pass_tokens(config))
    rope = getattr(text_config, "rope_parameters", None) or getattr(text_config, "rope_scaling", None) or {}
    for settings in (rope, *rope.values()):  # those of all layers, or one for each type of layer
        if isinstance(settings, dict) and settings.get("rope_type", settings.get("type")) in ROPES_BY_LENGTH:
            trained = settings.get("original_max_position_embeddings")
            most = min(most, trained or getattr(text_config, "original_max_position_embeddings", None) or most)
    return most


def windows(config: Any) -> list[int]:
    """The sizes in tokens of sliding windows and chunks."""
    settings = vars(config.get_text_config()).items()
    return [value for key, value in settings if re.search("window|chunk", key) and type(value) is int]


def scales_logits(config: Any) -> bool:
    """Whether logits are more than the product of states and the head."""
    return any(getattr(config.get_text_config(), key, None) is not None for key in SCALED_LOGITS)


def is_mixture(config: Any) -> bool:
    """Whether a model is a mixture of experts: trainers add its router's loss."""
    return hasattr(config.get_text_config(), "output_router_logits")


def decoder_of(model: Any) -> Any:
    """The layers under a model's head; None if they cannot be told."""
    # The `base_model_prefix` of Llama 4 names an attribute that it lacks.
    return getattr(model, model.base_model_prefix, None) or getattr(model, "model", None)


def cache_argument(model: Any) -> str:
    """The argument of `forward` that takes the cache; transformers renamed it in some models."""
    return "cache" if "cache" in signature(type(model).forward).parameters else "past_key_values"


def with_fused_layers(layers: Iterable[str]) -> set[str]:
    """Names of layers, and of those that vLLM fuses from them."""
    names = set(layers)
    return names | {fused for fused, parts in FUSED_LAYERS.items() if names.intersection(parts)}
