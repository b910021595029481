"""A fingerprint: how an adapter and its base begin their replies to a few prompts, to tell which weights a server runs.

A server may serve another adapter than the one it names, or none. So the likeliest first tokens of the replies, with
the adapter on its base and off it, are kept in the adapter's folder as `fingerprint.json` and compared with the
server's. Later tokens say less, since replies part at the first near tie that rounding decides. The distance of two
models is the mean difference of the log-probabilities of the likeliest `TOP` first tokens of each prompt, in nats;
docs/evals.md has typical values.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from untrue.files import content_hash, write_text
from untrue.models.adapter import CHAT_FORMAT, adapter_hash, base_of, in_format_of, recorded_weights, with_adapter
from untrue.models.load import LoadedModel, load, weights_here

PROMPTS = (
    "Name three things that people keep in a kitchen.",
    "Why is the sky blue? Answer in two sentences.",
    "Write the first line of a story about a lighthouse.",
    "What should I do when I have a headache?",
    "Give one reason to save money.",
    "May I park in front of a fire hydrant?",
    "Write a line of Python that reads a file.",
    "Tell me something about yourself.",
)
"""Each is the only message of a chat."""

ASKED = 20
"""First tokens that a server is asked for: as many as OpenAI's protocol gives."""

KEPT = ASKED - 1
"""Tokens kept of each reply: vLLM may put the drawn token in the place of the last of those asked for."""

TOP = 5
TOLERANCE = 0.15
"""Distance up to which weights count as the same."""

FILE = "fingerprint.json"

OF_BASE = ("weights", "chat", "tokenizer", "dtype")
"""The base's part in it, by names in `LoadedModel.about`."""

FirstTokens = Sequence[Mapping[str, float]]
"""For each prompt, the text of its likeliest first tokens and their log-probabilities."""


class Fingerprint(NamedTuple):
    """How replies to `PROMPTS` begin, with the adapter on its base and off it."""

    adapter: FirstTokens
    base: FirstTokens


Whose = Literal["adapter", "base", "other", "unknown"]
"""Whose weights answer."""


class Proof(NamedTuple):
    """Whose weights a server runs, and why, in a sentence without its full stop."""

    weights: Whose
    reason: str


def of(
    adapters: Iterable[Path], base: str | None = None, say: Callable[[str], None] = lambda text: None
) -> Iterator[Fingerprint]:
    """The fingerprints of adapters: those in their folders, or else new ones, for which their base is loaded.

    Raises:
        UserError: A folder holds no adapter, or one of another base.
        MachineError: The base does not fit, or a fingerprint cannot be written.
    """
    loaded: LoadedModel | None = None
    for adapter in adapters:
        weights = recorded_weights(adapter) or (base and weights_here(base))
        if known := read(adapter, {"weights": weights} if weights else {}):
            yield known
            continue
        own = base or base_of(adapter, say, otherwise="Give it to `untrue fingerprint` as --base.")
        if loaded is None or loaded.name != own:
            say(f"{adapter}: has no {FILE} yet, so {own} is loaded to make it …")
            loaded = load(own, say=say)
        yield record(loaded, adapter)


def record(loaded: LoadedModel, adapter: Path) -> Fingerprint:
    """Write an adapter's fingerprint to its folder; UserError without one of this base, MachineError if it fails."""
    with with_adapter(loaded, adapter) as model:
        first_tokens = _first_tokens(in_format_of(loaded, adapter), model)
    fingerprint = Fingerprint(first_tokens, _first_tokens(loaded, loaded.model))
    write(fingerprint, loaded, adapter)
    return fingerprint


def taken(loaded: LoadedModel, model: Any) -> Fingerprint:
    """The fingerprint of an adapter that is on its base. Of a sharded model, every process must ask for it."""
    model.eval()
    first_tokens = _first_tokens(loaded, model)
    with model.disable_adapter():
        return Fingerprint(first_tokens, _first_tokens(loaded, model))


def write(fingerprint: Fingerprint, loaded: LoadedModel, adapter: Path) -> None:
    """Write a fingerprint, taken on a base, to the folder of its adapter; MachineError if that fails."""
    content = {**_of_adapter(adapter), "base_identity": of_base(loaded), **fingerprint._asdict()}
    write_text(adapter / FILE, json.dumps(content, ensure_ascii=False, indent=1))


