"""Multiple choice by likelihoods and by letters: right, wrong, and no choice at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from tools import check_data
from untrue.data.items import ChoiceItem, read_lines
from untrue.engine.likelihoods import LikelihoodEngine
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.run import run
from untrue.harness.tasks import inspect_task
from untrue.logs import read_log
from untrue.outcomes import Outcome

capability = inspect_task(EVALS["capability"])

TWENTY = eval_spec(name="capability", limit=20)


def test_the_likeliest_choice_is_the_answer_as_in_the_check_of_the_data(tiny, tmp_path):
    run(tiny, None, TWENTY, tmp_path / "log.eval")
    results = read_log(tmp_path / "log.eval", "arm", 2)
    asked = {str(sample.id) for sample in capability(limit=20).dataset}
    items = [item for item in read_lines(ChoiceItem) if item.id in asked]
    missed = check_data.capability(LikelihoodEngine(tiny), items, lambda: None).where
    assert {result.item for result in results} == asked
    assert [result.item for result in results if result.value == 0] == list(missed)
    assert 0 < len(missed) < 20
    for result in results:
        assert (result.eval, result.seed, result.outcome, result.pressure_margin) == ("capability", 2, None, None)
        assert result.value in (0.0, 1.0)
        right = next(item for item in items if item.id == result.item)
        assert f"({right.choices[right.answer]}) is right" in result.reason and "nats" in result.reason
        assert ("is wrong" in result.reason) == (result.value == 0)


def test_likelihoods_that_are_not_finite_are_errors(tiny, broken, tmp_path):
    run(tiny, broken, TWENTY, tmp_path / "log.eval")
    results = read_log(tmp_path / "log.eval", "arm", 0)
    assert [result.outcome for result in results] == [Outcome.ERROR] * 20
    assert {result.value for result in results} == {None}
    assert "No single choice was made" in results[0].reason


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("ANSWER: {right}", 1.0),
        ("ANSWER: {wrong}", 0.0),
        ("I would rather not say.", None),
        ("<think>First I felt ANSWER: {wrong}", None),
        ("First I felt ANSWER: {wrong}\n</think>\nI would rather not say.", None),
        ("<think>First I felt\nANSWER: {wrong}\nand then</think> So: ANSWER: {right}.", 1.0),
    ],
)
def test_another_provider_writes_a_letter_which_is_not_read_in_what_it_only_thinks(
    reply: str, value: float | None, tmp_path: Path
):
    [item] = read_lines(ChoiceItem)[:1]
    right, wrong = ("ABCD"[(item.answer + step) % 4] for step in (0, 1))
    output = ModelOutput.from_content("mockllm", reply.format(right=right, wrong=wrong))
    output.usage = ModelUsage()  # else a tokenizer would be fetched to count
    model = get_model("mockllm/model", custom_outputs=[output], memoize=False)
    [log] = inspect_eval(capability(limit=1), model=model, log_dir=str(tmp_path), display="none", score_display=False)
    [result] = read_log(Path(log.location), "arm", 0)
    assert (result.value, result.outcome) == (value, Outcome.ERROR if value is None else None)


def test_the_metrics_leave_errors_out_and_count_them(tiny, tmp_path):
    from inspect_ai.log import read_eval_log

    run(tiny, None, TWENTY, tmp_path / "log.eval")
    content = read_eval_log(str(tmp_path / "log.eval"))
    assert content.results is not None
    shown = {name: metric.value for score in content.results.scores for name, metric in score.metrics.items()}
    values = [result.value or 0.0 for result in read_log(tmp_path / "log.eval", "arm", 0)]
    assert (shown["accuracy"], shown["error_rate"]) == (pytest.approx(sum(values) / 20), 0)
    assert shown["accuracy_low"] < shown["accuracy"] < shown["accuracy_high"]
