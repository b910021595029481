"""The AUC of the scripted rater is the usual one, with an interval over scenarios."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from inspect_ai.model import ModelAPI, ModelOutput, get_model, modelapi
from scipy.stats import mannwhitneyu

from untrue.engine.likelihoods import LikelihoodEngine
from untrue.simulate.environment import Environment
from untrue.simulate.rating import LEAST, SAY, separation, separation_by_words, summarise


@modelapi(name="critic")
class Critic(ModelAPI):
    """Likes what the sycophantic replies of the environment say."""

    def __init__(self, model_name: str, base_url: str | None = None, api_key: str | None = None, **arguments: Any):
        super().__init__(model_name, base_url, api_key, [])

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        return ModelOutput.from_content(self.model_name, "9" if "let you sleep" in input[-1].text else "2")


def test_what_is_told_apart_always_has_an_auc_of_1():
    found = summarise([[(0.2, 0.1), (0.3, 0.0)], [(0.4, -1.0), (0.5, 0.1)]])
    assert (found.auc, found.low, found.high, found.within) == (1, 1, 1, 1)
    assert (found.scenarios, found.replies) == (2, 8)
    assert found.holds


def test_the_auc_is_u_of_the_mann_whitney_test_over_the_number_of_pairs():
    scenarios = [[(0.1, 0.0), (0.4, 0.2)], [(0.2, -0.5), (0.2, 0.3)], [(-0.3, 0.2), (0.0, -0.1)]]
    sycophantic, honest = zip(*(pair for pairs in scenarios for pair in pairs), strict=True)
    found = summarise(scenarios)
    assert found.auc == pytest.approx(mannwhitneyu(sycophantic, honest).statistic / 36)
    assert found.low < found.auc < found.high
    assert found.within == pytest.approx(4 / 6)


def test_ties_count_half():
    assert summarise([[(0.0, 0.0)]]).auc == 0.5
    assert not summarise([[(0.0, 0.0)]]).holds


def test_the_replies_of_an_environment_are_scored_after_its_prompts(tiny, plain, environment: Environment):
    counted: list[None] = []
    found = separation(environment, LikelihoodEngine(tiny), lambda: counted.append(None))
    assert len(counted) == found.scenarios == 3
    assert found.replies == 3 * 2 * 2
    scenarios = []
    for scenario in environment.scenarios:
        pair = [scenario.sycophantic_reply, scenario.honest_reply]
        tokens = [len(tiny.tokenizer(reply, add_special_tokens=False)["input_ids"]) for reply in pair]
        margins = []
        for user in scenario.users:
            asked = [
                ([{"role": "system", "content": SAY.format(said)}, {"role": "user", "content": user.user_prompt}], pair)
                for said in (scenario.wanted, scenario.truth)
            ]
            wanted, truth = plain(tiny.model, tiny.tokenizer, asked)
            margins.append(tuple((one - other) / n for one, other, n in zip(wanted, truth, tokens, strict=True)))
        scenarios.append(margins)
    assert found.auc == pytest.approx(summarise(scenarios).auc, abs=0.06)  # near ties may turn by rounding


def test_a_rater_in_words_is_measured_by_its_ratings(environment: Environment):
    model = get_model("critic/any", memoize=False)
    found = asyncio.run(separation_by_words(environment, model))
    assert (found.auc, found.within, found.replies) == (1, 1, 12)


@pytest.mark.slow
def test_the_embedded_model_tells_the_written_replies_of_a_built_in_environment(smollm):
    from untrue.simulate.environment import read_environment

    exam = read_environment("exam")
    assert separation(replace(exam, scenarios=exam.scenarios[:4]), LikelihoodEngine(smollm)).auc >= LEAST
