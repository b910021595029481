"""AUROC equals counting by hand and scipy's U, and its interval that of drawing items again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from untrue.stats.ranking import Scores, area, auroc


def scores(pairs: list[tuple[float, float]], category: str = "facts", seed: int = 0) -> list[Scores]:
    return [Scores(f"{category}-{n}", seed, category, true, false) for n, (true, false) in enumerate(pairs)]


def test_the_area_is_the_share_of_pairs_counted_by_hand():
    # 3 wins of 1 x 2, 2, 3: none, half, none; of 4: over 2, 2, 3 all three; of 3: 1 + 1 + half.
    found = auroc(scores([(2.0, 2.0), (4.0, 2.0), (3.0, 3.0)]))
    assert found.value == pytest.approx((0.5 + 0.5 + 0 + 3 + 1 + 1 + 0.5) / 9)


def test_it_is_the_u_of_mann_and_whitney_for_each_column():
    draw = np.random.default_rng(0)
    true, false = draw.integers(0, 9, (30, 4)) + 1.0, draw.integers(0, 9, (20, 4)) * 1.0
    assert area(true, false) == pytest.approx(mannwhitneyu(true, false, axis=0).statistic / 600)


def test_scores_of_categories_and_seeds_are_not_compared_with_each_other():
    high, low = [(11.0, 10.0), (12.0, 9.0)], [(1.0, 0.0), (3.0, 2.0)]
    separate = [auroc(scores(pairs)).value for pairs in (high, low)]
    assert separate == [1.0, 0.75]
    assert auroc([*scores(high), *scores(low, "others")]).value == pytest.approx(np.mean(separate))
    assert auroc([*scores(high), *scores(low, seed=1)]).value == pytest.approx(np.mean(separate))


def test_the_interval_is_that_of_drawing_items_again():
    draw = np.random.default_rng(1)
    item = draw.normal(size=120)
    true, false = item + draw.normal(0.7, 1, 120), item + draw.normal(0, 1, 120)
    found = auroc(scores(list(zip(true, false, strict=True))))
    drawn = draw.integers(0, 120, (2000, 120))
    again = area(true[drawn].T, false[drawn].T)
    assert (found.low, found.high) == pytest.approx(np.quantile(again, [0.025, 0.975]), abs=0.015)
    assert found.value == pytest.approx(area(true, false))


def test_a_perfect_score_on_few_items_is_no_certainty():
    found = auroc(scores([(float(n) + 10, float(n)) for n in range(8)]))
    assert found.value == 1.0
    assert 0.6 < found.low < 0.75


def test_scores_that_are_not_finite_are_left_out():
    pairs = [(2.0, 1.0), (3.0, 0.0)]
    assert auroc(scores([*pairs, (math.nan, 5.0), (math.inf, 5.0)])) == auroc(scores(pairs))
    assert math.isnan(auroc([]).value)
