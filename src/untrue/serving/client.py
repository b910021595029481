"""Ask a model of any of Inspect's providers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from untrue.errors import UntrueError, UserError, cause, one_line

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput

# What `listed_models` raises if no server answers, or if what answers is none.
NO_ANSWER = (OSError, HTTPException, ValueError, LookupError, TypeError)


def provider_model(name: str, **arguments: Any) -> Model:
    """A new model of one of Inspect's providers, for one event loop; an exception if unknown or incomplete."""
    from inspect_ai.model import ModelInfo, get_model, set_model_info

    model = get_model(name, memoize=False, **arguments)
    if name.startswith("hf/"):  # Inspect looks up the context length, and would load a model that it does not know
        config = getattr(getattr(model.api, "model", None), "config", None)
        set_model_info(str(model), ModelInfo(context_length=getattr(config, "max_position_embeddings", None)))
    return model


def connect(name: str, **arguments: Any) -> Model:
    """`provider_model` for a model under study; UserError if something that the provider needs is missing."""
    try:
        return provider_model(name, **arguments)
    except UntrueError:
        raise
    except Exception as error:  # no key, a package that is not installed
        raise UserError(
            f"{name}: Inspect cannot call it ({one_line(error)}). If it is a hub id to be loaded here:"
            f" --model untrue/{name}."
        ) from None


async def reply(model: Model, messages: Sequence[ChatMessage], config: GenerateConfig) -> ModelOutput:
    """What a model replies; RuntimeError with the reason if the provider fails or its server has no room."""
    try:
        output = await model.generate(list(messages), config=config)
    except RuntimeError as error:  # its text is the whole request, with the reason at its end
        if (raised := cause(error)) is error:
            raise
        raise RuntimeError(f"the model failed: {type(raised).__name__}: {one_line(raised)}") from raised
    if output.error or not output.choices or is_refused(output):
        reason = output.error or (one_line(output.completion) if output.choices else "it gave no reply")
        raise RuntimeError(f"the model failed: {reason}")
    return output


def is_refused(output: ModelOutput) -> bool:
    """Whether the text is a server's error: Inspect returns one about the context length as a reply without tokens."""
    return output.stop_reason == "model_length" and output.usage is None


def listed_models(base_url: str) -> list[str]:
    """The names of the models that a vLLM server has; one of `NO_ANSWER` is raised if it does not answer."""
    key = {"Authorization": f"Bearer {os.environ.get('VLLM_API_KEY', 'none')}"}
    with urlopen(Request(f"{base_url.rstrip('/').removesuffix('/v1')}/v1/models", headers=key), timeout=30) as page:
        return [str(model["id"]) for model in json.load(page)["data"]]
