"""Models of Inspect's other providers, and the proof that a server answers with the expected adapter."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from platformdirs import user_cache_path

from untrue.errors import MachineError, UntrueError, UserError, cause, one_line
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash, is_adapter
from untrue.models.fingerprint import ASKED, PROMPTS, Fingerprint, Proof
from untrue.secrets import without_secrets

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput

    from untrue.models.load import LoadedModel


SERVED = ("vllm", "sglang", "hf", "openai-api", "anthropic", "azureai", "bedrock", "ollama", "openrouter")
"""Inspect's providers whose names nobody takes for the owner of a model on the hub, as one may `openai`."""

NO_ANSWER = (OSError, HTTPException, ValueError, LookupError, TypeError)
"""What is raised where no server answers, or what answers is none, or its address is no address."""


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
        if may_be_served(model) and has_provider(model):
            raise type(error)(f"{error} If a served model is meant: {why}") from None
        raise


def has_provider(model: str) -> bool:
    """Whether Inspect has the provider that a name may begin with, be it that something which it needs is missing."""
    try:
        return served_model(model) is not None
    except UserError:  # there is one, but it lacks a key
        return True


def is_asked_of_server(model: str) -> bool:
    """Whether a name is that of one of Inspect's providers and a model, and not a hub id."""
    return is_served(model) or (may_be_served(model) and has_provider(model))


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


def served_model(model: str, **arguments: Any) -> Model | None:
    """Inspect's model of a name; None where Inspect has no such provider, so that it is a hub id.

    Args:
        model: The name.
        **arguments: Further arguments of `get_model`.

    Raises:
        UserError: Something that the provider needs is missing.
    """
    try:
        return named_model(model, **arguments)
    except UntrueError:
        raise
    except Exception as error:  # no such provider, no key, a package that is not installed
        reason = one_line(error)
        if "not recognized" in reason:
            return None
        raise UserError(
            f"{model}: Inspect cannot call it ({reason}). If it is a hub id to be loaded here: --model untrue/{model}."
        ) from None


@dataclass
class Served:
    """A served model that may be asked.

    Attributes:
        model: As a person names it, without its adapter where a server has any under its hash.
        name: What Inspect is asked for.
        adapter: What a log says of its adapter: `content_hash`, whose weights answered (`served`), and the `reason`.
            Empty where none was named.
    """

    model: str
    name: str
    adapter: dict[str, str]
    _unused: Model | None = None

    def connect(self, seed: int | None = None) -> Model:
        """Inspect's model, which is made anew each time: its connections end with the loop in which it is asked.

        Args:
            seed: Of its replies; None leaves them to chance.
        """
        from inspect_ai.model import GenerateConfig

        if seed is not None:
            return named_model(self.name, config=GenerateConfig(seed=seed))
        unused, self._unused = self._unused, None
        return unused or named_model(self.name)


def with_folder(model: str, adapter: Path | None = None) -> tuple[str, Path | None]:
    """A model's name and the folder of its adapter, which may be a part of the name: `vllm/BASE:adapters/mine`.

    Args:
        model: The name.
        adapter: The folder, where it is given apart.

    Raises:
        UserError: Both name one.
    """
    base, _, folder = model.partition(":")
    if not folder or not takes_adapters(base) or not is_adapter(Path(folder)):
        return model, adapter
    if adapter:
        raise UserError(f"{model}: names an adapter, and {adapter} is given besides. Leave one of them out.")
    return base, Path(folder)


def takes_adapters(model: str) -> bool:
    """Whether any adapter can be asked for beside the name of the model: `vllm/BASE`, and not `vllm/BASE:NAME`."""
    provider, _, base = model.partition("/")
    return provider == "vllm" and ":" not in base and may_be_served(model)


def served(
    model: str,
    adapter: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    unproved: bool = False,
    **arguments: Any,
) -> Served | None:
    """A served model, once its server has proved that it answers with the adapter; None for what is no served model.

    Args:
        model: Its name.
        adapter: Folder of the adapter, or None.
        say: Called with a line on what was proved.
        unproved: Whether it may be asked though nothing can be proved. `Served.adapter` says so.
        **arguments: Of Inspect's model, such as `base_url`.

    Raises:
        UserError: It answers with other weights, or that cannot be told.
        MachineError: It cannot be asked.
    """
    unused = served_model(model, **arguments)
    if unused is None:
        return None
    if adapter is None:
        return Served(model, model, {}, unused)
    if model.startswith("hf/"):
        raise UserError(f"--adapter: {model} takes none. Leave `hf/` out, and it goes on the model in this process.")
    name = serving_name(model, adapter, arguments.get("base_url"))
    [expected] = fingerprint.of([adapter], say=say)
    proof = prove(name, expected, **arguments)
    vouch = "leave the adapter out and name what the server has, which you then vouch for yourself."
    if proof.weights in ("base", "other"):
        whose = "its base, without it" if proof.weights == "base" else "other weights"
        raise UserError(
            f"{model}: does not answer with the adapter {adapter} but with {whose} ({proof.reason}). Load it there"
            f" again, under a new name. If other precision or another chat template is meant, {vouch}"
        )
    if proof.weights == "unknown" and not unproved:
        raise UserError(
            f"{model}: it cannot be told whether it answers with the adapter {adapter} ({proof.reason}). Where that"
            f" cannot be helped, {vouch}"
        )
    answers = "answers with the adapter" if proof.weights == "adapter" else "may or may not answer with the adapter"
    say(f"{model}: {answers} {adapter} ({proof.reason}).")
    about = {"content_hash": adapter_hash(adapter), "served": proof.weights, "reason": proof.reason}
    return Served(model, name, about)


