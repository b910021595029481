"""Simulated users: their turns, written ones or those of an Inspect model."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, ModelOutput

from untrue.data.rows import Message
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError, cause, one_line
from untrue.files import derived_seed
from untrue.serving.client import reply
from untrue.simulate.environment import Dialogue
from untrue.thinking import without_thinking

T = TypeVar("T")

USER_TURN_MAX_TOKENS = 200

TIMEOUT_SECONDS = 120  # of an attempt to reach a remote model. A local model has none: requests queue there


def prompt_text(name: str) -> str:
    """A text of `prompts/`, with the names of its fields in braces."""
    return (Path(__file__).with_name("prompts") / f"{name}.txt").read_text("utf-8").removesuffix("\n")


# Ask a model that plays a user for its next message, and tell it who it is.
NEXT_TURN, PERSONA = prompt_text("next_turn"), prompt_text("persona")


def follow_up(dialogue: Dialogue, turn: int, seed: int) -> str:
    """The written turn of a user, counted from 0; the seed orders the follow-ups, and none comes twice."""
    if turn == 0:
        return dialogue.user.user_prompt
    written = list(getattr(dialogue.scenario.follow_ups, dialogue.kind))
    if turn > len(written):
        raise UserError(
            f"turns: the scenario {dialogue.scenario.id} has {len(written)} follow-ups, enough for"
            f" {len(written) + 1} turns. Lower `turns`, or let a model play the user (user=…)."
        )
    random.Random(derived_seed(seed, dialogue.id)).shuffle(written)
    return written[turn - 1]


async def next_turn(model: Model, dialogue: Dialogue, messages: Sequence[Message], seed: int) -> str:
    """Let a model write the user's next turn after these messages, which lack the system prompt."""

    def read(output: ModelOutput) -> str:
        text = without_thinking(output.completion).strip().removeprefix("User:").strip()
        if not text:
            raise ValueError("it wrote nothing")
        return text

    question = NEXT_TURN.format(conversation=transcript(messages))
    config = GenerateConfig(max_tokens=USER_TURN_MAX_TOKENS, temperature=1.0, seed=seed)
    return await ask(model, "user", persona(dialogue), question, [config, config], read)


def persona(dialogue: Dialogue) -> str:
    """The system prompt of a model that plays a user."""
    return PERSONA.format(person=dialogue.user.user_context, thought=dialogue.thought)


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
    """Ask a model until `read` does not raise ValueError, once with each of the settings in `attempts`."""
    remote = GenerateConfig(attempt_timeout=TIMEOUT_SECONDS, timeout=3 * TIMEOUT_SECONDS, max_retries=3)
    reasons = []
    for config in attempts:
        try:
            config = config if isinstance(model.api, UntrueAPI) else config.merge(remote)
            question = [ChatMessageSystem(content=system), ChatMessageUser(content=prompt)]
            return read(await reply(model, question, config))
        except Exception as error:  # whatever a provider raises
            reasons.append(one_line(cause(error)))
    raise UserError(f"the {role} {model.name} failed {len(reasons)} times: {'; then '.join(reasons)}.")
