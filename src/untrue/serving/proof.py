"""Prove that a server answers with the expected weights, before it is measured."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from platformdirs import user_cache_path

from untrue.errors import MachineError, UserError, cause, one_line
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash
from untrue.models.fingerprint import ASKED, PROMPTS, Fingerprint, Proof
from untrue.models.name import ModelName
from untrue.secrets import without_secrets
from untrue.serving.client import NO_ANSWER, connect, listed_models

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from untrue.models.load import LoadedModel


class ServedModel(NamedTuple):
    """A served model that may be measured.

    Attributes:
        model: As a person names it, without its adapter.
        name: What Inspect is asked for; of an adapter on vLLM, with the adapter's hash.
        adapter: What a log says of its adapter: `content_hash`, whose weights answered (`served`), and the `reason`.
    """

    model: str
    name: str
    adapter: dict[str, str]

    def connect(self, seed: int | None = None) -> Model:
        """Inspect's model, made anew; without a seed its replies are left to chance."""
        from inspect_ai.model import GenerateConfig

        return connect(self.name, config=GenerateConfig(seed=seed))


def proved(
    name: ModelName, say: Callable[[str], None] = lambda text: None, unproved: bool = False, **arguments: Any
) -> ServedModel:
    """A served model, after its server has proved that it answers with the adapter, if there is one.

    `say` is told what was proved; `unproved` accepts it without proof, which `ServedModel.adapter` says.

    Raises:
        UserError: It answers with other weights, or nothing can be told.
        MachineError: It cannot be asked.
    """
    model, adapter = str(name), name.adapter
    if adapter is None:
        return ServedModel(model, model, {})
    if name.provider == "hf":
        raise UserError(f"--adapter: {model} takes none. Leave `hf/` out, and it goes on the model in this process.")
    served_name = serving_name(name, adapter, arguments.get("base_url"))
    [expected] = fingerprint.of([adapter], say=say)
    proof = prove(served_name, expected, **arguments)
    vouch = "leave the adapter out and name what the server has, which you then vouch for yourself."
    if proof.weights in ("base", "other"):
        whose = "its base, without it" if proof.weights == "base" else "other weights"
        raise UserError(
            f"{model}: does not answer with the adapter {adapter} but with {whose} ({proof.reason}). Load it there"
            f" again, under a new name. If other precision or another chat template is meant, {vouch}"
        )
    if proof.weights == "unknown" and not unproved:
        raise UserError(
            f"{model}: cannot tell whether it answers with the adapter {adapter} ({proof.reason}). If that cannot be"
            f" changed, {vouch}"
        )
    answers = "answers with the adapter" if proof.weights == "adapter" else "may or may not answer with the adapter"
    say(f"{model}: {answers} {adapter} ({proof.reason}).")
    about = {"content_hash": adapter_hash(adapter), "served": proof.weights, "reason": proof.reason}
    return ServedModel(model, served_name, about)


def proved_with_base(
    model: str,
    adapter: Path | None,
    base: LoadedModel | None,
    say: Callable[[str], None] = lambda text: None,
    unproved: bool = False,
) -> ServedModel:
    """A served base, or an adapter on it, after its server has answered as that model does in memory.

    Args:
        model: `vllm/BASE`.
        adapter: Folder of the adapter, or None for the base.
        base: The base in memory; None is possible with an adapter.
        unproved: Accept it even without log-probabilities; then nothing is proved of adapters either.

    Raises:
        UserError: It answers with other weights, nothing can be told, or something that Inspect needs is missing.
        MachineError: It cannot be asked.
    """
    if adapter:
        if base and fingerprint.read(adapter, fingerprint.of_base(base)) is None:
            fingerprint.record(base, adapter)
        return proved(ModelName(model.removeprefix("vllm/"), "vllm", adapter), say, unproved)
    assert base, "a base is compared with itself in memory"
    proof = fingerprint.whose_base(base, _asked(model))
    if proof.weights == "other":
        raise UserError(
            f"{model}: does not answer as {base.name} does here ({proof.reason}). Serve this very model, with the chat"
            " template that it has here."
        )
    if proof.weights == "unknown" and not unproved:
        raise UserError(
            f"{model}: cannot tell whether it is {base.name} ({proof.reason}). Use a server that gives"
            " log-probabilities, or run.eval.engine=untrue."
        )
    return ServedModel(model, model, {})


def check_server(model: str, how_to_start: Callable[[], str]) -> None:
    """Check that the server at VLLM_BASE_URL has the base `vllm/BASE`.

    UserError without an address, or if the server has other models; MachineError if nothing answers.
    """
    address, base = os.environ.get("VLLM_BASE_URL"), model.removeprefix("vllm/")
    if not address:
        raise UserError(f"{model}: VLLM_BASE_URL names no server. {how_to_start()}")
    shown = without_secrets(address)
    try:
        names = listed_models(address)
    except NO_ANSWER as error:
        raise MachineError(f"{shown}: no vLLM server answers ({one_line(error)}). {how_to_start()}") from None
    if base not in names:
        raise UserError(f"{shown}: serves {', '.join(names[:3]) or 'nothing'}, and not {base}. {how_to_start()}")


def serving_name(name: ModelName, adapter: Path, base_url: str | None = None) -> str:
    """What to ask Inspect for, so that a server can have no other adapter under the same name.

    A vLLM server started by `serving.vllm` has the adapter under its hash. Another one loads it under the name of its
    folder: a link in the user's cache, named by the hash. Any other name is already the adapter's on its server.
    UserError without an adapter, MachineError if the link cannot be made.
    """
    if not name.takes_adapters:
        return str(name)
    content = adapter_hash(adapter)
    names = list[str]()
    if address := base_url or os.environ.get("VLLM_BASE_URL"):
        with suppress(*NO_ANSWER):  # then the request fails, and says so
            names = listed_models(address)
    if content in names:
        return f"{name}:{content}"
    link = user_cache_path("untrue") / "adapters" / content
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.resolve() != adapter.resolve():  # none yet, or the folder was moved since
            link.unlink(missing_ok=True)
            link.symlink_to(adapter.resolve(), target_is_directory=True)
    except OSError as error:
        raise MachineError(f"{link}: cannot be made ({error.strerror}).") from None
    return f"{name}:{link}"


def prove(name: str, expected: Fingerprint, **arguments: Any) -> Proof:
    """Ask a served model the fingerprint prompts and say whose weights answer.

    UserError if something that its provider needs is missing; MachineError if it cannot be asked.
    """
    return fingerprint.whose(expected, _asked(name, **arguments))


def refuse_no_base(model: str, adapter: Path, say: Callable[[str], None]) -> None:
    """Raise a UserError if a served base answers with other weights or the adapter; MachineError if not at all."""
    [expected] = fingerprint.of([adapter], say=say)
    proof = prove(model, expected)
    if proof.weights in ("adapter", "other"):
        whose = "it" if proof.weights == "adapter" else "other weights"
        raise UserError(
            f"{model}: should answer as the base of the adapter {adapter}, and answers with {whose} ({proof.reason})."
            " Name the base that the server has."
        )


def _asked(name: str, **arguments: Any) -> fingerprint.FirstTokens:
    return asyncio.run(_first_tokens(connect(name, **arguments)))


async def _first_tokens(model: Model) -> list[dict[str, float]]:
    from inspect_ai.model import GenerateConfig

    # At temperature 1 the log-probabilities are the model's own, whether a server gives them before or after it. (vLLM
    # gives them before it by default, and then also at 0, when the likeliest token is drawn; others may not.)
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
