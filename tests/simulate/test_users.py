"""Written follow-ups come in an order of the seed; none comes twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.judge.server import JudgeServer
from untrue.errors import UserError
from untrue.simulate.environment import Environment, dialogues
from untrue.simulate.users import follow_up, next_turn


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
