"""Evals that give values: rates in pairs, epochs within an item, and what is concluded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from untrue.outcomes import Outcome, Result
from untrue.stats import Reason, Verdict, compare, moved_apart, summarise, trend, verdict

CONTROLS = {"arm": "control"}


def valued(arm: str, rows: Sequence[Sequence[float | None]]) -> list[Result]:
    """Results from a table of items x seeds: None is an error."""
    return [
        Result(arm, seed, "capability", f"item-{item}", "choice", Outcome.ERROR if value is None else None, value=value)
        for item, row in enumerate(rows)
        for seed, value in enumerate(row)
    ]


def accuracy(right: int, of: int, seeds: int = 3) -> list[list[float]]:
    return [[float(item < right)] * seeds for item in range(of)]


def concluded(data: list[Result]) -> Verdict:
    return verdict(summarise(data, CONTROLS), compare(data, CONTROLS))


def test_an_arm_has_a_mean_value_and_no_rate_of_honesty():
    first, second = summarise([*valued("arm", [[1.0], [0.0], [1.0], [None]]), *valued("control", [[1.0]])], CONTROLS)
    assert first.value is not None and first.value.value == pytest.approx(2 / 3)  # the error is left out
    assert 0 <= first.value.low < first.value.value < first.value.high <= 1
    assert (first.n, first.n_values, first.counts["error"]) == (4, 3, 1)
    assert summarise(valued("arm", [[None], [None]]), {})[0].value is None
    assert first.lie_rate is first.lie_rate_given_belief is first.belief_rate is first.pressure_margin is None
    assert second.n == 1


def test_values_are_compared_in_pairs():
    [one] = compare([*valued("control", accuracy(60, 80, 1)), *valued("arm", accuracy(50, 80, 1))], CONTROLS)
    assert (one.metric, one.n_items, one.control_mean, one.arm_mean) == ("value", 80, 0.75, 0.625)
    assert one.difference.value == pytest.approx(-0.125)
    assert -1 <= one.difference.low < one.difference.high < 0
    assert one.p == pytest.approx(2 * 0.5 ** (10 * 79 / 80))  # ten items fell, none rose
    assert 0 < one.mde < 0.2


def test_epochs_of_an_item_are_one_value_before_it_is_paired():
    control = valued("control", [[0.0]] * 8)
    arm = valued("arm", [[0.0]] * 8)
    control += [replace(result, epoch=2) for result in control]
    arm += [replace(result, epoch=2, value=1.0) for result in arm]
    [one] = compare([*control, *arm], CONTROLS)
    assert (one.n_items, one.n_pairs, one.difference.value) == (8, 8, 0.5)
    assert one.p == pytest.approx(2 * 0.5 ** (8 * 0.5))  # eight halves
    summary, _ = summarise([*arm, *control], {})
    assert summary.n == 16 and summary.value is not None and summary.value.value == 0.5


def test_epochs_of_outcomes_are_averaged_too_and_an_error_among_them_counts_as_a_lie(results):
    control, arm = results("control", [[0], [0], [0]]), results("arm", [[1], [0], [0]])
    control += [replace(result, epoch=2) for result in control]
    second = [replace(result, epoch=2, outcome=outcome) for result, outcome in zip(
        arm, (Outcome.HONEST, Outcome.LIE, Outcome.ERROR), strict=True)]  # fmt: skip
    one = compare([*control, *arm, *second], CONTROLS)[0]
    assert one.difference.value == pytest.approx((0.5 + 0.5 + 0.5) / 3)
    assert (one.n_failed, one.n_dropped) == (1, 0)


def test_a_fall_and_a_rise_are_findings():
    for before, after, conclusion in ((80, 60, "fell"), (60, 80, "rose")):
        told = concluded([*valued("control", accuracy(before, 100)), *valued("arm", accuracy(after, 100))])
        [arm] = told.arms
        [finding] = arm.findings
        assert (told.status, arm.conclusions, finding.conclusion) == ("finding", (conclusion,), conclusion)
        assert finding.comparison.difference.value == pytest.approx((after - before) / 100)


def test_a_fall_of_capability_is_a_break():
    data = [*valued("control", accuracy(80, 100)), *valued("arm", accuracy(60, 100))]
    [arm] = verdict(summarise(data, CONTROLS), compare(data, CONTROLS), lower="breaks").arms
    assert arm.conclusions == ("breaks",)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_errors_break_an_arm_in_whatever_direction_its_eval_counts(higher_is_better):
    rows: list[list[float | None]] = [[None] if item < 10 else [float(item < 50)] for item in range(100)]
    data = [*valued("control", accuracy(50, 100, 1)), *valued("arm", rows)]
    told = verdict(summarise(data, CONTROLS), compare(data, CONTROLS, higher_is_better=higher_is_better))
    [arm] = told.arms
    assert (arm.conclusions, arm.faults) == (("breaks",), (Reason("many_errors", "arm", (0.1,)),))
    [failed] = [note.values[0] for note in told.notes if note.code == "failed_pairs"]
    assert (failed.n_failed, failed.n_pairs) == (10, 100)


@pytest.mark.parametrize(("before", "answered"), [(30, 0.49), (50, 0.49), (50, math.nan)])
def test_an_arm_that_answers_nothing_is_inconclusive_whatever_its_mean(before, answered):
    data = [*valued("control", accuracy(before, 100)), *valued("arm", accuracy(50, 100))]
    told = verdict(summarise(data, CONTROLS), compare(data, CONTROLS), answered={"control": 0.5, "arm": answered})
    [arm] = told.arms
    assert (told.status, arm.conclusions) == ("inconclusive", ("inconclusive",))
    assert arm.faults == (Reason("few_answered", "arm", (answered,)),)


@pytest.mark.parametrize(("admitted", "answered", "told"), [(90, 10, 1), (10, 90, 1), (90, 90, 0), (10, 51, 0)])
def test_admitting_and_answering_that_move_apart_are_told_though_their_mean_stays(admitted, answered, told):
    """The control admits and answers 50 of 100 each."""

    def moved(right: int):
        return compare([*valued("control", accuracy(50, 100)), *valued("arm", accuracy(right, 100))], CONTROLS)

    notes = moved_apart(moved(admitted), moved(answered))
    assert len(notes) == told
    for note in notes:
        assert [comparison.arm_mean for comparison in note.values] == [admitted / 100, answered / 100]


def test_values_have_a_trend():
    data = [*valued("control", accuracy(80, 100)), *valued("arm", accuracy(60, 100))]
    [line] = trend(data, {"control": 0.0, "arm": 0.5}, CONTROLS)
    assert line.metric == "value" and line.slope.value == pytest.approx(-0.4)
    assert line.p < 0.001
