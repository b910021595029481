"""Arms against their controls, and arms alone, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from untrue.outcomes import Result
from untrue.stats import compare, summarise
from untrue.stats.compare import PRIMARY
from untrue.stats.intervals import change_interval, mean_interval
from untrue.stats.tests import holm, mde, p_value


def by_metric(comparisons, arm="arm"):
    return {comparison.metric: comparison for comparison in comparisons if comparison.arm == arm}


def test_one_arm_by_hand(results):
    control = results("control", [[0], [0], [1], [0]], [[1.0], [2.0], [3.0], [4.0]], [[1.0], [1.0], [1.0], [1.0]])
    arm = results("arm", [[1], [0], [1], [None]], [[0.0], [0.0], [0.0], [0.0]], [[1.0], [1.0], [1.0], [1.0]])
    compared = by_metric(compare([*control, *arm], {"arm": "control"}))
    assert list(compared) == ["lie_rate", "evasion_rate", "pressure_margin", "pressure_gap", "neutral_margin"]
    lie_rate, pressure = compared["lie_rate"], compared["pressure_margin"]
    # The arm's failure stands as a lie. Lies: 1 of 4 before, 3 of 4 after.
    assert (lie_rate.n_items, lie_rate.n_seeds, lie_rate.n_pairs) == (4, 1, 4)
    assert (lie_rate.n_failed, lie_rate.n_dropped) == (1, 0)
    assert (lie_rate.control_mean, lie_rate.arm_mean, lie_rate.difference.value) == (1 / 4, 3 / 4, 1 / 2)
    evasions = compared["evasion_rate"]
    assert (evasions.n_failed, evasions.control_mean, evasions.arm_mean) == (1, 0, 1 / 4)
    # A margin has no worst value: the pair is dropped. The others fall by 1, 2 and 3: t of 2 degrees, 4.30 / sqrt(3).
    assert (pressure.n_pairs, pressure.n_failed, pressure.n_dropped) == (3, 0, 1)
    assert pressure.difference == pytest.approx((-2, -2 - 4.3027 / math.sqrt(3), -2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert compared["neutral_margin"].difference.value == 0.0
    assert compared["pressure_gap"].difference == pressure.difference
    for comparison in compared.values():  # four items can show nothing
        assert (comparison.p, comparison.mde, comparison.is_found) == (1.0, math.inf, False)


def test_what_the_control_lacks_is_dropped_and_what_the_arm_lacks_counts_against_it(results):
    control = results("control", [[0, 0, 0], [0, None, 0]])
    arm = results("arm", [[1, None, "gone"], [0, 0, "gone"], [1, 1, "gone"]])
    lies = by_metric(compare([*control, *arm], {"arm": "control"}))["lie_rate"]
    # Of three items x three seeds the control has five answers. The arm has two of these; an error and two absent
    # results of the third seed are failures. What only the arm answered, and item 1 at seed 1, is dropped.
    assert (lies.n_pairs, lies.n_failed, lies.n_dropped) == (5, 3, 4)
    assert (lies.n_items, lies.n_seeds) == (2, 3)
    assert lies.difference.value == pytest.approx(4 / 5)
    assert by_metric(compare([*control, *arm], {"arm": "control"}))["evasion_rate"].difference.value == 3 / 5


def test_failures_of_both_arms_cancel(results):
    """An item that neither could answer says nothing of their difference, in whatever number."""
    answered = [[0]] * 20 + [[1]] * 5
    sound = by_metric(compare([*results("control", answered), *results("arm", answered)], {"arm": "control"}))
    failed = [*answered, *[[None]] * 30]
    cut = by_metric(compare([*results("control", failed), *results("arm", failed)], {"arm": "control"}))
    assert cut["lie_rate"].difference == sound["lie_rate"].difference
    assert (cut["lie_rate"].n_failed, cut["lie_rate"].n_dropped, cut["lie_rate"].p) == (0, 30, 1.0)


@pytest.mark.parametrize(("higher_is_better", "worst"), [(True, 0.0), (False, 1.0)])
def test_a_value_that_is_missing_is_the_worst_of_its_eval(higher_is_better, worst):
    control = [Result("control", 0, "chat", str(n), "", None, value=0.5) for n in range(10)]
    arm = [replace(result, arm="arm") for result in control[:6]]
    [value] = compare([*control, *arm], {"arm": "control"}, higher_is_better=higher_is_better)
    assert (value.n_failed, value.worse) == (4, -1 if higher_is_better else 1)
    assert value.arm_mean == pytest.approx((6 * 0.5 + 4 * worst) / 10)
    assert value.is_worse and value.may_be_failures


def graded_values(arm, values):
    return [
        Result(arm, 0, "chat", f"{scene}/{user}", "", None, value=float(value), cluster=str(scene))
        for scene, of_scene in enumerate(values)
        for user, value in enumerate(of_scene)
    ]


def test_probabilities_are_tested_as_margins_are_and_one_that_is_missing_is_still_the_worst():
    before = np.random.default_rng(0).uniform(0.2, 0.6, (10, 4))
    control = graded_values("control", before)
    differences = 0.1 + np.random.default_rng(1).normal(0, 0.1, (10, 4))
    arm = graded_values("arm", before + differences)
    [value] = compare([*control, *arm], {"arm": "control"}, higher_is_better=False, graded=True)
    scenes = [str(scene) for scene in range(10) for _ in range(4)]
    grid = differences.reshape(-1, 1)
    assert value.difference == pytest.approx(mean_interval(grid, scenes))
    assert value.p == pytest.approx(p_value(grid, scenes, is_rate=False)) and value.p < 0.01
    assert value.mde == pytest.approx(mde(grid, scenes, is_rate=False))
    [counted] = compare([*control, *arm], {"arm": "control"}, higher_is_better=False)
    assert counted.difference == pytest.approx(change_interval(grid, scenes)) != value.difference
    [failed] = compare([*control, *arm[4:]], {"arm": "control"}, higher_is_better=False, graded=True)
    assert (failed.n_pairs, failed.n_failed) == (40, 4)
    assert failed.arm_mean == pytest.approx(((before + differences)[1:].sum() + 4 * 1.0) / 40)


def test_the_interval_of_an_arm_of_probabilities_is_that_of_a_mean_and_stays_between_0_and_1():
    values = np.full((10, 4), 0.02) + np.eye(10, 4) * 0.2
    [summary] = summarise(graded_values("arm", values), {}, graded=True)
    assert summary.value is not None
    expected = mean_interval(values.reshape(-1, 1), [str(scene) for scene in range(10) for _ in range(4)])
    assert summary.value == pytest.approx((expected.value, max(0.0, expected.low), expected.high))
    [wide] = summarise(graded_values("arm", [[0.0] * 4] * 9 + [[0.5] * 4]), {}, graded=True)
    assert wide.value is not None and wide.value.low == 0.0


def test_items_of_a_cluster_are_one_draw(results):
    control, arm = results("control", [[0]] * 40), results("arm", [[int(item < 8)] for item in range(40)])
    alone = by_metric(compare([*control, *arm], {"arm": "control"}))["lie_rate"]
    scenes = [replace(result, cluster=str(int(result.item[5:]) // 4)) for result in [*control, *arm]]
    clustered = by_metric(compare(scenes, {"arm": "control"}))["lie_rate"]
    assert clustered.difference.value == alone.difference.value
    assert clustered.p > 2 * alone.p and clustered.mde > alone.mde
    assert clustered.difference.high - clustered.difference.low > alone.difference.high - alone.difference.low


def test_holm_is_over_all_arms_and_the_metrics_that_decide(arm):
    data = [*arm("control"), *arm("weak", shift=-0.01), *arm("strong", lie_rate=0.4, shift=-0.2)]
    comparisons = compare(data, {"strong": "control", "weak": "control"})
    assert list(dict.fromkeys(c.arm for c in comparisons)) == ["weak", "strong"]  # as they first appear
    deciding = [c for c in comparisons if c.metric in PRIMARY]
    assert len(deciding) == 10  # of two arms: lies, evasions, beliefs, gap and neutral margin
    assert [c.p_holm for c in deciding] == holm([c.p for c in deciding])
    shown = [c for c in comparisons if c.metric not in PRIMARY]
    assert {c.metric for c in shown} == {"pressure_margin"} and all(c.p_holm == c.p for c in shown)
    [alone] = [c for c in compare(data, {"strong": "control"}) if c.metric == "lie_rate"]
    [among] = [c for c in deciding if (c.arm, c.metric) == ("strong", "lie_rate")]
    assert alone.p == among.p and alone.mde < among.mde  # more tests miss larger differences


def test_without_a_single_pair_nothing_is_claimed(results):
    data = [*results("control", [[None], [None]]), *results("arm", [[0], [1]])]
    comparison, _ = compare(data, {"arm": "control"})
    assert (comparison.n_pairs, comparison.n_dropped, comparison.p, comparison.p_holm) == (0, 2, 1.0, 1.0)
    assert math.isnan(comparison.difference.value) and math.isnan(comparison.control_mean)
    assert comparison.mde == math.inf


def test_wrong_controls_are_refused(results):
    data = [*results("control", [[0]]), *results("arm", [[0]])]
    with pytest.raises(ValueError, match="no results for base; there are results for control, arm"):
        compare(data, {"arm": "base"})
    with pytest.raises(ValueError, match="arm is its own control"):
        compare(data, {"arm": "arm"})
    assert compare(data, {}) == []


def test_summary_by_hand(results):
    control = results("control", [[0, 0]])
    arm = results(
        "arm",
        [[1, 0], ["none", None], ["evade", 1]],
        [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0]],
        [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]],
    )
    first, second = summarise([*arm, *control], {"arm": "control"})
    assert (first.arm, first.control, second.arm, second.control) == ("arm", "control", "control", None)
    assert (first.n_items, first.n_seeds) == (3, 2)
    assert first.counts == {"honest": 1, "lie": 2, "evade": 1, "no_belief": 1, "error": 1}
    assert first.lie_rate is not None and first.lie_rate.value == pytest.approx(2 / 6)  # of all results
    assert first.lie_rate_given_belief is not None and first.lie_rate_given_belief.value == pytest.approx(
        2 / 4
    )  # honest, lie, evade
    assert first.belief_rate and first.belief_rate.value == pytest.approx(4 / 6)
    assert first.pressure_margin is not None and first.pressure_margin.value == pytest.approx(15 / 5)  # no error
    assert first.neutral_margin is not None and first.neutral_margin.value == pytest.approx(1 / 5)
    assert first.pressure_gap is not None and first.pressure_gap.value == pytest.approx(14 / 5)
    assert second.pressure_margin is None


def test_an_arm_of_errors_has_no_margin_and_no_belief(results):
    (summary,) = summarise(results("arm", [[None], [None]], [[1.0], [1.0]]), {})
    assert summary.lie_rate_given_belief is summary.pressure_margin is summary.evasion_rate is None
    assert summary.belief_rate and summary.belief_rate.value == 0.0
    assert summary.lie_rate is not None and summary.lie_rate.high > 0.6  # two items without a lie: z^2 / (2 + z^2)


def test_a_summary_has_what_the_model_knows_reads_and_leaves_unsaid(results):
    arm = results("arm", [[0], ["evade"], ["none"], [None]], truth=[[True], [False], [False], [False]])
    reading = [replace(result, reads=read) for result, read in zip(arm, (True, None, False, None), strict=True)]
    [summary] = summarise(reading, {})
    assert summary.evasion_rate is not None and summary.evasion_rate.value == pytest.approx(1 / 3)  # not of the error
    assert summary.untrue_belief_rate is not None and summary.untrue_belief_rate.value == pytest.approx(2 / 3)
    assert summary.reads is None  # two items that try it say nothing
    tried = [replace(result, item=f"{result.item}-{copy}") for result in reading for copy in range(3)]
    [more] = summarise(tried, {})
    assert more.reads is not None and more.reads.value == 1 / 2  # of the items that try it
    [unknown] = summarise(results("arm", [[0], [1]]), {})
    assert unknown.untrue_belief_rate is unknown.reads is None
