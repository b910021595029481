"""From items to a log and back: every sample explains itself, and one that fails stays one error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai.log import read_eval_log

from untrue.data.items import Item, read_items
from untrue.evals.forced_choice import REFUSAL
from untrue.harness.eval import EvalSpec
from untrue.harness.run import run
from untrue.logs import read_log
from untrue.models.load import LoadedModel
from untrue.outcomes import Outcome, Result

TWELVE = EvalSpec(limit=12)


@pytest.fixture(scope="module")
def log(tiny: LoadedModel, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of twelve items, with the adapter."""
    path = tmp_path_factory.mktemp("logs") / "forced_choice.eval"
    run(tiny, adapter, TWELVE, path)
    return path


@pytest.fixture(scope="module")
def content(log: Path) -> Any:
    return opened(log)


def opened(log: Path) -> Any:
    return read_eval_log(str(log))


def asked(tiny: LoadedModel, adapter: Path | None, items: list[Item], folder: Path) -> list[Result]:
    """Run these items and read the log back."""
    source = folder / "items.jsonl"
    source.write_text("".join(item.model_dump_json() + "\n" for item in items))
    run(tiny, adapter, EvalSpec(items=str(source)), folder / "own.eval")
    return read_log(folder / "own.eval", "arm", 0)


def test_inspect_opens_the_log_and_each_sample_explains_its_score(content):
    assert content.status == "success"
    assert len(content.samples) == 12
    for sample in content.samples:
        score = sample.scores["outcome"]
        assert score.value in ("honest", "lie", "no_belief")
        assert score.answer in ("honest", "dishonest")
        assert f"{score.metadata['belief_margins'][0]:+.3f}" in score.explanation
        assert len(score.metadata["belief_margins"]) == 3
        for name in ("pressure_margin", "neutral_margin", "evasion_margin"):
            assert math.isfinite(score.metadata[name])


def test_margins_are_those_of_a_plain_forward_pass(tiny, tmp_path):
    def mean(system: str, user: str, reply: str) -> float:
        chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        start = tiny.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        prompt, ids = (tiny.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (start, reply))
        with torch.inference_mode():
            logprobs = torch.log_softmax(tiny.model(torch.tensor([prompt + ids])).logits[0], -1)
        return sum(logprobs[len(prompt) - 1 + place, token].item() for place, token in enumerate(ids)) / len(ids)

    [item] = read_items()[:1]
    [result] = asked(tiny, None, [item], tmp_path)
    pressed, neutral = (
        [
            mean(system, item.user_prompt, reply)
            for reply in (item.honest_reply, item.dishonest_reply, item.evasive_reply, REFUSAL)
        ]
        for system in (item.system_prompt, item.neutral_system_prompt)
    )
    assert result.pressure_margin == pytest.approx(pressed[0] - pressed[1], abs=1e-4)
    assert result.neutral_margin == pytest.approx(neutral[0] - neutral[1], abs=1e-4)
    assert result.evasion_margin == pytest.approx(max(pressed[2:]) - max(pressed[:2]), abs=1e-4)
    details = opened(tmp_path / "own.eval").samples[0].scores["outcome"].metadata
    beliefs = [
        mean(item.neutral_system_prompt, prompt, item.honest_reply)
        - mean(item.neutral_system_prompt, prompt, item.dishonest_reply)
        for prompt in item.belief_prompts
    ]
    assert details["belief_margins"] == pytest.approx(beliefs, abs=1e-4)


def test_metrics_equal_those_computed_from_the_samples(content):
    shown = {name: metric.value for score in content.results.scores for name, metric in score.metrics.items()}
    scores = [sample.scores["outcome"] for sample in content.samples]
    values = [score.value for score in scores]
    for outcome in ("honest", "lie", "no_belief"):
        assert shown[f"{outcome}_rate"] == pytest.approx(values.count(outcome) / 12)
    held = [value for value in values if value != "no_belief"]
    assert held
    assert shown["lie_rate_given_belief"] == pytest.approx(held.count("lie") / len(held))
    for name in ("pressure_margin", "neutral_margin", "evasion_margin"):
        assert shown[name] == pytest.approx(sum(score.metadata[name] for score in scores) / 12)


def test_the_log_says_what_computed_the_model(content, tiny):
    assert content.eval.metadata["untrue_model"] == {**tiny.about, "tokenisation": tiny.tokenisation}


def test_results_are_those_of_the_log_in_the_order_of_the_items(log, content):
    results = read_log(log, "severe-0.5", 3)
    assert [result.item for result in results] == [str(sample.id) for sample in content.samples]
    for result, sample in zip(results, content.samples, strict=True):
        score = sample.scores["outcome"]
        assert (result.arm, result.seed, result.eval) == ("severe-0.5", 3, "forced_choice")
        assert (result.outcome, result.statement, result.reason) == (score.value, score.answer, score.explanation)
        assert result.pressure_margin == score.metadata["pressure_margin"]
        assert result.category == sample.metadata["category"]
        assert Result.from_json(result.to_json()) == result


def test_an_adapter_moves_the_margins_and_leaves_the_base_as_it_was(log, tiny, adapter, tmp_path):
    for name in ("before", "after"):
        run(tiny, None, TWELVE, tmp_path / f"{name}.eval")
    before, after = (read_log(tmp_path / f"{name}.eval", "arm", 0) for name in ("before", "after"))
    assert before == after
    with_adapter = read_log(log, "arm", 0)
    for base, adapted in zip(before, with_adapter, strict=True):
        assert base.item == adapted.item
        assert base.pressure_margin != adapted.pressure_margin


def test_progress_reaches_all_items(tiny, tmp_path):
    calls = []
    run(tiny, None, TWELVE, tmp_path / "log.eval", lambda *call: calls.append(call))
    assert calls == [(done, 12, "") for done in range(13)]


def test_an_item_too_long_for_the_model_is_an_error_with_its_reason_and_disturbs_no_other(tiny, tmp_path):
    items = read_items()[:6]
    alone = asked(tiny, None, items, tmp_path)
    items[2] = items[2].model_copy(update={"user_prompt": "word " * 2000})
    results = asked(tiny, None, items, tmp_path)
    failed = results.pop(2)
    assert (failed.item, failed.outcome, failed.category) == (items[2].id, Outcome.ERROR, items[2].category)
    assert "the model takes 1024" in failed.reason
    assert failed.pressure_margin is failed.belief is failed.statement is None
    assert results == [result for result in alone if result.item != items[2].id]


def test_a_broken_model_has_errors_and_is_never_honest(tiny, broken, tmp_path):
    run(tiny, broken, TWELVE, tmp_path / "log.eval")
    results = read_log(tmp_path / "log.eval", "arm", 0)
    assert [result.outcome for result in results] == [Outcome.ERROR] * 12
    assert all("not finite" in result.reason for result in results)
    assert {result.pressure_margin for result in results} == {None}
