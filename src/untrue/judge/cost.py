"""What judgements cost, by the user's prices for Inspect (`--model-cost-config`), else by those here."""

from collections.abc import Iterable
from typing import NamedTuple


class Price(NamedTuple):
    """US dollars a million tokens."""

    input: float
    output: float


class Estimate(NamedTuple):
    """The cost of some judgements, without retries; `dollars` is None if the price is unknown."""

    calls: int
    input_tokens: int
    output_tokens: int
    dollars: float | None


# List prices of March 2026. A dated name such as `openai/gpt-5-mini-2025-08-07` has the price of the undated one.
PRICES = {
    "openai/gpt-5-mini": Price(0.25, 2.00),
    "openai/gpt-5-nano": Price(0.05, 0.40),
    "openai/gpt-5": Price(1.25, 10.00),
    "openai/gpt-4.1-mini": Price(0.40, 1.60),
    "openai/gpt-4.1": Price(2.00, 8.00),
    "openai/gpt-4o-mini": Price(0.15, 0.60),
    "openai/gpt-4o": Price(2.50, 10.00),
}

# Providers on the user's own machines, which cost nothing by the token.
LOCAL = ("untrue", "hf", "vllm", "sglang", "ollama", "llama-cpp-python", "transformer_lens", "nnterp")

CHARACTERS = 4  # rough number of characters in a token of English

FORM_TOKENS = 45  # tokens of the instruction on the answer's form and of the chat template

ANSWER_TOKENS = 35  # tokens of an answer: a short reason and a label

REASONING_TOKENS = 250  # rough number of tokens that a reasoning model thinks before it answers

REASONING = ("openai/gpt-5", "openai/o")  # prefixes of reasoning models with a known price


def price(model: str) -> Price | None:
    """The price of a model by its name, such as `openai/gpt-5-mini`."""
    from inspect_ai.model import get_model_info

    if model.partition("/")[0] in LOCAL:
        return Price(0.0, 0.0)
    info = get_model_info(model)
    if info and info.cost:
        return Price(info.cost.input, info.cost.output)
    return next((PRICES[name] for name in PRICES if model == name or model.startswith(f"{name}-20")), None)


def dollars(model: str, input_tokens: float, output_tokens: float) -> float | None:
    """The price in US dollars; None if it is unknown."""
    each = price(model)
    return each and (input_tokens * each.input + output_tokens * each.output) / 1e6


def thinking(model: str) -> int:
    """Rough number of tokens that a model thinks before each answer."""
    return REASONING_TOKENS if model.startswith(REASONING) else 0


def estimate(model: str, questions: Iterable[str]) -> Estimate:
    """Estimate by rule of thumb what it costs to ask a judge these texts."""
    sizes = [len(question) / CHARACTERS + FORM_TOKENS for question in questions]
    each = ANSWER_TOKENS + thinking(model)
    read, written = round(sum(sizes)), each * len(sizes)
    return Estimate(len(sizes), read, written, dollars(model, read, written))
