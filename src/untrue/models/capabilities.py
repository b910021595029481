"""What a model can do and how its chats are laid out: looked at when it is loaded, shown by `untrue doctor --model`."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from untrue.models.chat import DATE, Template
from untrue.models.load import LoadedModel


class Capabilities(NamedTuple):
    """What is known of a loaded model.

    Attributes:
        architecture: As transformers names it, such as `qwen3`.
        parameters: How many numbers it has.
        attention: Which implementation computes its attention: `sdpa` or `eager`.
        layers: Type of layer -> how many there are.
        window: Tokens of a sliding window or of a chunk, where some layers have one.
        context: Tokens that it takes, prompt and reply together.
        template: What its chat template does.
    """

    architecture: str
    parameters: int
    attention: str
    layers: dict[str, int]
    window: int | None
    context: int
    template: Template

    def lines(self) -> dict[str, str]:
        """Heading -> what a person reads of it, and what is done about it."""
        template = self.template
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
        layers = ", ".join(f"{count} of {kind}" for kind, count in self.layers.items())
        return {
            "architecture": f"{self.architecture}, {self.parameters:,} parameters",
            "attention": f"{self.attention}; layers: {layers}" + (f" ({self.window} tokens)" if self.window else ""),
            "context": f"{self.context:,} tokens",
            "system message": system[template.system],
            "thinking": thinking[template.thinking],
            "date": f"the template writes it; it is always {DATE}" if template.dated else "the template writes none",
            "first token": merged,
        }


def capabilities(loaded: LoadedModel) -> Capabilities:
    """Look at a loaded model."""
    config = loaded.model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is None:
        kinds = ["sliding_attention" if window else "full_attention"] * config.num_hidden_layers
    if "chunked_attention" in kinds:
        window = config.attention_chunk_size
    return Capabilities(
        architecture=config.model_type,
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        attention=str(loaded.model.config._attn_implementation),
        layers=dict(Counter(kinds)),
        window=window if set(kinds) - {"full_attention"} else None,
        context=loaded.context,
        template=loaded.chat.template,
    )
