"""Written follow-ups come in an order of the seed; none comes twice. New users are read strictly, with one retry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from inspect_ai.model import Model, ModelAPI, ModelOutput, get_model, modelapi

from tests.judge.server import JudgeServer
from untrue.errors import UserError
from untrue.simulate.environment import Environment, dialogues
from untrue.simulate.users import follow_up, new_users, next_turn, read_users

GOOD = json.dumps([{"user_context": f"A {n}.", "user_prompt": f"Say {n}?"} for n in range(2)])
WRITERS: dict[str, Callable[[int, str], str]] = {
    "good": lambda number, asked: GOOD,
    "fenced": lambda number, asked: f"```json\n{GOOD}\n```",
    "second": lambda number, asked: GOOD if number % 2 else "Sure! Here they are:",
    "never": lambda number, asked: "Sure! Here they are:",
    "partly": lambda number, asked: "[]" if "Person 0 of 2" in asked else GOOD,
}


class Writer(ModelAPI):
    """A model that writes as its name says."""

    def __init__(self, model_name: str, base_url: str | None = None, api_key: str | None = None, **rest: Any):
        super().__init__(model_name, base_url, api_key, [])
        self.prompts: list[str] = []

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        self.prompts.append(input[-1].text)
        return ModelOutput.from_content(
            self.model_name, WRITERS[self.model_name](len(self.prompts) - 1, self.prompts[-1])
        )


@modelapi(name="writer")
def writer() -> type[ModelAPI]:
    return Writer


def model(name: str) -> Model:
    return get_model(f"writer/{name}", memoize=False)


def test_a_user_begins_with_the_prompt_and_goes_on_with_each_follow_up_of_the_kind_once(environment: Environment):
    for dialogue in dialogues(environment):
        said = [follow_up(dialogue, turn, seed=0) for turn in range(4)]
        assert said[0] == dialogue.user.user_prompt
        assert sorted(said[1:]) == sorted(getattr(dialogue.scenario.follow_ups, dialogue.kind))


def test_the_order_follows_the_seed(environment: Environment):
    [first, *_] = dialogues(environment)
    orders = {tuple(follow_up(first, turn, seed) for turn in (1, 2, 3)) for seed in range(8)}
    assert len(orders) > 1
    assert [follow_up(first, 1, 5), follow_up(first, 1, 5)] == [follow_up(first, 1, 5)] * 2


def test_more_turns_than_were_written_are_refused(environment: Environment):
    with pytest.raises(UserError, match=r"turns: the scenario tea-001 has 3 follow-ups, enough for 4"):
        follow_up(dialogues(environment)[0], 4, seed=0)


def test_why_a_server_refused_a_turn_is_told_and_not_the_request(environment: Environment):
    with JudgeServer(5, "max_tokens={limit} is too large") as server, pytest.raises(UserError) as error:
        asyncio.run(next_turn(server.model(), dialogues(environment)[0], [], seed=0))
    assert str(error.value).count("max_tokens=200 is too large") == 2
    assert "Request:" not in str(error.value)


@pytest.mark.parametrize("name", ["good", "fenced"])
def test_each_scenario_gets_the_users_that_were_written(environment: Environment, name: str):
    found = asyncio.run(new_users(environment, model(name), 2))
    assert found.failed == {}
    assert [scenario.id for scenario in found.environment.scenarios] == ["tea-001", "tea-002", "tea-003"]
    for scenario in found.environment.scenarios:
        assert [user.user_prompt for user in scenario.users] == ["Say 0?", "Say 1?"]


def test_it_is_asked_once_more(environment: Environment):
    one = Environment(environment.name, environment.header, environment.scenarios[:1])
    asked = model("second")
    assert asyncio.run(new_users(one, asked, 2)).failed == {}
    assert isinstance(asked.api, Writer)
    assert len(asked.api.prompts) == 2


def test_scenarios_without_users_are_told_and_left_out(environment: Environment):
    found = asyncio.run(new_users(environment, model("partly"), 2))
    assert [scenario.id for scenario in found.environment.scenarios] == ["tea-001", "tea-003"]
    assert "0 users, expected 2" in found.failed["tea-002"]


def test_where_none_can_be_read_it_fails(environment: Environment):
    with pytest.raises(UserError, match=r"no scenario got users, first: .*failed 2 times: invalid json"):
        asyncio.run(new_users(environment, model("never"), 2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        GOOD[:-1],
        '[{"user_context": "A."}, {"user_context": "B."}]',
        GOOD.replace('"user_context"', '"age": 3, "user_context"'),
        GOOD.replace("Say 1?", "say  0?"),
        GOOD.replace("Say 1?", " "),
        f"Here: {GOOD}",
    ],
)
def test_what_is_not_a_list_of_so_many_users_is_refused(text: str):
    with pytest.raises(ValueError, match=r".+"):
        read_users(ModelOutput.from_content("m", text), 2)
