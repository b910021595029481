"""The tests and Holm's correction, by hand and against scipy."""

import numpy as np
import pytest
import scipy.stats

from untrue.stats import tests as significance
from untrue.stats.tests import holm, mcnemar, sign_flip

NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_mcnemar_by_hand():
    # 7 items up, 1 down, any number unchanged: 2 (C(8, 0) + C(8, 1)) / 2^8 = 18 / 256.
    assert mcnemar(column(*[1] * 7, -1, *[0] * 50)) == pytest.approx(18 / 256)


@pytest.mark.parametrize(("up", "down"), [(0, 6), (3, 3), (12, 4)])
def test_mcnemar_is_the_binomial_test_on_discordant_items(up, down):
    differences = column(*[1] * up, *[-1] * down, *[0] * 20)
    assert mcnemar(differences) == pytest.approx(scipy.stats.binomtest(up, up + down).pvalue)


def test_mcnemar_counts_an_item_once_over_its_seeds():
    # Net changes 3, 1, -1 (of one pair alone), 0 and none at all: 2 up, 1 down, so p = 1.
    differences = np.array([[1, 1, 1], [1, 1, -1], [-1, NAN, NAN], [1, -1, 0], [NAN, NAN, NAN]])
    assert mcnemar(differences) == pytest.approx(1.0)
    # Three seeds that say the same are no more evidence than one: 2 / 2^4.
    assert mcnemar(np.ones((4, 3))) == mcnemar(np.ones((4, 1))) == pytest.approx(2 / 16)


def test_nothing_changed_is_no_evidence():
    assert mcnemar(np.zeros((10, 3))) == 1.0
    assert sign_flip(np.zeros((10, 3))) == 1.0
    assert sign_flip(np.full((10, 3), NAN)) == 1.0


def test_sign_flip_by_hand():
    # Sums of +-1 +-2 +-3: only 6 and -6 of the eight are as far from 0 as 6. Zeros cannot flip, seeds are averaged.
    assert sign_flip(column(1, 2, 3)) == pytest.approx(2 / 8)
    assert sign_flip(column(1, 2, 3, *[0] * 100)) == pytest.approx(2 / 8)
    assert sign_flip(np.array([[0, 2], [2, NAN], [3, 3], [NAN, NAN]])) == pytest.approx(2 / 8)
    # Of -1, 2, 3 the sum is 4; 6, 4, -4 and -6 are as far out.
    assert sign_flip(column(-1, 2, 3)) == pytest.approx(4 / 8)


def test_sign_flip_counts_ties_in_spite_of_rounding():
    # All eight sums are at least 0.2 from 0, but one of them comes out as 0.19999999999999996.
    assert sign_flip(column(-0.2, -0.4, 0.4)) == 1.0


def test_sign_flip_enumerated_is_scipys_exact_test():
    values = np.random.default_rng(3).normal(0.3, 1, 10)
    exact = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=2**10)
    assert sign_flip(values[:, None]) == pytest.approx(exact.pvalue)


def test_sign_flip_sampled_is_close_to_enumerated(monkeypatch):
    values = np.random.default_rng(5).normal(0.4, 1, (15, 1))
    exact = sign_flip(values)
    monkeypatch.setattr(significance, "_ENUMERATED", 0)
    # Standard error of a share near 0.1 over 10,000 flips: 0.003.
    assert 0.01 < exact < 0.5
    assert sign_flip(values) == pytest.approx(exact, abs=0.015)


def test_sign_flip_is_never_zero():
    assert sign_flip(np.ones((50, 1))) == pytest.approx(1 / 10_001)
    assert sign_flip(np.ones((50, 1)), resamples=99) == pytest.approx(1 / 100)


def test_holm_by_hand():
    # 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04, which may not be below 0.06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # 0.3 x 3 = 0.9; 0.6 x 2 = 1.2, cut to 1; 0.7 may not be below 1.
    assert holm([0.6, 0.3, 0.7]) == pytest.approx([1.0, 0.9, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
