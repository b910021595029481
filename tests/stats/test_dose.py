"""The straight line through the doses, by hand and against numpy."""

import numpy as np
import pytest
import scipy.stats

from untrue.stats import trend

DOSES = {"control": 0.0, "some": 0.1, "half": 0.5}


def arms(results, slopes, doses=DOSES, seeds=1):
    """Arms whose item i has the margin i + slope_i x dose."""
    return [
        result
        for name, dose in doses.items()
        for result in results(
            name, [[0] * seeds] * len(slopes), [[item + slope * dose] * seeds for item, slope in enumerate(slopes)]
        )
    ]


def of_margin(trends):
    [line] = [line for line in trends if line.metric == "pressure_margin"]
    return line


def test_straight_lines_give_their_slopes(results):
    slopes = [-1.0, -2.0, -3.0, -1.0, 0.0, -5.0]
    lie_rate, evasions, pressure = trend(arms(results, slopes), DOSES)
    assert [line.metric for line in (lie_rate, evasions, pressure)] == ["lie_rate", "evasion_rate", "pressure_margin"]
    student = scipy.stats.ttest_1samp(slopes, 0)
    assert pressure.slope == pytest.approx((-2.0, *student.confidence_interval()))  # the mean of the slopes
    assert pressure.p == pytest.approx(student[1])
    assert (pressure.n_items, pressure.n_seeds) == (6, 1)
    assert lie_rate.slope.value == 0.0 and lie_rate.p == 1.0
    assert lie_rate.slope.low < 0 < lie_rate.slope.high  # nobody lied, which is not certainty


def test_slope_is_the_least_squares_one(results):
    values = np.random.default_rng(0).normal(0, 1, (3, 8, 2))
    data = [r for name, grid in zip(DOSES, values, strict=True) for r in results(name, [[0, 0]] * 8, grid.tolist())]
    expected = np.polyfit(list(DOSES.values()), values.reshape(3, -1), 1)[0].mean()
    assert of_margin(trend(data, DOSES)).slope.value == pytest.approx(expected)


def test_an_item_without_a_value_at_every_dose_is_left_out(results):
    data = arms(results, [-1.0, -2.0, -30.0])
    lost = [r for r in data if (r.arm, r.item) != ("some", "item-2")]
    pressure = of_margin(trend(lost, DOSES))
    assert pressure.slope.value == pytest.approx(-1.5)
    assert pressure.n_items == 2


def test_arms_without_a_dose_do_not_matter_and_two_doses_are_needed(results):
    data = arms(results, [-1.0, -2.0])
    assert trend([*data, *results("other", [[1]], [[9.0]])], DOSES) == trend(data, DOSES)
    assert trend(data, {"control": 0.0}) == []
    with pytest.raises(ValueError, match="no results for all"):
        trend(data, {"control": 0.0, "all": 1.0})


def test_doses_that_share_no_item_claim_nothing(results):
    data = [*results("a", [[0]]), *results("b", [["gone"], [0]])]
    lie_rate, _ = trend(data, {"a": 0.0, "b": 1.0})
    assert np.isnan(lie_rate.slope.value)
    assert (lie_rate.p, lie_rate.n_items, lie_rate.n_seeds) == (1.0, 0, 0)


def test_a_matched_control_is_taken_off_its_arm(results):
    doses = {"control": 0.0, "severe-0.1": 0.1, "severe-0.5": 0.5}
    data = arms(results, [-3.0, -5.0], doses)
    # The matched controls fall by 1 for a dose of 1 themselves, so of -3 and -5 only -2 and -4 are the answers' doing.
    data += arms(results, [-1.0, -1.0], {"normal-0.1": 0.1, "normal-0.5": 0.5})
    controls = {"severe-0.1": "normal-0.1", "severe-0.5": "normal-0.5"}
    assert of_margin(trend(data, doses, controls)).slope.value == pytest.approx(-3.0)
    assert of_margin(trend(data, doses)).slope.value == pytest.approx(-4.0)
