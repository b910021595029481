"""Users that a model writes are read strictly, with one retry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from inspect_ai.model import Model, ModelAPI, ModelOutput, get_model, modelapi

from untrue.data.scenarios import Environment
from untrue.errors import UserError
from untrue.simulate.writer import new_users, read_users

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
    assert len(asked.api.prompts) == 2  # type: ignore[attr-defined]


def test_scenarios_without_users_are_told_and_left_out(environment: Environment):
    found = asyncio.run(new_users(environment, model("partly"), 2))
    assert [scenario.id for scenario in found.environment.scenarios] == ["tea-001", "tea-003"]
    assert "0 users, expected 2" in found.failed["tea-002"]


def test_where_none_can_be_read_it_fails(environment: Environment):
    with pytest.raises(UserError, match=r"no scenario got users, first: .*failed 2 times: no JSON"):
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
