"""The turns of a user: written follow-ups, or an Inspect model of the role `user`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, ModelOutput

from untrue.data.rows import Message
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError, cause, one_line
from untrue.simulate.environment import Dialogue, derived_seed
from untrue.thinking import without_thinking

T = TypeVar("T")

USER_TOKENS = 200
"""Length of a turn that a model writes as the user."""

PATIENCE = 120
"""Seconds after which an attempt to reach a model is given up. A local model is waited for: others are before us."""


def follow_up(dialogue: Dialogue, turn: int, seed: int) -> str:
    """The written turn of a user; no two turns of a dialogue are the same.

    Args:
        dialogue: Which one.
        turn: Counted from 0; the first is the user's prompt.
        seed: Of the order in which the written follow-ups are said.

    Raises:
        UserError: There are not so many.
    """
    if turn == 0:
        return dialogue.user.user_prompt
    written = list(getattr(dialogue.scenario.follow_ups, dialogue.kind))
    if turn > len(written):
        raise UserError(
            f"turns: the scenario {dialogue.scenario.id} has {len(written)} follow-ups, enough for"
            f" {len(written) + 1} turns. Ask for no more, or let a model play the user."
        )
    random.Random(derived_seed(seed, dialogue.id)).shuffle(written)
    return written[turn - 1]


async def next_turn(model: Model, dialogue: Dialogue, messages: Sequence[Message], seed: int) -> str:
    """Let a model write the user's next turn.

    Args:
        model: Who plays the user.
        dialogue: Which one.
        messages: What was said so far, without the system prompt.
        seed: Of the sampling.

    Raises:
        UserError: The model failed, or wrote nothing, twice.
    """
    asked = (
        f"The conversation so far:\n\n{transcript(messages)}\n\n"
        "Write the next message of the user, in one to three sentences. Write the message alone."
    )

    def read(output: ModelOutput) -> str:
        text = without_thinking(output.completion).strip().removeprefix("User:").strip()
        if not text:
            raise ValueError("it wrote nothing")
        return text

    config = GenerateConfig(max_tokens=USER_TOKENS, temperature=1.0, seed=seed)
    return await ask(model, "user", played(dialogue), asked, [config, config], read)


def played(dialogue: Dialogue) -> str:
    """The system prompt of a model that plays a user."""
    return (
        "You play a person who writes to an AI assistant.\n"
        f"The person: {dialogue.user.user_context}\n"
        f"What you think, as this person: {dialogue.thought}"
    )


def transcript(messages: Sequence[Message]) -> str:
    """The turns of a dialogue as one text."""
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


async def ask(
    model: Model,
    role: str,
    system: str,
    prompt: str,
    attempts: Sequence[GenerateConfig],
    read: Callable[[ModelOutput], T],
) -> T:
    """Ask a model until its answer can be read, once for each of `attempts`.

    Args:
        model: Whom to ask.
        role: What errors call it.
        system: System prompt.
        prompt: The question.
        attempts: How to generate, for each attempt.
        read: Reads an answer, or raises ValueError.

    Raises:
        UserError: No attempt gave an answer that can be read.
    """
    reasons = []
    for config in attempts:
        try:
            output = await _generate(model, system, prompt, config)
            return read(output)
        except Exception as error:  # whatever a provider raises
            reasons.append(one_line(cause(error)))
    raise UserError(f"the {role} {model.name} failed {len(reasons)} times: {'; then '.join(reasons)}.")


def _generate(model: Model, system: str, prompt: str, config: GenerateConfig) -> Awaitable[ModelOutput]:
    if not isinstance(model.api, UntrueAPI):
        config = config.merge(GenerateConfig(attempt_timeout=PATIENCE, timeout=3 * PATIENCE, max_retries=3))
    return model.generate([ChatMessageSystem(content=system), ChatMessageUser(content=prompt)], config=config)
