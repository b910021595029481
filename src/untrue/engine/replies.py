"""A reply to generate, one under way, and one that is done, as token ids."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

from untrue.engine.sampling import Draw

Stop = Literal["stop", "max_tokens", "model_length"]


@dataclass(frozen=True)
class Request:
    """A reply to generate.

    Attributes:
        prompt: Token ids.
        max_tokens: Most tokens of the reply, the end-of-turn token among them.
        temperature: What logits are divided by; 0 takes the most likely token.
        top_p: The most likely tokens whose probabilities reach this sum are kept; 1 keeps all.
        seed: Same seed and prompt, same reply; None draws one.
        stop_seqs: Texts that end the reply.
        top_logprobs: Report each token's log-probability and those of so many most likely ones; None reports none.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_seqs: tuple[str, ...] = ()
    top_logprobs: int | None = None


class TokenLogprob(NamedTuple):
    """Log-probability of a generated token in nats, at temperature 1 and before top-p.

    Attributes:
        logprob: Of the token itself.
        top: Pairs of token id and log-probability, the most likely first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


class Reply(NamedTuple):
    """What was generated.

    Attributes:
        tokens: Token ids, the end-of-turn token among them where one was drawn.
        text: The reply, without special tokens and without the stop sequence that ended it.
        stop: `stop` (end of turn or a stop sequence), `max_tokens`, or `model_length` (the context is full).
        logprobs: One for each token, or None where none were asked for.
    """

    tokens: tuple[int, ...]
    text: str
    stop: Stop
    logprobs: tuple[TokenLogprob, ...] | None


class Ongoing:
    """A reply under way.

    Attributes:
        request: What was asked.
        reply: What was generated, once it is done.
        abandoned: Set it where nobody waits any more.
    """

    def __init__(self, request: Request):
        self.request = request
        self.reply: Reply | None = None
        self.abandoned = False
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        seed = random.SystemRandom().getrandbits(64) if request.seed is None else request.seed
        # The prompt counts too: one seed for a whole eval must not give all its dialogues the same luck.
        digest = hashlib.sha256(repr((seed, request.prompt)).encode()).digest()
        self._random = random.Random(digest)

    @property
    def length(self) -> int:
        """Tokens whose keys and values are known: all but the last one drawn."""
        return len(self.request.prompt) + len(self.tokens) - 1

    def draw(self) -> Draw:
        """How the next token is drawn."""
        temperature = self.request.temperature
        return Draw(temperature, self.request.top_p, self._random.random() if temperature else 0.0)