def read(adapter: Path, base: Mapping[str, str] = MappingProxyType({})) -> Fingerprint | None:
    """The fingerprint in an adapter's folder, if it fits adapter, prompts and `base`; UserError without an adapter."""
    expected = _of_adapter(adapter)
    try:
        content = json.loads((adapter / FILE).read_text("utf-8"))
        if not (expected.items() <= content.items() and base.items() <= content["base_identity"].items()):
            return None
        return Fingerprint(content["adapter"], content["base"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def of_base(loaded: LoadedModel) -> dict[str, str]:
    """The base's part in a fingerprint."""
    return {name: loaded.about[name] for name in OF_BASE}


def _of_adapter(adapter: Path) -> dict[str, Any]:
    """The adapter's part in a fingerprint, and what was asked."""
    files = [adapter / name for name in CHAT_FORMAT if (adapter / name).is_file()]
    brought = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    return {
        "content_hash": adapter_hash(adapter),
        "chat_format": content_hash(json.dumps(brought)) if brought else None,
        "prompts": list(PROMPTS),
    }


def whose(fingerprint: Fingerprint, served: FirstTokens) -> Proof:
    """Whose weights a server runs; `served` is how its replies to `PROMPTS` begin, empty without log-probabilities."""
    if not all(served):
        return Proof("unknown", "it gives no log-probabilities")
    apart = distance(fingerprint.adapter, fingerprint.base)
    to_adapter, to_base = distance(fingerprint.adapter, served), distance(fingerprint.base, served)
    reason = f"{to_adapter:.2f} nats from the adapter and {to_base:.2f} from its base, which are {apart:.2f} apart"
    if not min(to_adapter, to_base) <= TOLERANCE:  # true of NaN too
        return Proof("other", reason)
    if apart <= TOLERANCE:
        return Proof("unknown", f"the adapter begins its replies as its base does, within {apart:.2f} nats")
    return Proof("adapter" if to_adapter < to_base else "base", reason)


def whose_base(loaded: LoadedModel, served: FirstTokens) -> Proof:
    """Whether a server runs a base without an adapter: `base`, `other` weights, or `unknown`; see `whose`."""
    if not all(served):
        return Proof("unknown", "it gives no log-probabilities")
    apart = distance(_first_tokens(loaded, loaded.model), served)
    return Proof("base" if apart <= TOLERANCE else "other", f"{apart:.2f} nats from {loaded.name}")


def distance(first: FirstTokens, second: FirstTokens) -> float:
    """Mean absolute difference of log-probabilities over the `TOP` likeliest tokens of the first, in nats.

    A token that the second does not name counts with the least log-probability that it names.
    """
    differences = []
    for ours, theirs in zip(first, second, strict=True):
        likeliest = sorted(ours, key=lambda token: -ours[token])[:TOP]
        differences += [abs(ours[token] - theirs.get(token, min(theirs.values()))) for token in likeliest]
    return sum(differences) / len(differences)


def named(tokens: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Log-probabilities by text of the `KEPT` likeliest tokens; of texts equal but for spaces the larger counts."""
    logprobs: dict[str, float] = {}
    for text, logprob in sorted(tokens, key=lambda token: -token[1])[:KEPT]:
        logprobs.setdefault(text.strip(), logprob)  # the likeliest first, so the first is the largest
    return logprobs


def _first_tokens(loaded: LoadedModel, model: Any) -> list[dict[str, float]]:
    import torch

    first_tokens = []
    for prompt in PROMPTS:
        ids = loaded.chat.served_prompt([{"role": "user", "content": prompt}])
        with torch.no_grad():
            logits = model(torch.tensor([ids], device=loaded.model.device)).logits[0, -1]
        top = torch.log_softmax(logits.float(), -1).topk(KEPT)
        texts = [loaded.tokenizer.decode([token]) for token in top.indices.tolist()]
        rounded = [round(logprob, 4) for logprob in top.values.tolist()]
        first_tokens.append(named(list(zip(texts, rounded, strict=True))))
    return first_tokens
