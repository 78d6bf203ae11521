"""Value, gradient and Hessian of the loss against SciPy and finite differences."""

import numpy as np
import pytest
from scipy.special import log_softmax

from penult_kernels.arrays import to_host
from penult_kernels.softmax_loss import SoftmaxLoss

N, D = 12, 3


def problem(rng, backend, *, n_classes: int, l2: float = 0.3):
    x = rng.standard_normal((N, D))
    y = np.arange(N) % n_classes
    share = rng.random(N)
    share /= share.sum()
    loss = SoftmaxLoss(
        features=backend.array(x),
        is_label=backend.array(y[:, None] == np.arange(n_classes)),
        share=backend.array(share),
        l2=l2,
    )

    def value(theta: np.ndarray) -> float:
        logits = x @ theta[:, :-1].T + theta[:, -1]
        return -(share * log_softmax(logits, axis=1)[np.arange(N), y]).sum() + l2 / 2 * (theta[:, :-1] ** 2).sum()

    return loss, value, rng.standard_normal((n_classes, D + 1))


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_value_equals_scipy(backend, rng, n_classes):
    loss, value, theta = problem(rng, backend, n_classes=n_classes)
    at = backend.array(theta)
    assert loss.data_value(loss.scores(at)) + loss.penalty(at) == pytest.approx(value(theta), rel=1e-13)


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_gradient_equals_a_five_point_stencil(backend, rng, n_classes):
    loss, value, theta = problem(rng, backend, n_classes=n_classes)
    at = backend.array(theta)
    found = to_host(loss.gradient(at, loss.probabilities(loss.scores(at))))
    h = 1e-3
    for index in np.ndindex(theta.shape):
        step = np.zeros_like(theta)
        step[index] = h
        ahead, behind = value(theta + step) - value(theta - step), value(theta + 2 * step) - value(theta - 2 * step)
        assert found[index] == pytest.approx((8 * ahead - behind) / (12 * h), abs=1e-10)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_hessian_product_is_the_derivative_of_the_gradient(backend, rng, n_classes):
    loss, _, theta = problem(rng, backend, n_classes=n_classes)
    direction = rng.standard_normal(theta.shape)

    def gradient(at: np.ndarray) -> np.ndarray:
        point = backend.array(at)
        return to_host(loss.gradient(point, loss.probabilities(loss.scores(point))))

    point = backend.array(theta)
    probabilities = loss.probabilities(loss.scores(point))
    found = to_host(loss.hessian_product(probabilities, backend.array(direction)))
    h = 1e-5
    expected = (gradient(theta + h * direction) - gradient(theta - h * direction)) / (2 * h)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_bias_hessian_is_the_block_of_the_hessian(backend, rng):
    loss, _, theta = problem(rng, backend, n_classes=4)
    probabilities = loss.probabilities(loss.scores(backend.array(theta)))
    found = to_host(loss.bias_hessian(probabilities))
    for c in range(4):
        direction = np.zeros_like(theta)
        direction[c, -1] = 1.0
        column = to_host(loss.hessian_product(probabilities, backend.array(direction)))[:, -1]
        np.testing.assert_allclose(found[:, c], column, atol=1e-15)


def test_moving_all_classes_alike_is_flat_without_penalty(backend, rng):
    loss, _, theta = problem(rng, backend, n_classes=3, l2=0.0)
    at = backend.array(theta)
    probabilities = loss.probabilities(loss.scores(at))
    np.testing.assert_allclose(to_host(loss.gradient(at, probabilities)).sum(axis=0), 0, atol=1e-15)
    alike = backend.array(np.tile(rng.standard_normal(D + 1), (3, 1)))
    np.testing.assert_allclose(to_host(loss.hessian_product(probabilities, alike)), 0, atol=1e-15)


def test_huge_logits_stay_finite():
    loss = SoftmaxLoss(
        features=np.array([[1e5], [-1e5]]), is_label=np.eye(2, dtype=bool), share=np.array([0.5, 0.5]), l2=0.0
    )
    scores = loss.scores(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert loss.data_value(scores) == 0.0
    assert loss.data_value(-scores) == 2e5
    assert np.isfinite(loss.probabilities(-scores)).all()
