"""What judgements cost, before any is asked for.

Prices are those that the user gave Inspect (`--model-cost-config`, `set_model_cost`), else the few known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Price(NamedTuple):
    """US dollars a million tokens."""

    input: float
    output: float


class Estimate(NamedTuple):
    """What some judgements take.

    Attributes:
        calls: Calls of the judge, none of them a retry.
        input_tokens: Tokens that it reads.
        output_tokens: Tokens that it writes.
        dollars: What they cost; None where the price is not known.
    """

    calls: int
    input_tokens: int
    output_tokens: int
    dollars: float | None


PRICES = {
    "openai/gpt-5-mini": Price(0.25, 2.00),
    "openai/gpt-5-nano": Price(0.05, 0.40),
    "openai/gpt-5": Price(1.25, 10.00),
    "openai/gpt-4.1-mini": Price(0.40, 1.60),
    "openai/gpt-4.1": Price(2.00, 8.00),
    "openai/gpt-4o-mini": Price(0.15, 0.60),
    "openai/gpt-4o": Price(2.50, 10.00),
}
"""List prices of March 2026. A dated name such as `openai/gpt-5-mini-2025-08-07` has the price of the undated one."""

LOCAL = ("untrue", "hf", "vllm", "sglang", "ollama", "llama-cpp-python", "transformer_lens", "nnterp")
"""Providers on the user's own machines, which no one bills by the token."""

CHARACTERS = 4
"""Characters in a token of English, roughly."""

FORM_TOKENS = 45
"""Tokens that say what form the answer must have, and that the chat's own format takes."""

ANSWER_TOKENS = 35
"""Tokens of an answer: a short reason and a label."""

REASONING_TOKENS = 250
"""Tokens that a reasoning model thinks before it answers, roughly."""

REASONING = ("openai/gpt-5", "openai/o")
"""How the names of reasoning models with a known price begin."""


def price(model: str) -> Price | None:
    """The price of a model by its name, such as `openai/gpt-5-mini`, if it is known."""
    from inspect_ai.model import get_model_info

    if model.partition("/")[0] in LOCAL:
        return Price(0.0, 0.0)
    info = get_model_info(model)
    if info and info.cost:
        return Price(info.cost.input, info.cost.output)
    dated = [name for name in PRICES if model == name or model.startswith(f"{name}-20")]
    return PRICES[dated[0]] if dated else None


def dollars(model: str, input_tokens: float, output_tokens: float) -> float | None:
    """What tokens of a model cost, if its price is known."""
    found = price(model)
    return None if found is None else (input_tokens * found.input + output_tokens * found.output) / 1e6


def thinking(model: str) -> int:
    """Tokens that a model thinks before each answer, roughly."""
    return REASONING_TOKENS if model.startswith(REASONING) else 0


def estimate(model: str, questions: Iterable[str]) -> Estimate:
    """What the judgements on some questions would take, by rule of thumb: no model is loaded and nothing is asked.

    Args:
        model: The judge's name.
        questions: What it would be asked, as `JudgePrompt.text` gives it.
    """
    sizes = [len(question) / CHARACTERS + FORM_TOKENS for question in questions]
    each = ANSWER_TOKENS + thinking(model)
    read, written = round(sum(sizes)), each * len(sizes)
    return Estimate(len(sizes), read, written, dollars(model, read, written))
