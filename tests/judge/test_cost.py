"""Costs by rule of thumb, before anything is asked."""

from __future__ import annotations

import pytest
from inspect_ai.model import ModelCost, ModelInfo, set_model_cost, set_model_info

from untrue.judge.cost import ANSWER_TOKENS, FORM_TOKENS, REASONING_TOKENS, dollars, estimate, price


def test_an_estimate_is_as_by_hand():
    found = estimate("openai/gpt-4o-mini", ["x" * 400, "y" * 800])
    read, written = 100 + 200 + 2 * FORM_TOKENS, 2 * ANSWER_TOKENS
    assert found[:3] == (2, read, written)
    assert found.dollars == pytest.approx((read * 0.15 + written * 0.60) / 1e6)
    assert estimate("openai/gpt-5-mini", ["x"]).output_tokens == ANSWER_TOKENS + REASONING_TOKENS


def test_a_dated_name_has_the_price_of_the_undated_one_and_no_other():
    assert price("openai/gpt-5-mini-2025-08-07") == price("openai/gpt-5-mini") != price("openai/gpt-5")
    assert price("openai/gpt-5-turbo") is None


def test_what_runs_at_home_costs_nothing_and_an_unknown_price_is_not_made_up():
    assert dollars("untrue/smollm2-135m", 1e9, 1e9) == dollars("vllm/some/model", 1e9, 1e9) == 0.0
    assert dollars("openai-api/somewhere/model", 1000, 1000) is None


def test_the_price_that_the_user_gave_inspect_counts():
    set_model_info("openai/gpt-of-the-test", ModelInfo())
    set_model_cost("openai/gpt-of-the-test", ModelCost(input=1, output=2, input_cache_write=0, input_cache_read=0))
    assert dollars("openai/gpt-of-the-test", 1e6, 1e6) == pytest.approx(3.0)
