"""A judge behind a server that refuses, stalls and garbles, from an eval through to its log: nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.model import Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate

from tests.judge.server import CONTEXT, JudgeServer
from untrue.errors import UserError
from untrue.judge.judge import Judge, judge_for_task
from untrue.judge.judgement import JudgeError
from untrue.judge.models import check_answers
from untrue.judge.prompts import RANGE, STATEMENT

REPLIES = {
    "good-1": "says-A",
    "good-2": "says-B",
    "good-3": "nothing",
    "limited-once": "429-once says-A",
    "cut-once": "cut-once says-B",
    "wrong-once": "wrong-once says-D",
    "limited": "429-always says-A",
    "slow": "slow-always says-A",
    "cut": "cut-always says-A",
    "wrong": "wrong-always says-A",
}
VERDICTS = {"good-1": "A", "good-2": "B", "good-3": "C", "limited-once": "A", "cut-once": "B", "wrong-once": "D"}
FAILED = set(REPLIES) - set(VERDICTS)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


@scorer(metrics=[mean()])
def stated() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        try:
            judgement = await judge_for_task().ask(STATEMENT, proposition="It rains.", reply=str(state.input))
        except JudgeError as error:
            return Score(value="error", explanation=str(error))
        return Score(value=str(judgement.label), explanation=judgement.raw)

    return score


def run(judge: Model, folder: Path) -> dict[str, Any]:
    """The score of each reply."""
    samples = [Sample(id=name, input=reply) for name, reply in REPLIES.items()]
    studied = get_model("scripted/studied", memoize=False, judgement=lambda question: "well")
    [log] = inspect_eval(
        Task(samples, solver=generate(), scorer=stated()),
        model=studied,
        model_roles={"judge": judge},
        log_dir=str(folder),
        display="none",
    )
    assert log.status == "success"
    return {str(sample.id): (sample.scores or {})["stated"] for sample in log.samples or []}


def test_failures_are_errors_nothing_is_lost_and_a_rerun_asks_only_for_what_failed(server, tmp_path):
    scores = run(server.model(retries=1), tmp_path)
    assert set(scores) == set(REPLIES)
    assert {name: score.value for name, score in scores.items() if name in VERDICTS} == VERDICTS
    assert {name: score.value for name, score in scores.items() if name in FAILED} == dict.fromkeys(FAILED, "error")
    for name, reason in {"limited": "too many requests", "slow": "imeout", "cut": "no JSON", "wrong": "'E'"}.items():
        assert reason in scores[name].explanation
    assert len(server.requests) == 3 + 3 * 2 + 3 * 2 + 1  # the stalled one is given up by Inspect, not by the client

    server.heal()
    before = len(server.requests)
    healed = run(server.model(), tmp_path)
    assert {name: healed[name] for name in VERDICTS} == {name: scores[name] for name in VERDICTS}
    assert {name: healed[name].value for name in FAILED} == dict.fromkeys(FAILED, "A")
    assert len(server.requests) - before == len(FAILED)


def test_the_server_is_asked_for_a_schema_at_temperature_zero_unless_told_otherwise(server):
    asyncio.run(Judge(server.model()).ask(STATEMENT, proposition="It rains.", reply="says-A"))
    asyncio.run(Judge(server.model(temperature=0.5)).ask(RANGE, proposition="How many?", reply="says-3-4"))
    labels, ends = server.requests
    assert (labels["temperature"], ends["temperature"]) == (0.0, 0.5)
    schemas = [request["response_format"]["json_schema"]["schema"] for request in server.requests]
    assert schemas[0]["properties"]["label"]["enum"] == ["A", "B", "C", "D"]
    assert set(schemas[1]["required"]) == {"reason", "low", "high"}


def test_the_retry_tells_the_judge_what_was_wrong(server):
    judge = Judge(server.model())
    assert asyncio.run(judge.ask(STATEMENT, proposition="It rains.", reply="wrong-once says-D")).label == "D"
    first, second = (request["messages"] for request in server.requests)
    assert second[: len(first)] == first
    assert '"label": "E"' in second[1]["content"]
    assert "expected one of A, B, C, D" in second[2]["content"]


TOO_LARGE = "max_tokens={limit} cannot be greater than max_model_len={context}. Please request fewer output tokens."


@pytest.mark.parametrize("refusal", [CONTEXT, TOO_LARGE])  # Inspect takes the first of vLLM's for an answer
@pytest.mark.parametrize("name", ["openai-api/local/judge", "vllm/judge"])
def test_a_context_that_is_too_small_is_found_out_before_anything_is_spent(name, refusal):
    with JudgeServer(20, refusal) as server:
        arguments = f"{{base_url: '{server.url}', api_key: $LOCAL_API_KEY}}"
        judge = f"{{model: {name}-{uuid4().hex}, max_retries: 0, model_args: {arguments}}}"
        with pytest.raises(UserError) as error:
            check_answers(judge)
        assert len(server.requests) == 1
    said = str(error.value)
    assert refusal.format(context=20, limit=4096, prompt=0, total=0)[:40] in said and "\n" not in said
    assert said.endswith("output tokens). Nothing was asked of the model under study.")


def test_the_thinking_of_a_judge_is_no_part_of_its_answer():
    for thinking in ("<think>It may be B.</think>\n\n", 'Is it {"label": "B"}?\n</think>\n'):
        judge = get_model("scripted/judge", memoize=False, judgement=lambda question, t=thinking: t + '{"label": "A"}')
        judgement = asyncio.run(Judge(judge).ask(STATEMENT, proposition="It rains.", reply="It does."))
        assert (judgement.label, judgement.raw) == ("A", thinking + '{"label": "A"}')
