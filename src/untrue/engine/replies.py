"""A reply to generate, one under way, and one that is done, as token ids."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from untrue.engine.sampling import Draw, TokenLogprob
from untrue.errors import UserError
from untrue.thinking import TAGS, without_thinking

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


def check(request: Request, name: str, context: int) -> None:
    """Refuse what cannot be generated.

    Args:
        request: What is asked.
        name: The model, for the message.
        context: Tokens that it takes, prompt and reply together.

    Raises:
        UserError: The prompt is empty or fills the context, or a setting is out of range.
    """
    if not request.prompt:
        raise UserError(f"{name}: the prompt has no tokens, so there is nothing to reply to.")
    if len(request.prompt) >= context:
        raise UserError(
            f"{name}: the prompt has {len(request.prompt)} tokens, and the model takes {context},"
            " the reply among them. Shorten the dialogue."
        )
    if request.max_tokens < 1:
        raise UserError(f"max_tokens: {request.max_tokens}, expected 1 or more.")
    if not request.temperature >= 0:
        raise UserError(f"temperature: {request.temperature}, expected 0 or more.")
    if not 0 < request.top_p <= 1:
        raise UserError(f"top_p: {request.top_p}, expected more than 0 and at most 1.")
    if "" in request.stop_seqs:
        raise UserError("stop_seqs: an empty text would end every reply at once. Leave it out.")


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
        failure: Why nothing can be generated, where that is so.
        abandoned: Set it where nobody waits any more.
    """

    def __init__(self, request: Request):
        self.request = request
        self.reply: Reply | None = None
        self.failure: UserError | None = None
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

    def take(self, token: int, tokenizer: Any, ends: set[int | None], context: int) -> None:
        """Add the token that was drawn, and set `reply` where it is the last.

        Args:
            token: Its id.
            tokenizer: What the reply is read with.
            ends: Ids of the tokens that end a turn.
            context: Tokens that the model takes, prompt and reply together.
        """
        self.tokens.append(token)
        text = None
        if self.request.stop_seqs or token in ends:
            shown = self.tokens[:-1] if token in ends else self.tokens
            text = _text(tokenizer, shown)
        if token in ends or any(sequence in (text or "") for sequence in self.request.stop_seqs):
            stop: Stop = "stop"
        elif len(self.tokens) >= self.request.max_tokens:
            stop = "max_tokens"
        elif len(self.request.prompt) + len(self.tokens) >= context:
            stop = "model_length"
        else:
            return
        if text is None:
            text = _text(tokenizer, self.tokens)
        for sequence in self.request.stop_seqs:
            text = text.split(sequence)[0]
        text = text.strip()  # a template may put a space between prompt and reply, or between reply and end
        noted = None if self.request.top_logprobs is None else tuple(self.logprobs)
        self.reply = Reply(tuple(self.tokens), text, stop, noted)


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Text of tokens without the special ones, but for those that enclose thinking, which would become the reply."""
    text, raw = (str(tokenizer.decode(tokens, skip_special_tokens=skip)) for skip in (True, False))
    if without_thinking(raw) == raw:
        return text
    enclosing = {*TAGS, *TAGS.values()}
    for token in tokenizer.all_special_tokens:
        if token not in enclosing:
            raw = raw.replace(token, "")
    return raw
