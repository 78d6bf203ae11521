"""Spuriosity and units: written-out right values, ties, classes without rows."""

import numpy as np
import pytest

from penult_kernels.groupings.ranks import (
    above,
    between,
    class_scales,
    columns_of,
    ends,
    gap,
    ranks,
    spuriosity,
    thresholds,
    top_contributions,
)


def test_spuriosity_is_the_mean_z_score_of_the_class(backend, rng):
    features = rng.standard_normal((40, 6)) + 3
    features[:, 5] = 2
    y = rng.integers(0, 3, 40)
    chosen = np.asarray([[0, 5], [4, 1], [2, 2], [1, 3]])
    scales = class_scales(backend.array(features), y, chosen)
    found = spuriosity(backend.array(features), y, scales)
    assert np.isnan(scales.mean[3]).all()
    for i in range(40):
        c = y[i]
        own = features[y == c][:, chosen[c]]
        deviation = own.std(axis=0)
        z = np.where(
            deviation > 0, (features[i, chosen[c]] - own.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0
        )
        assert found[i] == pytest.approx(z.mean(), abs=1e-12)


def test_the_largest_mean_contributions_are_chosen(backend, rng):
    features, y = rng.standard_normal((30, 7)), rng.integers(0, 2, 30)
    weight = rng.standard_normal((3, 7))
    found = top_contributions(backend.array(features), y, weight, 3)
    for c in range(2):
        expected = np.argsort(-(weight[c] * features[y == c].mean(axis=0)))[:3]
        np.testing.assert_array_equal(found[c], expected)
    np.testing.assert_array_equal(found[2], np.argsort(-weight[2])[:3])


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_low_and_high_ends(rng, share: float):
    score, y = rng.standard_normal(80), np.repeat([0, 1], [48, 32])
    value = between(score, y, *ends(score, y, 3, share))
    for c in range(2):
        own = value[y == c]
        n = int(share * own.size)
        assert np.count_nonzero(own == 0) == np.count_nonzero(own == 1) == n
        assert score[y == c][own == 0].max() < score[y == c][own == 1].min()


def test_equal_scores_are_low():
    score, y = np.zeros(6), np.zeros(6, np.int64)
    np.testing.assert_array_equal(between(score, y, *ends(score, y, 1, 0.5)), 0)


def test_ranks_run_from_nought_to_one_in_each_class():
    score, y = np.asarray([5.0, 1, 3, 9, 9, 2]), np.asarray([0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(ranks(score, y), [1, 0, 0.5, 0, 1, 0.5])


def test_the_gap_is_of_the_ends():
    score = np.arange(10.0)
    is_right = np.asarray([0, 0, 1, 0, 1, 1, 1, 0, 1, 1], np.bool_)
    assert gap(is_right, score, 2) == 1.0
    assert gap(is_right, score, 3) == pytest.approx(2 / 3 - 1 / 3)
    assert gap(is_right, score, 100) == pytest.approx(4 / 5 - 2 / 5)
    assert np.isnan(gap(is_right[:1], score[:1], 5))


def test_units_above_their_class_quantile(backend, rng):
    features, y = rng.standard_normal((50, 5)).astype(np.float32), rng.integers(0, 2, 50)
    values = columns_of(backend.array(features), np.asarray([3, 1]))
    np.testing.assert_array_equal(values, features[:, [3, 1]])
    limits = thresholds(values, y, 3, 0.5)
    found = above(values, y, limits)
    for i in range(50):
        median = np.median(features[y == y[i]][:, [3, 1]], axis=0)
        is_above = features[i, [3, 1]] > median
        assert found[i] == is_above[0] + 2 * is_above[1]
    np.testing.assert_array_equal(above(values[:1], np.asarray([2]), limits), [-1])
