"""Weights, errors, environments and offsets from the logits of a head, against formulas written out by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from penult_kernels.sampling import weights as row_weights
from penult_kernels.sampling.balancing import EmptyLabelError


def sample(n_classes: int = 3, n: int = 60):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n)
    return 2 * rng.standard_normal((n, n_classes)) + np.eye(n_classes)[y], y


def test_confidence_weights_are_proportional_to_the_exponential():
    logits, y = sample()
    p = softmax(logits, axis=1)[np.arange(60), y]
    found = row_weights.confidence_weights(logits, y, 4.0)
    np.testing.assert_allclose(found / found.sum(), np.exp(-4 * p) / np.exp(-4 * p).sum(), rtol=1e-12)
    assert np.all(row_weights.confidence_weights(logits, y, 0.0) == 1)


def test_a_large_gamma_leaves_the_least_confident_row():
    logits, y = sample()
    found = row_weights.confidence_weights(logits, y, 1e5)
    assert found.max() == 1.0
    assert np.argmax(found) == np.argmin(softmax(logits, axis=1)[np.arange(60), y])


def test_errors_and_losses():
    logits, y = sample()
    assert row_weights.cross_entropies(logits, y).mean() == pytest.approx(log_loss(y, softmax(logits, axis=1)))
    wrong = logits.argmax(axis=1) != y
    np.testing.assert_array_equal(row_weights.misclassified(logits, y), wrong)
    np.testing.assert_array_equal(row_weights.error_weights(wrong, 20.0), np.where(wrong, 20.0, 1.0))


def test_environments_of_two_classes_are_the_errors():
    logits, y = sample(2)
    found = row_weights.eiil_environments(logits, y)
    np.testing.assert_array_equal(found, logits.argmax(axis=1) != y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_environments_maximise_the_penalty(n_classes):
    """The derivative of w -> CE(w z) at w = 1 by finite differences; no assignment by single changes does better."""
    logits, y = sample(n_classes)
    step = 1e-6
    g = row_weights.cross_entropies((1 + step) * logits, y) - row_weights.cross_entropies((1 - step) * logits, y)
    g /= 2 * step
    q = row_weights.eiil_environments(logits, y).astype(float)
    best = max(abs(q @ g), abs((1 - q) @ g))
    for row in range(q.size):
        changed = q.copy()
        changed[row] = 1 - changed[row]
        assert abs(changed @ g) <= best + 1e-6


def test_disagreement_is_the_kl_divergence():
    logits, _ = sample()
    other, _ = sample(n=60)
    other = other[::-1]
    q, p = softmax(other, axis=1), softmax(logits, axis=1)
    found = row_weights.disagreements(other, logits)
    np.testing.assert_allclose(found, (q * np.log(q / p)).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(row_weights.disagreements(logits, logits + 3.0), 0, atol=1e-14)
    with pytest.raises(ValueError, match="the same rows"):
        row_weights.disagreements(logits[:5], logits)


def test_prior_offsets():
    logits, y = sample()
    weight = np.arange(60.0)
    shares = np.array([weight[y == c].sum() for c in range(3)]) / weight.sum()
    found = row_weights.class_prior_offset(y, 3, weight, 2.0)
    np.testing.assert_allclose(found, np.tile(2 * np.log(shares), (60, 1)))
    p, predicted = softmax(logits, axis=1), logits.argmax(axis=1)
    offset = row_weights.prediction_prior_offset(logits, y, weight, 1.0)
    np.testing.assert_allclose(np.exp(offset).sum(axis=1), 1)
    row = 7
    joint = [weight[y == c] @ p[y == c, predicted[row]] for c in range(3)]
    np.testing.assert_allclose(np.exp(offset[row]), joint / np.sum(joint))


def test_what_has_no_prior_or_is_not_finite_is_refused():
    logits, _ = sample()
    y = np.zeros(60, dtype=np.int64)
    with pytest.raises(EmptyLabelError, match="label 1"):
        row_weights.class_prior_offset(y, 3, np.ones(60), 1.0)
    with pytest.raises(EmptyLabelError, match="label 1"):
        row_weights.prediction_prior_offset(logits, y, np.ones(60), 1.0)
    with pytest.raises(ValueError, match="finite"):
        row_weights.misclassified(np.full((60, 3), np.nan), y)
