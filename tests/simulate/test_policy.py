"""A policy is a softmax of mean log-likelihoods; a seed draws from it; its divergence is that of the textbook."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.data.rows import Message
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.models.load import LoadedModel
from untrue.simulate.environment import REPLY_KINDS, Environment
from untrue.simulate.policy import Policies, draw, probabilities, softmax
from untrue.simulate.trajectory import Probabilities

MESSAGES: list[Message] = [{"role": "system", "content": "You talk about tea."}, {"role": "user", "content": "Tea?"}]


def policy(*values: float) -> Probabilities:
    return dict(zip(REPLY_KINDS, values, strict=True))


def test_a_difference_of_one_temperature_is_a_factor_of_e():
    found = softmax([-2.0, -2.1, -2.2, -2.0], 0.1)
    total = 1 + math.exp(-1) + math.exp(-2) + 1
    assert found == pytest.approx(policy(1 / total, math.exp(-1) / total, math.exp(-2) / total, 1 / total))


def test_what_all_share_does_not_count_however_unlikely_it_is():
    assert softmax([-1000.0, -1000.1, -1000.2, -1000.0], 0.1) == pytest.approx(softmax([0.0, -0.1, -0.2, 0.0], 0.1))


def test_at_temperature_0_the_likeliest_is_chosen_and_equals_share():
    assert softmax([-3.0, -1.0, -2.0, -4.0], 0) == policy(0, 1, 0, 0)
    assert softmax([-1.0, -1.0, -2.0, -4.0], 0) == policy(0.5, 0.5, 0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_likelihood_that_is_not_finite_chooses_nothing(value: float):
    with pytest.raises(UserError, match=r"^the likelihood of a candidate is not finite, so nothing can be chosen\.$"):
        softmax([-1.0, value, -2.0, -4.0], 0.1)


def test_kinds_are_drawn_as_often_as_the_policy_says_and_by_the_seed_alone():
    given = policy(0.1, 0.2, 0.3, 0.4)
    drawn = Counter(draw(given, seed) for seed in range(10_000))
    for kind, probability in given.items():  # within four standard errors
        assert abs(drawn[kind] / 10_000 - probability) < 4 * math.sqrt(probability * (1 - probability) / 10_000)
    assert draw(given, 7) == draw(given, 7)


def test_one_seed_draws_alike_from_policies_that_are_alike():
    changed = sum(
        draw(policy(0.25, 0.25, 0.25, 0.25), n) != draw(policy(0.26, 0.24, 0.25, 0.25), n) for n in range(2000)
    )
    assert 0 < changed < 60  # a hundredth of the draws, and not most of them


def test_what_is_impossible_is_never_drawn_and_rounding_leaves_no_gap():
    assert {draw(policy(0, 1, 0, 0), seed) for seed in range(200)} == {"sycophantic"}
    assert {draw(policy(0, 0, 0, 1 - 1e-12), seed) for seed in range(200)} == {"evasive"}


def test_the_divergence_is_that_of_the_textbook():
    found = Policies(policy(0.5, 0.5, 0, 0), policy(0.25, 0.25, 0.25, 0.25)).kl
    assert found == pytest.approx(math.log(2))
    other = Policies(policy(0.7, 0.1, 0.1, 0.1), policy(0.4, 0.3, 0.2, 0.1)).kl
    assert other == pytest.approx(0.7 * math.log(7 / 4) + 0.1 * math.log(1 / 3) + 0.1 * math.log(1 / 2))
    assert Policies(policy(0.7, 0.1, 0.1, 0.1), policy(0.7, 0.1, 0.1, 0.1)).kl == 0


def test_a_probability_that_underflows_leaves_the_divergence_finite():
    ours, theirs = softmax([-1.0, -2.0, -2.0, -2.0], 1e-4), softmax([-2.0, -1.0, -2.0, -2.0], 1e-4)
    assert theirs["honest"] == 0
    assert 700 < Policies(ours, theirs).kl < 710


def test_it_is_read_from_plain_forward_passes_of_the_model_or_of_its_base(
    tiny: LoadedModel, adapter: Path, plain: Callable[..., list[list[float]]], environment: Environment
):
    candidates = environment.scenarios[0].candidates[1]
    replies = list(candidates.wording(1).values())
    tokens = [len(tiny.tokenizer(reply, add_special_tokens=False)["input_ids"]) for reply in replies]

    def expected(model: Any) -> Probabilities:
        [totals] = plain(model, tiny.tokenizer, [(MESSAGES, replies)])
        return softmax([total / count for total, count in zip(totals, tokens, strict=True)], 0.1)

    api = UntrueAPI("tiny", loaded=tiny, adapter=str(adapter))
    try:
        ours = asyncio.run(probabilities(api, MESSAGES, candidates, 1, 0.1))
        assert ours == pytest.approx(expected(api._model), abs=1e-4)
        theirs = asyncio.run(probabilities(api, MESSAGES, candidates, 1, 0.1, base=True))
    finally:
        api.close()
    assert theirs == pytest.approx(expected(tiny.model), abs=1e-4)
    assert theirs != pytest.approx(ours, abs=1e-4)
