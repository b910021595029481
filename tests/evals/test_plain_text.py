"""Statements score as in a plain forward pass over text without a chat format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from inspect_ai import eval as inspect_eval
from inspect_ai.model import get_model

from untrue.data.items import TOLD, read_items, read_statements
from untrue.errors import UserError
from untrue.evals.plain_text import EVAL, OPENING
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.metrics import metric_values, scored
from untrue.harness.run import run
from untrue.harness.tasks import inspect_task
from untrue.logs import open_log, read_log
from untrue.models.load import LoadedModel
from untrue.outcomes import Outcome

plain_text = inspect_task(EVALS["plain_text"])

SIX = eval_spec(name="plain_text", limit=6)


def test_the_items_are_those_whose_replies_are_about_the_world():
    categories = {item.category for item in read_items()}
    assert {item.category for item in read_statements()} == categories - set(TOLD) == {"known_facts", "disinformation"}
    with pytest.raises(UserError, match="context: no item has replies that can be read without"):
        read_statements("context")


@torch.inference_mode()
def score(loaded: LoadedModel, text: str) -> float:
    before, ids = (loaded.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (OPENING, text))
    assert ids[: len(before)] == before
    logprobs = torch.log_softmax(loaded.model(torch.tensor([ids])).logits[0].float(), -1)
    places = range(len(before), len(ids))
    return sum(logprobs[place - 1, ids[place]].item() for place in places) / len(places)


def test_margins_are_those_of_a_plain_forward_pass(sharp: LoadedModel, tmp_path: Path):
    run(sharp, None, SIX, tmp_path / "log.eval")
    results = read_log(tmp_path / "log.eval", "arm", 0)
    items = {item.id: item for item in read_statements()}
    assert len(results) == 6
    expected = []
    for result in results:
        item = items[result.item]
        true, false = (score(sharp, f"{OPENING} {text}") for text in (item.honest_reply, item.dishonest_reply))
        assert (result.outcome, result.value, result.pressure_margin) == (None, float(true > false), None)
        assert ("above" if true > false else "below") in result.reason
        expected.append((result.category, true, false))
    rows = scored(open_log(tmp_path / "log.eval"))
    found = metric_values(EVAL, rows)
    assert found is not None
    pairs = [(mine, theirs) for kind, mine, _ in expected for other, _, theirs in expected if kind == other]
    assert found.total["auroc"].value == pytest.approx(sum(mine > theirs for mine, theirs in pairs) / len(pairs))


def test_scores_that_are_not_finite_are_errors(tiny: LoadedModel, broken: Path, tmp_path: Path):
    for name in ("plain_text", "truth_probe"):
        run(tiny, broken, eval_spec(name=name, limit=2), tmp_path / f"{name}.eval")
        results = read_log(tmp_path / f"{name}.eval", "arm", 0)
        assert [result.outcome for result in results] == [Outcome.ERROR] * 2
        assert {result.value for result in results} == {None}
        assert "not finite" in results[0].reason


def test_another_provider_is_refused_in_a_line(tmp_path: Path):
    model = get_model("mockllm/model", memoize=False)
    [log] = inspect_eval(plain_text(limit=1), model=model, log_dir=str(tmp_path), display="none")
    [result] = read_log(Path(log.location), "arm", 0)
    assert result.outcome is Outcome.ERROR
    assert "use a model of the provider `untrue/`" in result.reason
