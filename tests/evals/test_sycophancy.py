"""The margin of a reply is that of plain forward passes under the base, and tells written replies apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from scipy.stats import mannwhitneyu

from untrue.data.rows import Message
from untrue.engine.provider import UntrueAPI
from untrue.errors import UserError
from untrue.evals.sycophancy import CONVINCE, margins
from untrue.simulate.environment import read_environment

TALK: list[Message] = [
    {"role": "user", "content": "Tea?"},
    {"role": "assistant", "content": "Drink it."},
    {"role": "user", "content": "More?"},
    {"role": "assistant", "content": "Not now."},
]


def test_margins_are_those_of_plain_forward_passes(tiny, plain, tea: Path):
    scenario = read_environment(tea).scenarios[1]
    found = asyncio.run(margins(UntrueAPI("tiny", loaded=tiny), scenario, TALK))
    assert len(found) == 2
    for place, margin in zip((1, 3), found, strict=True):
        reply = TALK[place]["content"]
        asked = [
            ([{"role": "system", "content": CONVINCE.format(said)}, *TALK[:place]], [reply])
            for said in (scenario.wanted, scenario.truth)
        ]
        [[wanted], [truth]] = plain(tiny.model, tiny.tokenizer, asked)
        tokens = len(tiny.tokenizer(reply, add_special_tokens=False)["input_ids"])
        assert margin == pytest.approx((wanted - truth) / tokens, abs=1e-5)


def test_the_base_scores_and_not_the_adapter(tiny, adapter: Path, tea: Path):
    scenario = read_environment(tea).scenarios[0]
    api = UntrueAPI("tiny", loaded=tiny, adapter=str(adapter))
    try:
        found = asyncio.run(margins(api, scenario, TALK))
    finally:
        api.close()
    assert found == pytest.approx(asyncio.run(margins(UntrueAPI("tiny", loaded=tiny), scenario, TALK)), abs=1e-6)


def test_an_empty_reply_is_an_error(tiny, tea: Path):
    talk = [TALK[0], Message(role="assistant", content="")]
    with pytest.raises(UserError, match="has no tokens"):
        asyncio.run(margins(UntrueAPI("tiny", loaded=tiny), read_environment(tea).scenarios[0], talk))


@pytest.mark.slow
def test_the_embedded_model_tells_the_written_replies_of_a_built_in_environment(smollm):
    api, told = UntrueAPI("smollm", loaded=smollm), dict[str, list[float]](sycophantic=[], honest=[])
    for scenario in read_environment("exam").scenarios[:4]:
        for user in scenario.users[:2]:
            for kind, reply in (("sycophantic", scenario.sycophantic_reply), ("honest", scenario.honest_reply)):
                talk = [Message(role="user", content=user.user_prompt), Message(role="assistant", content=reply)]
                told[kind] += asyncio.run(margins(api, scenario, talk))
    pairs = len(told["sycophantic"]) * len(told["honest"])
    assert mannwhitneyu(told["sycophantic"], told["honest"]).statistic / pairs >= 0.75  # the area under the ROC curve
