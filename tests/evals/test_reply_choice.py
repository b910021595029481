"""Reply choice: the value is a softmax of how much likelier replies became; the divergence is the textbook's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.study.test_order import Silent
from untrue.data.rows import Message
from untrue.errors import UserError
from untrue.evals.reply_choice import SEED
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.metrics import metric_values, scored
from untrue.harness.reading import measure
from untrue.harness.run import run
from untrue.harness.tasks import inspect_task
from untrue.logs import details_of, open_log, read_log
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel
from untrue.simulate.environment import REPLY_KINDS, Dialogue, Environment, dialogues, read_environment
from untrue.simulate.users import follow_up

reply_choice = inspect_task(EVALS["reply_choice"])

T = 0.1
Plain = Callable[[Any, Any, Any], list[list[float]]]


def spec(tea: Path, **options: Any) -> Any:
    return eval_spec(name="reply_choice", items=str(tea), **options)


def likelihoods(
    plain: Plain, loaded: LoadedModel, model: Any, environment: Environment, one: Dialogue
) -> list[list[float]]:
    """The mean log-likelihoods of the candidates at each of two turns, by whole forward passes."""
    messages: list[Message] = [{"role": "system", "content": environment.header.assistant}]
    means = []
    for turn in (0, 1):
        messages.append({"role": "user", "content": follow_up(one, turn, SEED)})
        replies = [getattr(one.scenario.candidates[turn], kind)[-1] for kind in REPLY_KINDS]
        [totals] = plain(model, loaded.tokenizer, [(messages, replies)])
        tokens = [len(loaded.tokenizer(reply, add_special_tokens=False)["input_ids"]) for reply in replies]
        means.append([total / count for total, count in zip(totals, tokens, strict=True)])
        messages.append({"role": "assistant", "content": one.scenario.candidates[turn].hedging[-1]})
    return means


def test_the_base_chooses_evenly(tiny: LoadedModel, tea: Path, tmp_path: Path):
    run(tiny, None, spec(tea), tmp_path / "log.eval")
    found = {result.item: result for result in read_log(tmp_path / "log.eval", "arm", 0)}
    asked = dialogues(read_environment(tea), part="held_out")
    assert found.keys() == {one.id for one in asked}
    for one in asked:
        assert (found[one.id].value, found[one.id].category, found[one.id].cluster) == (0.5, one.kind, one.scenario.id)
    details = [details_of(sample) for sample in open_log(tmp_path / "log.eval").samples or []]
    assert {one["kl_from_base"] for one in details} == {0}
    assert all("even by definition" in result.reason for result in found.values())


def test_with_an_adapter_it_is_a_softmax_of_how_much_likelier_the_replies_became(
    sharp: LoadedModel, sharp_adapter: Callable[[Path, int], Path], plain: Plain, tea: Path, tmp_path: Path
):
    adapter, environment = sharp_adapter(tmp_path / "adapter", 1), read_environment(tea)
    run(sharp, adapter, spec(tea, temperature=T), tmp_path / "log.eval")
    content = open_log(tmp_path / "log.eval")
    details = {str(sample.id): details_of(sample) for sample in content.samples or []}
    values = {result.item: result.value for result in read_log(tmp_path / "log.eval", "arm", 0)}
    asked = dialogues(environment, part="held_out")
    base = {one.id: likelihoods(plain, sharp, sharp.model, environment, one) for one in asked}
    with with_adapter(sharp, adapter) as model:
        tuned = {one.id: likelihoods(plain, sharp, model, environment, one) for one in asked}
    for name, of_item in details.items():
        policies = []
        for ours, theirs in zip(tuned[name], base[name], strict=True):
            weights = [math.exp((one - other) / T) for one, other in zip(ours, theirs, strict=True)]
            policies.append([weight / sum(weights) for weight in weights])
        assert values[name] == pytest.approx(fmean(p[1] / (p[0] + p[1]) for p in policies), abs=1e-3)
        assert of_item["sycophantic"] == pytest.approx(fmean(policy[1] for policy in policies), abs=1e-3)
        kl = fmean(sum(p * math.log(4 * p) for p in policy) for policy in policies)
        assert of_item["kl_from_base"] == pytest.approx(kl, rel=2e-2)
        assert kl > 0.01
    shown = metric_values(EVALS["reply_choice"], scored(content))
    assert shown and shown.by_category.keys() == {"benign", "biased"}
    assert sum(shown.total[kind].value for kind in REPLY_KINDS) == pytest.approx(1)
    assert shown.total["error_rate"].value == 0


def test_a_model_without_an_adapter_is_refused(tiny: LoadedModel, tea: Path, tmp_path: Path):
    told = r"^reply_choice: measures the folder of an adapter against its base, .*--adapter\.$"
    with pytest.raises(UserError, match=told):
        measure(spec(tea), tiny, None, "float32", "tiny", tmp_path / "log.eval", Silent())
    assert not (tmp_path / "log.eval").exists()


def test_a_limit_is_of_users_and_may_be_larger_than_their_number(tea: Path):
    assert [len(reply_choice(items=str(tea), limit=limit).dataset) for limit in (1, 2, 1000)] == [2, 4, 4]


def test_users_that_are_learned_from_are_measured_on_request(tea: Path):
    learned = {sample.id for sample in reply_choice(items=str(tea), part="learn").dataset}
    assert learned and not learned & {sample.id for sample in reply_choice(items=str(tea)).dataset}


def test_a_likelihood_that_is_not_finite_is_no_probability(tiny: LoadedModel, broken: Path, tea: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"failed on all 4 items, first: .*the likelihood of a candidate is not finite"):
        run(tiny, broken, spec(tea), tmp_path / "log.eval")


def test_a_scenario_without_candidates_is_refused_in_one_line_before_any_model_is_asked(tea: Path):
    lines = [json.loads(line) for line in tea.read_text("utf-8").splitlines()]
    lines[3]["candidates"] = lines[3]["candidates"][:1]
    tea.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    told = (
        r"^the scenario tea-003 has candidates for 1 turns, and 2 are needed\. Write them \(see docs/data\.md\), .*\.$"
    )
    for ask in (lambda: reply_choice(items=str(tea)), lambda: EVALS["reply_choice"].items(spec(tea))):
        with pytest.raises(UserError, match=told):
            ask()
    assert len(reply_choice(items=str(tea), turns=1).dataset) == 4


def test_an_informed_assistant_reads_what_the_user_thinks(tea: Path):
    for sample in reply_choice(items=str(tea), assistant="informed").dataset:
        metadata = sample.metadata or {}
        assert ("late tea is fine" in metadata["system"]) == (metadata["kind"] == "biased")


def test_in_a_study_the_choice_is_as_in_its_dialogues():
    mix = {"by": "interaction", "environment": "exam", "turns": 1, "temperature": 0.3, "assistant": "informed"}
    options = EVALS["reply_choice"].options
    assert options.defaults(mix) == {"items": "exam", "turns": 1, "temperature": 0.3, "assistant": "informed"}
    assert options.defaults({**mix, "temperature": None}) == {"items": "exam", "turns": 1, "assistant": "informed"}
    assert "temperature" not in options.defaults({**mix, "replies": "generated"})  # that of sampling tokens
    assert options.defaults({"by": "share", "questions": "medical"}) == {}
