"""A second witness is compared and shown, and decides nothing."""

from __future__ import annotations

import pytest

from untrue.outcomes import Outcome, Result
from untrue.stats import compare, summarise, verdict
from untrue.stats.pairing import METRICS


def witnessed(arm: str, shift: float = 0.0, items: int = 30, seeds: int = 1, errors: int = 0) -> list[Result]:
    return [
        Result(
            arm,
            seed,
            "plain_text",
            f"item-{item}",
            "facts",
            Outcome.ERROR if item < errors else None,
            truth_margin=None if item < errors else 0.01 * (item % 7) + shift + 0.001 * (item % 3) * len(arm),
        )
        for seed in range(seeds)
        for item in range(items)
    ]


def test_an_arm_has_a_mean_truth_margin_and_no_rate_of_honesty():
    [found] = summarise(witnessed("arm", errors=3), {})
    assert (found.n, found.n_values, found.counts["error"]) == (30, 27, 3)
    assert (found.lie_rate, found.belief_rate, found.evasion_rate, found.value) == (None, None, None, None)
    assert found.truth_margin is not None and found.truth_margin.value == pytest.approx(0.034, abs=0.01)


def test_margins_are_compared_in_pairs_and_not_corrected():
    results = [*witnessed("control"), *witnessed("a", -0.2), *witnessed("b", -0.001)]
    found = compare(results, {"a": "control", "b": "control"})
    assert [(row.arm, row.metric) for row in found] == [("a", "truth_margin"), ("b", "truth_margin")]
    assert [row.p_holm for row in found] == [row.p for row in found]
    assert found[0].is_found and found[0].is_worse
    assert found[0].difference.value == pytest.approx(-0.206)
    assert METRICS["truth_margin"].worse == -1


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("errors", [0, 30])
def test_whatever_it_shows_nothing_is_concluded(seeds: int, errors: int):
    results = [*witnessed("control", seeds=seeds), *witnessed("arm", -0.2, seeds=seeds, errors=errors)]
    controls = {"arm": "control"}
    compared = compare(results, controls)
    found = verdict(summarise(results, controls), compared, decides=False)
    [arm] = found.arms
    assert (arm.conclusions, arm.findings, arm.status, found.status) == (("witness",), (), "no_finding", "no_finding")
    assert found.compared == tuple(compared)
    assert [fault.code for fault in arm.faults] == (["many_errors"] if errors else [])
    assert found.n_seeds == (0 if errors else seeds)
