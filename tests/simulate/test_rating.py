"""A rating by kind is what such a user gives, with noise; one in words the expectation, or the number, or an error."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from inspect_ai.model import ModelAPI, ModelOutput, get_model, modelapi
from inspect_ai.model._model_output import Logprob, Logprobs, TopLogprob

from untrue.data.rows import Message
from untrue.errors import UserError
from untrue.simulate.environment import KINDS, REPLY_KINDS, Environment, ReplyKind, dialogues
from untrue.simulate.users import LIKING, rate_by_kind, rate_by_words, read_rating

TALK: list[Message] = [
    {"role": "user", "content": "Tea?"},
    {"role": "assistant", "content": "Drink it."},
    {"role": "user", "content": "More?"},
    {"role": "assistant", "content": "Not now."},
]

HEDGING: list[ReplyKind] = ["hedging"]


def answer(text: str, *tokens: tuple[str, dict[str, float]]) -> ModelOutput:
    """An answer with the probabilities of the likeliest tokens at each place."""
    output = ModelOutput.from_content("m", text)
    if tokens:
        output.choices[0].logprobs = Logprobs(
            content=[
                Logprob(
                    token=token,
                    logprob=math.log(top[token]),
                    top_logprobs=[TopLogprob(token=name, logprob=math.log(p)) for name, p in top.items()],
                )
                for token, top in tokens
            ]
        )
    return output


def test_without_noise_a_reply_of_a_known_kind_gets_what_such_a_user_gives():
    for kind in KINDS:
        rated = rate_by_kind(kind, REPLY_KINDS, 0, seed=1)
        assert [one.value for one in rated] == [LIKING[kind][reply] for reply in REPLY_KINDS]
    assert LIKING["benign"]["honest"] == LIKING["biased"]["sycophantic"] > LIKING["benign"]["hedging"]


def test_the_noise_has_the_stated_mean_and_spread():
    values = np.array([one.value for one in rate_by_kind("benign", HEDGING * 4000, 0.5, seed=3)])
    assert values.mean() == pytest.approx(5, abs=0.04)
    assert values.std() == pytest.approx(0.5, abs=0.03)
    [rated] = rate_by_kind("biased", ["honest"], 0.5, seed=3)
    assert rated.reason == f"{rated.value:.2f}: 2 for honest, with noise"


def test_a_rating_stays_on_the_scale_whatever_the_noise():
    values = [one.value for one in rate_by_kind("benign", REPLY_KINDS * 250, 9, seed=0)]
    assert (min(values), max(values)) == (1, 10)


def test_the_same_seed_has_the_same_noise_and_each_reply_its_own():
    first, again, other = (rate_by_kind("benign", HEDGING * 3, 1, seed) for seed in (4, 4, 5))
    assert first == again
    assert not {one.value for one in first} & {one.value for one in other}
    assert len({one.value for one in first}) == 3


@pytest.mark.parametrize(("text", "expected"), [("7", 7), (" 10.", 10), ("1", 1), ("\n4\n", 4)])
def test_a_number_is_read(text: str, expected: float):
    assert read_rating(answer(text)).value == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "good", "11", "0", "-5", "-3", "between 3 and 5", "10.5", "7 8", "7.5", "7,5", "7.0", "07", "+7", "7e0"),
        *("8/10", "8 / 10", "8/5", "3 out of 10", "ten out of ten: 10", "Rating: 8", "seven", "٧", "7..", "7!", "70%"),
    ],
)
def test_what_is_not_a_whole_number_from_1_to_10_alone_is_refused_whatever_the_probabilities(text: str):
    for output in (answer(text), answer(text, (text[:1] or " ", {text[:1] or " ": 0.5, "7": 0.5}))):
        with pytest.raises(ValueError, match="expected a whole number from 1 to 10 alone, found "):
            read_rating(output)


class Saying(ModelAPI):
    """A rater that gives these answers in turn."""

    def __init__(self, model_name: str, *_: Any, answers: Sequence[str] = (), **__: Any):
        super().__init__(model_name)
        self.answers = iter(answers)

    async def generate(self, *_: Any, **__: Any) -> ModelOutput:
        return answer(next(self.answers))


@modelapi(name="saying")
def saying() -> type[ModelAPI]:
    return Saying


def test_a_rater_that_gives_no_whole_number_is_asked_again_and_then_refused(environment: Environment):
    dialogue = dialogues(environment)[0]

    def rated(*answers: str) -> list[float]:
        model = get_model("saying/rater", answers=answers, memoize=False)
        return [one.value for one in asyncio.run(rate_by_words(model, dialogue, TALK[:2], 0))]

    assert rated("7.5", "8") == [8]
    with pytest.raises(UserError, match=r"8/10.*7\.5"):
        rated("8/10", "7.5")


def test_the_expectation_is_over_the_rating_tokens_alone():
    found = read_rating(answer("8", ("8", {"8": 0.5, "10": 0.2, " 6": 0.1, "The": 0.2})))
    assert found.value == pytest.approx((8 * 0.5 + 10 * 0.2 + 6 * 0.1) / 0.8)
    assert "probabilities" in found.reason


def test_a_rating_behind_a_space_is_found():
    tokens = [(" ", {" ": 1.0}), ("4", {"4": 0.5, "2": 0.5}), (".", {".": 1.0})]
    assert read_rating(answer(" 4.", *tokens)).value == pytest.approx(3)


def test_a_10_of_two_tokens_shares_the_mass_of_1():
    tokens = [("1", {"1": 0.6, "9": 0.4}), ("0", {"0": 0.5, "<end>": 0.5})]
    assert read_rating(answer("10", *tokens)).value == pytest.approx(0.3 * 1 + 0.3 * 10 + 0.4 * 9)


def test_where_1_may_be_the_beginning_of_10_the_number_counts():
    assert read_rating(answer("9", ("9", {"9": 0.6, "1": 0.4}))).value == 9
