"""Brier score, calibration error, AUROC and Wilson's interval, against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from penult_kernels.metrics.scores import probability_scores, wilson_interval


def sample(rng: np.random.Generator, n_classes: int, n: int = 300):
    y = rng.integers(n_classes, size=n)
    # Multiples of 1/8, so that scores are tied and their differences exact.
    return np.round(8 * (rng.standard_normal((n, n_classes)) + np.eye(n_classes)[y])) / 8, y


@pytest.mark.parametrize("n_classes", [2, 4])
def test_equals_scikit_learn(backend, rng, n_classes):
    logits, y = sample(rng, n_classes)
    found = probability_scores(backend.array(logits), y)
    p = softmax(logits, axis=1)
    auroc = roc_auc_score(y, logits @ [-1, 1]) if n_classes == 2 else roc_auc_score(y, p, multi_class="ovr")
    # Rows of four classes whose probabilities are equal may differ in the last bit: a pair of 20,000 counts half.
    assert found.auroc == pytest.approx(auroc, abs=1e-12 if n_classes == 2 else 1e-4)
    assert found.loss == pytest.approx(log_loss(y, p), rel=1e-12)
    assert found.brier == pytest.approx(brier_score_loss(y, p[:, 1] if n_classes == 2 else p), rel=1e-12)


def test_calibration_error_by_hand():
    # Confidences .9 (right), .9 (wrong) and .6 (right) in bins (.8, .9] and (.5, .6] of ten.
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    found = probability_scores(np.log(p), np.array([0, 1, 1]), bins=10)
    assert found.ece == pytest.approx((2 * abs(0.5 - 0.9) + abs(1 - 0.6)) / 3)
    assert found.ece_bins == 10


def test_calibrated_logits_have_a_small_error(rng):
    logits = 2 * rng.standard_normal((20_000, 3))
    p = softmax(logits, axis=1)
    y = (rng.random((20_000, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    assert probability_scores(logits, y).ece < 0.02
    assert probability_scores(4 * logits, y).ece > 0.1


def test_saturated_probabilities_keep_their_order():
    logits = np.array([[0.0, 50.0], [0.0, 60.0], [0.0, 70.0], [0.0, 80.0]])
    assert probability_scores(logits, np.array([0, 0, 1, 1])).auroc == 1.0
    assert probability_scores(logits, np.array([1, 1, 0, 0])).auroc == 0.0
    assert probability_scores(np.zeros((4, 2)), np.array([1, 1, 0, 0])).auroc == 0.5


def test_what_does_not_exist_is_nan():
    assert np.isnan(probability_scores(np.eye(2), np.array([0, 0])).auroc)
    broken = probability_scores(np.array([[np.nan, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert np.isnan([broken.loss, broken.brier, broken.ece, broken.auroc]).all()


@pytest.mark.parametrize(("correct", "count"), [(0, 10), (7, 10), (10, 10), (642, 900)])
def test_wilson_equals_scipy(correct, count):
    expected = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    found = wilson_interval(np.array([correct]), np.array([count]))
    np.testing.assert_allclose(found, [[expected.low, expected.high]], rtol=1e-12, atol=1e-15)


def test_wilson_of_nothing_is_nan():
    assert np.isnan(wilson_interval(np.array([0]), np.array([0]))).all()
