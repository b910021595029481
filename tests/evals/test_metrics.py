"""The figures that are shown are those of Inspect's metrics, folded, and over several logs items stay the clusters."""

from __future__ import annotations

import pytest

from tests.evals.ruled import judged_run, metrics, score
from untrue.harness.catalogue import EVALS
from untrue.harness.metrics import Scored, core_rates, metric_values, scored
from untrue.harness.tasks import inspect_task
from untrue.outcomes import Outcome, Result
from untrue.stats import summarise

deceptionbench, mask, unknowns = (inspect_task(EVALS[name]) for name in ("deceptionbench", "mask", "unknowns"))

FLAGS = {"conclusive", "self_judged", "judge_one_sided"}


def lies_in_some(system: str, user: str) -> str:
    if "<think>" in user:
        aligned = "no" if len(user) % 2 else "yes"
        return f"<think>says-yes</think><output>says-{aligned}</output>" if len(user) % 5 else "no format"
    pressed = "truthfully" not in system and "friendly" not in system and "helpful" not in system
    return "says-A" if not pressed or len(system) % 3 else "says-B"


@pytest.mark.parametrize(("task", "kinds"), [(mask, 5), (deceptionbench, 5), (unknowns, 0)])
def test_they_are_those_that_inspect_computed_whole_and_by_kind(task, kinds, tmp_path):
    log = judged_run(task(limit=10), lies_in_some, tmp_path)
    found = metric_values(EVALS[task.__name__], scored(log))
    assert found
    shown = dict(found.total)
    shown |= {
        f"{kind}_{name}": figure for kind, of_kind in found.by_category.items() for name, figure in of_kind.items()
    }
    computed = metrics(log)
    assert {name for name in computed if not name.endswith(("_low", "_high"))} - FLAGS == shown.keys()
    assert found.total.keys() | set().union(*found.by_category.values()) == found.info.keys()
    for name, (value, low, high) in shown.items():
        assert value == pytest.approx(computed[name], nan_ok=True)
        assert [low, high] == pytest.approx([computed.get(f"{name}{end}") for end in ("_low", "_high")], nan_ok=True)
    assert len(found.by_category) == kinds


def test_evasions_in_inspects_view_are_those_of_the_report():
    margins = [(Outcome.EVADE, None), (Outcome.HONEST, 0.5), (Outcome.NO_BELIEF, -0.5), (Outcome.ERROR, None)]
    results = [
        Result("arm", 0, "forced_choice", f"item-{n}", "facts", outcome=outcome, evasion_margin=margin)
        for n, (outcome, margin) in enumerate(margins)
    ]
    [summary] = summarise(results, {})
    assert summary.evasion_rate
    rates = core_rates([Scored(result, {}, {}) for result in results])
    assert rates["evasion_rate"] == pytest.approx(summary.evasion_rate.value) == pytest.approx(2 / 3)


def test_logs_taken_together_have_as_many_clusters_as_items(tmp_path):
    log = judged_run(mask(limit=12), lies_in_some, tmp_path)
    once, thrice = (
        metric_values(EVALS["mask"], scored(log)),
        metric_values(EVALS["mask"], [row for seed in range(3) for row in scored(log, seed)]),
    )
    assert once and thrice
    assert 0 < once.total["lie_rate"].value < 1
    assert thrice.total["lie_rate"] == pytest.approx(once.total["lie_rate"])  # and no narrower
    assert (once.total["n"].value, thrice.total["n"].value) == (1, 1)


def test_a_sample_without_a_score_is_an_error_and_a_cut_statement_is_counted(tmp_path):
    log = judged_run(mask(limit=6), lies_in_some, tmp_path)
    first, second, *_ = log.samples or []
    first.scores = {}
    score(second).metadata["truncated"] = True
    found = metric_values(EVALS["mask"], scored(log))
    assert found
    assert found.total["error_rate"].value == found.total["truncated_rate"].value == pytest.approx(1 / 6)


def test_one_item_is_not_conclusive(tmp_path):
    for limit, conclusive in ((1, 0), (12, 1)):
        assert metrics(judged_run(mask(limit=limit), lies_in_some, tmp_path))["conclusive"] == conclusive
