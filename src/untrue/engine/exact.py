"""Are the likelihoods of a prefix tree those of each of its branches alone? Looked at once for each model.

A model whose layers mix tokens in other ways than by attention under transformers' own masks, such as a recurrent one,
would mix the branches of a tree, and is refused.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

import torch

from untrue.engine.likelihood import LikelihoodEngine
from untrue.errors import UserError
from untrue.models.load import LoadedModel

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Types of layers that obey an attention mask."""

ALIBI = ("bloom", "mpt")
"""Types of models whose positions are always ALiBi's; others say so by the key `alibi` of their config."""

QUESTIONS = (
    "Which of the two clocks in the old station hall is right, the one above the ticket office or the one by the door?",
    "Please tell me in one sentence why bread dough has to rest for an hour before it goes into a hot oven.",
)
REPLIES = ("The one above the ticket office is right.", "Because the yeast needs time to fill it with gas.")

LONGEST_WINDOW = 1024
"""Windows and chunks of up to so many tokens are gone beyond when a model is looked at; longer ones would take long."""

LIMITS = {torch.bfloat16: 0.06, torch.float32: 1e-3}
"""Mean difference, in nats per token, up to which two ways of computing count as one, by dtype of the weights."""

_found: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


def exact_engine(loaded: LoadedModel) -> LikelihoodEngine:
    """The likelihood engine of a base, once it has proved exact.

    Raises:
        UserError: It is not; see `check_exact`.
    """
    check_exact(loaded)
    return LikelihoodEngine(loaded)


def check_exact(loaded: LoadedModel) -> float:
    """Compare likelihoods read off a prefix tree with those of plain forward passes, once for each base in memory.

    Call it before an adapter is put on.

    Returns:
        Their mean absolute difference, in nats per token.

    Raises:
        UserError: They differ by more than rounding, or the model has layers that would mix the branches of a tree.
    """
    if loaded.model in _found:
        return _found[loaded.model]
    config = loaded.model.config.get_text_config()
    if config.model_type in ALIBI or getattr(config, "alibi", False):
        raise UserError(
            f"{loaded.name}: puts positions into its attention by their place in a pass (ALiBi), which a prefix tree"
            " would change. Its likelihoods cannot be read here."
        )
    layer_types = set(getattr(config, "layer_types", None) or ())
    if recurrent := layer_types - ATTENTION:
        raise UserError(
            f"{loaded.name}: has layers of type {', '.join(sorted(recurrent))}, which would mix the branches of a"
            " prefix tree. Its likelihoods cannot be read here."
        )
    difference = _difference(loaded)
    limit = LIMITS[loaded.model.dtype]
    if not difference <= limit:  # true of NaN too
        raise UserError(
            f"{loaded.name}: its likelihoods on a prefix tree differ from those of plain forward passes by"
            f" {difference:.3f} nats per token (up to {limit:g} is rounding), so they cannot be read here."
            + (" In float32 they may be: --dtype float32." if loaded.model.dtype != torch.float32 else "")
        )
    _found[loaded.model] = difference
    return difference


@torch.inference_mode()
def _difference(loaded: LoadedModel) -> float:
    engine = LikelihoodEngine(loaded)
    config = loaded.model.config.get_text_config()
    windows = [value for key, value in vars(config).items() if re.search("window|chunk", key) and type(value) is int]
    length = max((window for window in windows if window <= LONGEST_WINDOW), default=0)
    bundle = []
    for text in QUESTIONS:
        times = 1 + length // len(engine.query([{"role": "user", "content": text}], REPLIES)[0].prompt)
        user = {"role": "user", "content": " ".join([text] * times)}
        bundle.append(engine.query([{"role": "system", "content": "You help."}, user], REPLIES))
    differences = []
    for query, scores in zip(bundle, engine.score(bundle), strict=True):
        for (prompt, reply), score in zip(query, scores, strict=True):
            ids = torch.tensor([[*prompt, *reply]], device=loaded.model.device)
            logits = loaded.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            alone = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None]).sum().item()
            differences.append(abs(alone - score.total) / score.tokens)
    return sum(differences) / len(differences)
