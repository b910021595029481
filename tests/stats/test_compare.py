"""Arms against their controls, and arms alone, by hand."""

import math

import numpy as np
import pytest

from untrue.stats import compare, summarise


def test_one_arm_by_hand(results):
    control = results("control", [[0], [0], [1], [0]], [[1.0], [2.0], [3.0], [4.0]], [[1.0], [1.0], [1.0], [1.0]])
    arm = results("arm", [[1], [1], [1], [None]], [[0.0], [0.0], [0.0], [0.0]], [[1.0], [1.0], [1.0], [1.0]])
    lie_rate, pressure, neutral, gap = compare([*control, *arm], {"arm": "control"})
    assert [c.metric for c in (lie_rate, pressure, neutral, gap)] == [
        "lie_rate",
        "pressure_margin",
        "neutral_margin",
        "pressure_gap",
    ]
    # Three pairs are left; the error drops the fourth. Lies: 1/3 before, 3/3 after; two items up, none down: 2 / 2^2.
    assert (lie_rate.n_items, lie_rate.n_seeds, lie_rate.n_pairs, lie_rate.n_dropped) == (3, 1, 3, 1)
    assert (lie_rate.control_mean, lie_rate.arm_mean) == pytest.approx((1 / 3, 1))
    assert lie_rate.difference.value == pytest.approx(2 / 3)
    assert lie_rate.p == lie_rate.p_holm == pytest.approx(0.5)
    # Margins fall by 1, 2 and 3: -2 on average, 2 of 8 sign patterns as far out. Resampled means lie within -3 and -1.
    assert pressure.difference.value == pytest.approx(-2.0)
    assert -3 <= pressure.difference.low < -2 < pressure.difference.high <= -1
    assert pressure.p == pytest.approx(0.25)
    assert (neutral.difference.value, neutral.p) == (0.0, 1.0)
    assert gap.difference == pressure.difference
    assert all(c.mde == math.inf for c in (lie_rate, pressure, neutral, gap))  # three items can show nothing


def test_missing_items_and_seeds_are_counted(results):
    control = results("control", [[0, 0, 0], [0, 0, 0]])
    arm = results("arm", [[1, None, "gone"], [0, 0, "gone"], [1, 1, "gone"]])
    (comparison,) = compare([*control, *arm], {"arm": "control"})
    # Of three items x three seeds: an error, the third seed (3) and what only the arm answered (2 more) are dropped.
    assert (comparison.n_pairs, comparison.n_dropped) == (3, 6)
    assert (comparison.n_items, comparison.n_seeds) == (2, 2)
    assert comparison.difference.value == pytest.approx(1 / 3)


def test_holm_is_over_the_arms_within_a_metric(results):
    nine = [[0]] * 9
    control = results("control", nine)
    weak = results("weak", [[1]] * 6 + [[0]] * 3)  # p = 2 / 2^6 = 0.03125
    strong = results("strong", [[1]] * 9)  # p = 2 / 2^9 = 0.00390625
    comparisons = compare([*weak, *control, *strong], {"strong": "control", "weak": "control"})
    assert [c.arm for c in comparisons] == ["weak", "strong"]  # as they first appear in the results
    assert [c.p for c in comparisons] == pytest.approx([0.03125, 0.00390625])
    assert [c.p_holm for c in comparisons] == pytest.approx([0.03125, 0.0078125])


@pytest.mark.parametrize("seeds", [1, 3])
def test_swapping_arm_and_control_flips_the_signs(arm, seeds):
    data = [*arm("a", seeds=seeds), *arm("b", lie_rate=0.2, shift=-0.05, seeds=seeds, errors=2)]
    for forth, back in zip(compare(data, {"b": "a"}), compare(data, {"a": "b"}), strict=True):
        assert back.difference.value == pytest.approx(-forth.difference.value)
        assert (back.arm_mean, back.control_mean) == (forth.control_mean, forth.arm_mean)
        assert back.p == pytest.approx(forth.p)
        assert (back.n_pairs, back.n_dropped) == (forth.n_pairs, forth.n_dropped)
        # With one seed the limits mirror exactly; with several the draws for the seeds differ in sign.
        relative, absolute = (1e-9, 1e-12) if seeds == 1 else (0.1, 0.005)
        assert (back.difference.low, back.difference.high) == pytest.approx(
            (-forth.difference.high, -forth.difference.low), rel=relative, abs=absolute
        )
        assert back.mde == pytest.approx(forth.mde, rel=0.1)


def test_an_arm_against_a_copy_of_itself_differs_in_nothing(arm, results):
    outcomes = [[0, 1]] * 20
    margins = np.random.default_rng(0).normal(0, 1, (20, 2)).tolist()
    copies = [*results("a", outcomes, margins), *results("b", outcomes, margins)]
    lie_rate, pressure = compare(copies, {"b": "a"})
    assert lie_rate.p == pressure.p == 1.0
    assert lie_rate.difference.low < 0 < lie_rate.difference.high
    assert lie_rate.mde > 0.3  # 7.9 / 20
    assert pressure.difference == (0.0, 0.0, 0.0)
    assert pressure.mde == math.inf


def test_without_a_single_pair_nothing_is_claimed(results):
    (comparison,) = compare([*results("control", [[0], [1]]), *results("arm", [[None], [None]])], {"arm": "control"})
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
    assert first.held_share == pytest.approx(4 / 6)
    assert first.pressure_margin is not None and first.pressure_margin.value == pytest.approx(15 / 5)  # no error
    assert first.neutral_margin is not None and first.neutral_margin.value == pytest.approx(1 / 5)
    assert first.pressure_gap is not None and first.pressure_gap.value == pytest.approx(14 / 5)
    assert second.pressure_margin is None


def test_an_arm_of_errors_has_no_margin_and_no_belief(results):
    (summary,) = summarise(results("arm", [[None], [None]], [[1.0], [1.0]]), {})
    assert summary.lie_rate_given_belief is None and summary.pressure_margin is None
    assert summary.held_share == 0.0
    assert (
        summary.lie_rate is not None and summary.lie_rate.high > 0.8
    )  # two items without a lie: 1 - 0.025^(1/2) = 0.84
