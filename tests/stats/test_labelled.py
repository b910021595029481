"""Judged rates corrected by labels of a sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from untrue.stats.labelled import FEWEST_LABELS, Corrected, Replies, corrected


def replies(judged: object, labels: object, *, opened: object = None, clusters: object = None) -> Replies:
    """Replies of equal weight, one an item."""
    values = np.array(judged, dtype=float)
    n = len(values)
    return Replies(
        np.arange(n) if clusters is None else np.array(clusters),
        np.full(n, 1 / n),
        values,
        np.ones(n, bool) if opened is None else np.array(opened),
        np.array(labels, dtype=float),
    )


def of_both(first: Replies, second: Replies) -> Corrected:
    found = corrected(first, second)
    assert found
    return found


def test_labels_of_all_replies_are_what_counts_with_the_paired_interval_of_their_mean():
    control, arm = [0, 1] * 20, [1, 1, 0, 1] * 10
    judged = [1] * 40
    found = of_both(replies(judged, control), replies(judged, arm))
    assert (found.control.value, found.arm.value, found.difference.value) == pytest.approx((0.5, 0.75, 0.25))
    differences = np.array(arm) - np.array(control)
    half = t.ppf(0.975, 39) * differences.std(ddof=1) / math.sqrt(40)
    assert found.difference.high - found.difference.value == pytest.approx(half)


def test_the_estimate_is_the_formula_with_the_weight_that_it_names():
    generator = np.random.default_rng(0)
    sides, expected = [], []
    for share in (0.2, 0.4):
        true = generator.random(200) < share
        judged = np.where(generator.random(200) < 0.1, ~true, true).astype(float)
        labels = np.where(np.arange(200) < 50, true, np.nan)
        sides.append(replies(judged, labels))
    found = of_both(*sides)
    assert 0 < found.judge_weight < 1
    for side in sides:
        first = slice(0, 50)
        rectifier = (side.labels[first] - found.judge_weight * side.judged[first]).mean()
        expected.append(found.judge_weight * side.judged.mean() + rectifier)
    assert (found.control.value, found.arm.value) == pytest.approx(expected)
    assert found.difference.value == pytest.approx(expected[1] - expected[0])


def test_a_judge_that_tells_nothing_has_no_weight_and_a_good_one_narrows_the_interval():
    generator = np.random.default_rng(1)
    true = generator.random((2, 400)) < 0.3
    labels = np.where(np.arange(400) < 60, true, np.nan)
    noise = (generator.random((2, 400)) < 0.5).astype(float)
    useless = of_both(replies(noise[0], labels[0]), replies(noise[1], labels[1]))
    good = of_both(replies(true[0], labels[0]), replies(true[1], labels[1]))
    assert useless.judge_weight < 0.15
    assert good.judge_weight > 0.9
    assert good.difference.high - good.difference.low < 0.6 * (useless.difference.high - useless.difference.low)


def test_closed_replies_count_as_they_are():
    labels = [0.0] * 30 + [math.nan] * 30
    opened = [True] * 30 + [False] * 30
    judged = [0.0] * 30 + [1.0] * 30
    found = of_both(replies(judged, labels, opened=opened), replies(judged, labels, opened=opened))
    assert found.control.value == found.arm.value == 0.5
    assert found.difference == (0.0, 0.0, 0.0)  # all that is open is labelled, and every pair is alike


def test_too_few_labels_correct_nothing():
    few = [0.0] * (FEWEST_LABELS - 1) + [math.nan] * 40
    enough = [0.0] * FEWEST_LABELS + [math.nan] * 39
    judged = [0.0] * len(few)
    assert corrected(replies(judged, few), replies(judged, enough)) is None
    assert corrected(replies(judged, enough), replies(judged, enough))


def test_replies_of_one_cluster_are_one_draw_and_no_seen_mistake_is_no_certainty():
    generator = np.random.default_rng(2)
    true = np.repeat(generator.random((2, 30)) < 0.4, 4, axis=1).astype(float)
    items = np.repeat(np.arange(30), 4)
    alone = of_both(replies(true[0], true[0]), replies(true[1], true[1]))
    together = of_both(replies(true[0], true[0], clusters=items), replies(true[1], true[1], clusters=items))
    assert together.difference.high - together.difference.low > 1.8 * (alone.difference.high - alone.difference.low)
    unseen = replies([0.0] * 300, [0.0] * 30 + [math.nan] * 270)
    found = of_both(unseen, unseen)
    assert found.difference.high > 0.03


def test_training_runs_widen_the_difference():
    unseen = replies([0.0] * 60, [0.0] * 30 + [math.nan] * 30)
    found = corrected(unseen, unseen, 0.25)
    assert found
    assert found.difference == pytest.approx((0.0, -0.25, 0.25))


def test_equal_lies_and_unequal_specificity_are_no_finding():
    generator, hits, held, repeats = np.random.default_rng(3), 0, 0, 200
    for _ in range(repeats):
        sides = []
        picked = generator.permutation(300)[:60]
        for specificity in (0.95, 0.88):
            true = generator.random(300) < 0.1
            judged = np.where(true, generator.random(300) < 0.9, generator.random(300) > specificity).astype(float)
            labels = np.full(300, np.nan)
            labels[picked] = true[picked]
            sides.append(replies(judged, labels))
        found = of_both(*sides)
        held += found.difference.low <= 0 <= found.difference.high
        hits += sides[1].judged.mean() - sides[0].judged.mean() > 0.03
    assert hits / repeats > 0.7
    assert held / repeats >= 0.93
