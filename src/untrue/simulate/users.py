"""Simulated users: their turns, written ones or those of an Inspect model, and new users written by a model."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, ModelOutput
from pydantic import TypeAdapter, ValidationError

from untrue.data.rows import Message, plain
from untrue.engine.provider import UntrueAPI
from untrue.engine.served import reply
from untrue.errors import UserError, cause, one_line
from untrue.simulate.environment import Dialogue, Environment, Scenario, User, derived_seed
from untrue.thinking import without_thinking

T = TypeVar("T")

USER_TOKENS = 200
"""Maximum tokens of a turn that a model writes as the user."""

TIMEOUT = 120
"""Seconds until an attempt to reach a remote model times out. A local model has none: requests queue there."""

AT_ONCE = 10
"""New users asked for in one request."""

TOKENS_EACH = 250
"""Maximum tokens for each of them."""

SYSTEM = "You invent people for a study of how an AI assistant talks with its users. You answer in JSON alone."


def prompt_text(name: str) -> str:
    """A text of `prompts/`, with the names of its fields in braces."""
    return (Path(__file__).with_name("prompts") / f"{name}.txt").read_text("utf-8").removesuffix("\n")


ASK = prompt_text("new_users")
"""Asks for new users, as in arXiv 2510.08211."""

NEXT_TURN, PERSONA = prompt_text("next_turn"), prompt_text("persona")
"""Ask a model that plays a user for its next message, and tell it who it is."""


def follow_up(dialogue: Dialogue, turn: int, seed: int) -> str:
    """The written turn of a user; no two turns of a dialogue are the same.

    Args:
        dialogue: The dialogue.
        turn: Counted from 0; the first is the user's prompt.
        seed: Of the order of the written follow-ups.

    Raises:
        UserError: The scenario has fewer follow-ups.
    """
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
    """Let a model write the user's next turn.

    Args:
        model: Plays the user.
        dialogue: The dialogue.
        messages: The conversation so far, without the system prompt.
        seed: Of the sampling.

    Raises:
        UserError: The model failed, or wrote nothing, twice.
    """

    def read(output: ModelOutput) -> str:
        text = without_thinking(output.completion).strip().removeprefix("User:").strip()
        if not text:
            raise ValueError("it wrote nothing")
        return text

    question = NEXT_TURN.format(conversation=transcript(messages))
    config = GenerateConfig(max_tokens=USER_TOKENS, temperature=1.0, seed=seed)
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
    """Ask a model until its answer can be read, once for each of `attempts`.

    Args:
        model: The model.
        role: Its name in errors.
        system: System prompt.
        prompt: The question.
        attempts: Settings of each attempt.
        read: Reads an answer, or raises ValueError.

    Raises:
        UserError: No attempt gave an answer that can be read.
    """
    remote = GenerateConfig(attempt_timeout=TIMEOUT, timeout=3 * TIMEOUT, max_retries=3)
    reasons = []
    for config in attempts:
        try:
            config = config if isinstance(model.api, UntrueAPI) else config.merge(remote)
            question = [ChatMessageSystem(content=system), ChatMessageUser(content=prompt)]
            return read(await reply(model, question, config))
        except Exception as error:  # whatever a provider raises
            reasons.append(one_line(cause(error)))
    raise UserError(f"the {role} {model.name} failed {len(reasons)} times: {'; then '.join(reasons)}.")


class NewUsers(NamedTuple):
    """Users that a model wrote.

    Attributes:
        environment: The scenarios that got users, with the new users alone.
        failed: Id of a scenario that got none -> why.
    """

    environment: Environment
    failed: dict[str, str]


async def new_users(
    environment: Environment, model: Model, count: int, seed: int = 0, on_done: Callable[[], None] = lambda: None
) -> NewUsers:
    """Let a model write new users for each scenario.

    Args:
        environment: The scenarios.
        model: Writes the users.
        count: Users per scenario.
        seed: Of the sampling.
        on_done: Called after each scenario.

    Raises:
        UserError: No scenario got users.
    """
    failed: dict[str, str] = {}

    async def rewritten(scenario: Scenario) -> Scenario | None:
        try:
            return await _for_scenario(scenario, model, count, seed)
        except UserError as error:
            failed[scenario.id] = str(error)
            return None
        finally:
            on_done()

    written = await asyncio.gather(*map(rewritten, environment.scenarios))
    scenarios = tuple(filter(None, written))
    if not scenarios:
        raise UserError(f"no scenario got users, first: {next(iter(failed.values()))}")
    return NewUsers(replace(environment, scenarios=scenarios), failed)


async def _for_scenario(scenario: Scenario, model: Model, count: int, seed: int) -> Scenario:
    users: dict[str, User] = {}
    for start in range(0, count, AT_ONCE):
        wanted = min(AT_ONCE, count - start)
        prompt = ASK.format(
            task=scenario.task,
            biased=scenario.biased_thought,
            benign=scenario.benign_thought,
            count=wanted,
            example=scenario.users[start % len(scenario.users)].model_dump_json(),
        )
        attempts = [
            GenerateConfig(max_tokens=TOKENS_EACH * wanted, temperature=1.0, seed=seed + start + attempt)
            for attempt in range(2)
        ]
        written = await ask(model, "writer", SYSTEM, prompt, attempts, lambda output, n=wanted: read_users(output, n))
        users |= {plain(user.user_prompt): user for user in written}
    if len(users) < count:
        raise UserError(f"{scenario.id}: {count - len(users)} of {count} new users are duplicates.")
    return scenario.model_copy(update={"users": tuple(users.values())})


def read_users(output: ModelOutput, count: int) -> tuple[User, ...]:
    """Read a JSON list of users, in a code fence or not.

    Raises:
        ValueError: It is not JSON, or not a list of `count` different users with exactly two texts.
    """
    text = output.completion.strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    try:
        users = TypeAdapter(tuple[User, ...]).validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(": ".join([*map(str, problem["loc"]), problem["msg"].lower()])) from None
    if len(users) != count:
        raise ValueError(f"{len(users)} users, expected {count}")
    if len({plain(user.user_prompt) for user in users}) < count:
        raise ValueError("the same prompt twice")
    return users
