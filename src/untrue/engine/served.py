"""Models of Inspect's other providers, and the proof that a server answers with the expected adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from untrue.errors import MachineError, UntrueError, UserError, cause, one_line
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash
from untrue.models.fingerprint import ASKED, PROMPTS, Fingerprint, Proof

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput


SERVED = ("vllm", "sglang", "hf", "openai-api", "anthropic", "azureai", "bedrock", "ollama", "openrouter")
"""Inspect's providers whose names nobody takes for the owner of a model on the hub, as one may `openai`."""


def may_be_served(model: str) -> bool:
    """Whether a name may be that of one of Inspect's providers and a model; a hub id looks the same."""
    return "/" in model and not model.startswith(("untrue/", "/", ".", "~")) and not Path(model).exists()


def is_served(model: str) -> bool:
    """Whether a name can only be that of one of Inspect's providers and a model."""
    return may_be_served(model) and model.partition("/")[0] in SERVED


@contextmanager
def loading(model: str, why: str) -> Iterator[None]:
    """Wrap the loading of a model in this process: if the name may be a served model's, say why that cannot be used.

    Args:
        model: Its name.
        why: A sentence.

    Raises:
        UserError: It can only be a served one.
        UntrueError: What the loading raises, with the sentence where Inspect has such a provider.
    """
    if is_served(model):
        raise UserError(f"{model}: {why}")
    try:
        yield
    except UntrueError as error:
        if may_be_served(model) and _has_provider(model):
            raise type(error)(f"{error} If a served model is meant: {why}") from None
        raise


def _has_provider(model: str) -> bool:
    try:
        return served_model(model) is not None
    except UserError:  # there is one, but it lacks a key
        return True


def named_model(name: str, **arguments: Any) -> Model:
    """A model of its own of any of Inspect's providers.

    Args:
        name: The model, as Inspect names it.
        **arguments: Further arguments of `get_model`.

    Raises:
        Exception: There is no such provider, or something that it needs is missing.
    """
    from inspect_ai.model import ModelInfo, get_model, set_model_info

    model = get_model(name, memoize=False, **arguments)
    if name.startswith("hf/"):  # Inspect looks up the context length, and would load a model that it does not know
        config = getattr(getattr(model.api, "model", None), "config", None)
        set_model_info(str(model), ModelInfo(context_length=getattr(config, "max_position_embeddings", None)))
    return model


def served_model(model: str) -> Model | None:
    """Inspect's model of a name; None where Inspect has no such provider, so that it is a hub id.

    Raises:
        UserError: Something that the provider needs is missing.
    """
    try:
        return named_model(model)
    except UntrueError:
        raise
    except Exception as error:  # no such provider, no key, a package that is not installed
        reason = one_line(error)
        if "not recognized" in reason:
            return None
        raise UserError(
            f"{model}: Inspect cannot call it ({reason}). If it is a hub id to be loaded here: --model untrue/{model}."
        ) from None


def serving_name(model: str, adapter: Path) -> str:
    """What to ask Inspect for, so that a server can have no other adapter under the same name.

    `vllm/BASE` becomes `vllm/BASE:FOLDER`, and a vLLM server loads an adapter under the name of its folder. So the
    folder is a link in the user's cache that is named by the adapter's content: one that was trained again is another.
    Other names are as they were: there the adapter has its name on the server already.

    Raises:
        UserError: The folder holds no adapter.
        MachineError: The link cannot be made.
    """
    provider, _, rest = model.partition("/")
    if provider != "vllm" or ":" in rest:
        return model
    link = user_cache_path("untrue") / "adapters" / adapter_hash(adapter)
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.resolve() != adapter.resolve():  # none yet, or the folder was moved since
            link.unlink(missing_ok=True)
            link.symlink_to(adapter.resolve(), target_is_directory=True)
    except OSError as error:
        raise MachineError(f"{link}: cannot be made ({error.strerror}).") from None
    return f"{model}:{link}"


def prove(name: str, expected: Fingerprint) -> Proof:
    """Ask a served model the fingerprint prompts and say whose weights answer.

    Args:
        name: The model, as Inspect names it.
        expected: The fingerprint of the adapter that it should have.

    Raises:
        UserError: There is no such provider, or something that it needs is missing.
        MachineError: It cannot be asked.
    """
    model = served_model(name)  # made anew, since its connections end with this loop
    if model is None:
        raise UserError(f"{name}: Inspect has no such provider. Name the model as Inspect does, such as vllm/BASE.")
    return fingerprint.whose(expected, asyncio.run(_first_tokens(model)))


async def reply(model: Model, messages: Sequence[ChatMessage], config: GenerateConfig) -> ModelOutput:
    """What a model replies, or an error with the reason of its server alone.

    Raises:
        RuntimeError: The provider says that it failed, or that its server has no room for the messages.
    """
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


async def _first_tokens(model: Model) -> list[dict[str, float]]:
    from inspect_ai.model import GenerateConfig

    # At temperature 1 the log-probabilities are the model's own, whether a server gives them before or after it. (vLLM
    # gives them before it by default, and then also at 0, where the likeliest token is drawn; others may not.)
    config = GenerateConfig(temperature=1.0, top_p=1.0, max_tokens=1, logprobs=True, top_logprobs=ASKED, max_retries=1)
    first_tokens = []
    for prompt in PROMPTS:
        try:
            output = await model.generate(prompt, config=config)
        except Exception as error:  # providers raise what they like
            raise MachineError(f"{model}: cannot be asked ({one_line(cause(error))}).") from None
        logprobs = output.choices[0].logprobs if output.choices else None
        likeliest = (logprobs.content[0].top_logprobs or []) if logprobs and logprobs.content else []
        first_tokens.append(fingerprint.named([(token.token, token.logprob) for token in likeliest]))
    return first_tokens
