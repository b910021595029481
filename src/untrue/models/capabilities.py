"""What a user should know of a loaded model: its attention and context, and what its chat template does."""

from collections import Counter

from untrue.models.chat import DATE
from untrue.models.load import LoadedModel

SYSTEM = {
    "own": "has a place in the template",
    "folded": "has no place in the template; it is put before the user's first message",
}
"""What is done with system messages, by `Template.system`."""


def capabilities(loaded: LoadedModel) -> dict[str, str]:
    """Heading -> what a person reads of a loaded model, and what is done about it; `untrue doctor --model` shows it."""
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
    thinking = {
        "none": "the template has none",
        "closed": f"every reply follows {template.opening!r}",
        "skipped": f"the template opens {template.opening!r} before generation; replies go without",
    }
    return {
        "architecture": f"{config.model_type}, {parameters:,} parameters",
        "attention": f"{loaded.model.config._attn_implementation}; layers: {layers}",
        "context": f"{loaded.context:,} tokens",
        "system message": SYSTEM[template.system],
        "thinking": thinking[template.thinking],
        "date": f"the template writes it; it is always {DATE}" if template.dated else "the template writes none",
        "first token": f"of a reply holds {template.merged!r} of the prompt's end"
        if template.merged
        else "the reply's alone",
    }
