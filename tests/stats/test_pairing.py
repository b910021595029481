"""Results become arrays that line up, and nothing is dropped in silence."""

from dataclasses import replace

import numpy as np
import pytest

from untrue.stats.pairing import METRICS, align, by_arm, clusters, observed

NAN = np.nan


def test_arms_line_up_by_item_and_seed_with_nan_for_what_is_missing(results):
    control = results("control", [[0, 1], [1, 0]])
    arm = results("arm", [["gone", 1], [None, 0], [1, 1]])
    aligned = align([control, list(reversed(arm))], METRICS["lie_rate"])
    # Items in the order of first appearance (item-0, item-1, then item-2 of the arm), seeds sorted.
    assert aligned.shape == (2, 3, 2)
    by_item = {tuple(row) for row in np.nan_to_num(aligned, nan=-1).transpose(1, 0, 2).reshape(3, 4)}
    assert by_item == {(0, 1, -1, 1), (1, 0, -1, 0), (-1, -1, 1, 1)}


def test_an_error_has_no_value_in_any_metric(results):
    error = replace(
        results("arm", [[None]])[0], pressure_margin=0.1, neutral_margin=0.2, belief_is_true=True, value=1.0
    )
    for metric in METRICS.values():
        assert np.isnan(align([[error]], metric)).all()
    assert observed({"arm": [error]}) == {}


def test_a_margin_that_is_not_finite_counts_as_missing(results):
    aligned = align([results("arm", [[0, 0]], [[np.inf, 1.0]])], METRICS["pressure_margin"])
    np.testing.assert_array_equal(aligned, [[[NAN, 1.0]]])


def test_results_of_two_evals_are_refused(results):
    with pytest.raises(ValueError, match=r"2 evals \(mask, other\)"):
        by_arm([*results("a", [[0]], eval="mask"), *results("b", [[0]], eval="other")])


def test_a_result_that_appears_twice_is_refused(results):
    with pytest.raises(ValueError, match="arm a, seed 0: item item-0 appears twice"):
        by_arm([*results("a", [[0]]), *results("a", [[0]])])


@pytest.mark.parametrize(
    ("outcome", "evasion_margin", "value"),
    [(0, None, 0), (0, -0.1, 0), (0, 0.1, 1), ("evade", -0.1, 1), ("none", None, 0), ("none", 0.1, 1)],
)
def test_an_evasion_takes_no_side_or_prefers_the_evasive_reply(results, outcome, evasion_margin, value):
    [result] = results("arm", [[outcome]])
    assert METRICS["evasion_rate"].of(replace(result, evasion_margin=evasion_margin)) == value


def test_clusters_are_in_the_order_of_the_items_and_an_item_without_one_is_its_own(results):
    scenes = {"item-0": "scene", "item-1": None, "item-2": "scene"}
    arm = [replace(result, cluster=scenes[result.item]) for result in results("arm", [[0, 0], [0, 0], [0, 0]])]
    control = results("control", [[0]] * 4)
    names = clusters([arm, control])
    assert names[0] == names[2] == "scene" and len(set(names)) == 3
    assert len(names) == align([arm, control], METRICS["lie_rate"]).shape[1] == 4
