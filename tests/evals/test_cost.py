"""What an eval is said to take is what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import get_model

from tests.evals.ruled import judged_run
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.run import cost
from untrue.harness.tasks import inspect_task


@pytest.mark.parametrize("name", [name for name, record in EVALS.items() if record.judged])
def test_replies_and_judgements_are_as_many_as_said(name: str, tmp_path: Path):
    said: list[str] = []

    def reply(system: str, user: str) -> str:
        """No two are alike, so that no judgement is known already; and none makes a judgement needless."""
        n = len(said)
        said.append(f"says-no {n}" if name == "pressure_pairs" else f"<think>{n}</think><output>says-no {n}</output>")
        return said[-1]

    judge: Any = get_model("scripted/judge", memoize=False)
    spec = eval_spec(name=name, limit=4, judge="scripted/judge", epochs=2)
    judged_run(inspect_task(EVALS[name])(limit=4), reply, tmp_path, epochs=2, roles={"judge": judge})
    found = cost(EVALS[spec.name], spec, "openai/gpt-4o")
    assert (found.model.calls, found.judge.calls) == (len(said), len(judge.api.calls))
    words = sum(len(question) for question in judge.api.calls) / 4
    assert words / 2 < found.judge.input_tokens < 6 * words


def test_an_epoch_more_costs_no_more_beliefs():
    one, two = (
        cost(
            EVALS["mask"], eval_spec(name="mask", limit=3, judge="openai/gpt-5-mini", epochs=epochs), "x/y"
        ).model.calls
        for epochs in (1, 2)
    )
    assert two - one == 3


def test_what_an_earlier_run_has_costs_nothing():
    spec = eval_spec(name="unknowns", limit=2, judge="openai/gpt-5-mini")
    keys = [(str(sample.id), 1) for sample in inspect_task(EVALS["unknowns"])(limit=2).dataset]
    found = cost(EVALS[spec.name], spec, "openai/gpt-4o", replied=keys, settled=keys[:3])
    assert (found.model.calls, found.judge.calls) == (0, 2)
    assert found.model.dollars == 0


@pytest.mark.parametrize(
    ("model", "limit", "each"),
    [("openai/gpt-4o", None, 200), ("openai/gpt-5-mini", None, 450), ("openai/gpt-5-mini", 300, 300)],
)
def test_what_a_model_under_study_thinks_is_paid_for_within_its_limit(model: str, limit: int | None, each: int):
    spec = eval_spec(name="unknowns", limit=2, judge="openai/gpt-4o", max_tokens=limit)
    assert cost(EVALS[spec.name], spec, model).model.output_tokens == 4 * each