def proved(
    model: str,
    adapter: Path | None,
    base: LoadedModel | None,
    say: Callable[[str], None] = lambda text: None,
    unproved: bool = False,
) -> Served:
    """A served base or an adapter on it, once its server has answered as that does here.

    Where `unproved`, a base whose server gives no log-probabilities may be asked: then nothing is proved of its
    adapters either, and that is said of each.

    Args:
        model: `vllm/BASE`.
        adapter: Folder of the adapter, or None for the base itself.
        base: The base in memory; it may be None where there is an adapter.
        say: Called with a line on what was proved.
        unproved: Whether it may be asked though nothing can be proved; see `served`.

    Raises:
        UserError: It answers with other weights, that cannot be told, or something that Inspect needs is missing.
        MachineError: It cannot be asked.
    """
    if adapter:
        if base and fingerprint.read(adapter, fingerprint.of_base(base)) is None:
            fingerprint.record(base, adapter)
        found = served(model, adapter, say, unproved)
        assert found, "vLLM is one of Inspect's providers"
        return found
    assert base, "a base is compared with itself in memory"
    proof = fingerprint.whose_base(base, _asked(model))
    if proof.weights == "other":
        raise UserError(
            f"{model}: does not answer as {base.name} does here ({proof.reason}). Serve this very model, with the chat"
            " template that it has here."
        )
    if proof.weights == "unknown" and not unproved:
        raise UserError(
            f"{model}: nobody can tell whether it is {base.name} ({proof.reason}). Use a server that gives"
            " log-probabilities, or run.eval.engine=untrue."
        )
    return Served(model, model, {})


def check_server(model: str, start: Callable[[], str]) -> None:
    """Check that the server at VLLM_BASE_URL has a base, before anything is spent.

    Args:
        model: `vllm/BASE`.
        start: Says how such a server is started.

    Raises:
        UserError: There is no address, or the server has other models.
        MachineError: Nothing answers there.
    """
    address, base = os.environ.get("VLLM_BASE_URL"), model.removeprefix("vllm/")
    if not address:
        raise UserError(f"{model}: VLLM_BASE_URL names no server. {start()}")
    shown = without_secrets(address)
    try:
        names = _listed(address)
    except NO_ANSWER as error:
        raise MachineError(f"{shown}: no vLLM server answers ({one_line(error)}). {start()}") from None
    if base not in names:
        raise UserError(f"{shown}: serves {', '.join(names[:3]) or 'nothing'}, and not {base}. {start()}")


def serving_name(model: str, adapter: Path, base_url: str | None = None) -> str:
    """What to ask Inspect for, so that a server can have no other adapter under the same name.

    A vLLM server has it under the hash of its content. One that was started so, by the command of `engine.vllm`, is
    asked for `vllm/BASE:HASH`. Another one loads it under the name of its folder, which is a link of that name in the
    user's cache. So one that was trained again has another name. Other names are as they were: there the adapter has
    its name on the server already.

    Args:
        model: The name without the adapter.
        adapter: The folder.
        base_url: Of the server; by default what VLLM_BASE_URL says.

    Raises:
        UserError: The folder holds no adapter.
        MachineError: The link cannot be made.
    """
    if not takes_adapters(model):
        return model
    content = adapter_hash(adapter)
    if content in _names(base_url or os.environ.get("VLLM_BASE_URL")):
        return f"{model}:{content}"
    link = user_cache_path("untrue") / "adapters" / content
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.resolve() != adapter.resolve():  # none yet, or the folder was moved since
            link.unlink(missing_ok=True)
            link.symlink_to(adapter.resolve(), target_is_directory=True)
    except OSError as error:
        raise MachineError(f"{link}: cannot be made ({error.strerror}).") from None
    return f"{model}:{link}"


def _names(base_url: str | None) -> list[str]:
    """The names of the models that a vLLM server has; none where there is no server, which is found out when asked."""
    if not base_url:
        return []
    try:
        return _listed(base_url)
    except NO_ANSWER:
        return []


def _listed(base_url: str) -> list[str]:
    key = {"Authorization": f"Bearer {os.environ.get('VLLM_API_KEY', 'none')}"}
    with urlopen(Request(f"{base_url.rstrip('/').removesuffix('/v1')}/v1/models", headers=key), timeout=30) as page:
        return [str(model["id"]) for model in json.load(page)["data"]]


def prove(name: str, expected: Fingerprint, **arguments: Any) -> Proof:
    """Ask a served model the fingerprint prompts and say whose weights answer.

    Args:
        name: The model, as Inspect names it.
        expected: The fingerprint of the adapter that it should have.
        **arguments: Of Inspect's model, such as `base_url`.

    Raises:
        UserError: There is no such provider, or something that it needs is missing.
        MachineError: It cannot be asked.
    """
    return fingerprint.whose(expected, _asked(name, **arguments))


def _asked(name: str, **arguments: Any) -> fingerprint.FirstTokens:
    """How a served model begins its replies to the fingerprint prompts."""
    model = served_model(name, **arguments)  # made anew, since its connections end with this loop
    if model is None:
        raise UserError(f"{name}: Inspect has no such provider. Name the model as Inspect does, such as vllm/BASE.")
    return asyncio.run(_first_tokens(model))


def refuse_no_base(model: str, adapter: Path, say: Callable[[str], None]) -> None:
    """Refuse a served base that answers as no base of an adapter does: the two could not be compared.

    Raises:
        UserError: It answers with the adapter, or with other weights.
        MachineError: It cannot be asked.
    """
    [expected] = fingerprint.of([adapter], say=say)
    proof = prove(model, expected)
    if proof.weights in ("adapter", "other"):
        whose = "it" if proof.weights == "adapter" else "other weights"
        raise UserError(
            f"{model}: should answer as the base of the adapter {adapter}, and answers with {whose} ({proof.reason})."
            " Name the base that the server has."
        )


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
