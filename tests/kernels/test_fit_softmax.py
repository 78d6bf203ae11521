"""The softmax fit against scikit-learn and SciPy, its certificate, and what must not change it."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from penult_kernels.arrays import to_host
from penult_kernels.newton import ConvergenceWarning
from penult_kernels.refit import Fit, fit_softmax
from penult_kernels.selection import EmptyLabelError

TIGHT = 1e-13
SHAPES = [(60, 5, 2), (60, 5, 4), (12, 40, 2), (20, 30, 3), (15, 15, 2)]


def sample(rng, n: int, d: int, n_classes: int):
    """Overlapping classes of unequal size, columns of unequal scale and offset."""
    shares = np.arange(1, n_classes + 1) / (n_classes * (n_classes + 1) / 2)
    drawn = rng.choice(n_classes, size=n - n_classes, p=shares)
    y = rng.permutation(np.concatenate([np.arange(n_classes), drawn]))
    centres = rng.standard_normal((n_classes, d))
    return (rng.standard_normal((n, d)) + 0.7 * centres[y]) * np.linspace(0.5, 3, d) + 2, y


def objective(fit: Fit, features, y, *, l2: float, share=None, scale=1.0) -> float:
    weight, bias = to_host(fit.weight), to_host(fit.bias)
    losses = -log_softmax(features @ weight.T + bias, axis=1)[np.arange(len(y)), y]
    return np.average(losses, weights=share) + l2 / 2 * ((weight * scale) ** 2).sum()


def assert_same(found: Fit, expected: Fit, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(to_host(found.weight), to_host(expected.weight), atol=atol)
    np.testing.assert_allclose(to_host(found.bias), to_host(expected.bias), atol=atol)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("l2", [1.0, 1e-2])
def test_equals_scikit_learn(rng, shape, l2):
    n, d, n_classes = shape
    features, y = sample(rng, n, d, n_classes)
    weights = rng.random(n) + 0.1
    scaler = StandardScaler().fit(features)
    # Its two-class form has one vector w for our rows -w/2 and w/2, with half the penalty for the same w.
    inverse = (2 if n_classes == 2 else 1) / (l2 * weights.sum())
    oracle = LogisticRegression(C=inverse, solver="lbfgs", tol=1e-11, max_iter=20000)
    oracle.fit(scaler.transform(features), y, sample_weight=weights)
    fit = fit_softmax(features, y, n_classes, l2=l2, sample_weight=weights, tolerance=TIGHT)
    weight, bias = oracle.coef_ / scaler.scale_, oracle.intercept_ - oracle.coef_ / scaler.scale_ @ scaler.mean_
    if n_classes == 2:
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    assert fit.certificate.converged
    np.testing.assert_allclose(fit.weight, weight, atol=2e-5)
    np.testing.assert_allclose(fit.bias - fit.bias.mean(), bias - bias.mean(), atol=2e-4)


def test_runs_alike_on_every_backend(backend, rng):
    for n, d, n_classes in ((30, 4, 3), (8, 30, 2)):
        features, y = sample(rng, n, d, n_classes)
        weights = rng.random(n) + 0.1
        fit = fit_softmax(
            backend.array(features),
            backend.array(y),
            n_classes,
            l2=0.05,
            sample_weight=backend.array(weights),
            tolerance=TIGHT,
        )
        assert backend.owns(fit.weight)
        assert backend.owns(fit.bias)
        assert_same(fit, fit_softmax(features, y, n_classes, l2=0.05, sample_weight=weights, tolerance=TIGHT))


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_certificate_bounds_the_distance_to_the_optimum(rng, shape, tolerance):
    n, d, n_classes = shape
    features, y = sample(rng, n, d, n_classes)
    best = objective(
        fit_softmax(features, y, n_classes, l2=0.1, standardize=False, tolerance=TIGHT), features, y, l2=0.1
    )
    fit = fit_softmax(features, y, n_classes, l2=0.1, standardize=False, tolerance=tolerance)
    reached = objective(fit, features, y, l2=0.1)
    assert fit.certificate.objective == pytest.approx(reached, rel=1e-10)
    assert -1e-12 <= reached - best <= fit.certificate.gap + 1e-12
    assert fit.certificate.gap <= tolerance * np.log(n_classes)


def test_no_general_minimiser_finds_less(rng):
    features, y = sample(rng, 40, 4, 3)

    def value(theta: np.ndarray) -> float:
        weight, bias = theta[:12].reshape(3, 4), theta[12:]
        losses = -log_softmax(features @ weight.T + bias, axis=1)[np.arange(40), y]
        return losses.mean() + 0.01 / 2 * (weight**2).sum()

    found = fit_softmax(features, y, 3, l2=0.01, standardize=False, tolerance=TIGHT)
    other = minimize(value, np.zeros(15), method="BFGS", options={"gtol": 1e-6})
    assert value(np.concatenate([found.weight.ravel(), found.bias])) <= other.fun + 1e-12
    assert other.fun == pytest.approx(found.certificate.objective, abs=1e-8)


def test_one_step_is_not_enough_and_says_so(rng):
    features, y = sample(rng, 60, 5, 3)
    with pytest.warns(ConvergenceWarning, match="stopped after 1 Newton step"):
        fit = fit_softmax(features, y, 3, l2=1e-3, tolerance=1e-12, max_iterations=1)
    assert not fit.certificate.converged
    assert fit.certificate.iterations == 1
    assert fit.certificate.gap > 1e-12 * np.log(3)


def test_a_start_at_the_answer_needs_no_step(rng):
    for shape in SHAPES:
        features, y = sample(rng, *shape)
        answer = fit_softmax(features, y, shape[2], l2=0.01, tolerance=1e-12)
        again = fit_softmax(features, y, shape[2], l2=0.01, start=answer, tolerance=1e-10)
        assert answer.certificate.iterations > 0
        assert again.certificate.iterations == 0
        assert_same(again, answer)


def test_a_start_far_away_reaches_the_same_answer(rng):
    features, y = sample(rng, 40, 5, 3)
    answer = fit_softmax(features, y, 3, l2=0.05, tolerance=TIGHT)
    far = Fit(weight=3 * rng.standard_normal((3, 5)), bias=np.ones(3), certificate=answer.certificate)
    assert_same(fit_softmax(features, y, 3, l2=0.05, start=far, tolerance=TIGHT), answer)
    # Features that say nothing: the gradient of the zero head is zero, that of the start is not.
    blank = fit_softmax(np.zeros((40, 5)), y, 3, l2=0.05, start=far, standardize=False, tolerance=TIGHT)
    np.testing.assert_allclose(blank.weight, 0, atol=1e-6)


def test_classes_sum_to_zero(rng):
    features, y = sample(rng, 60, 5, 4)
    fit = fit_softmax(features, y, 4, l2=0.01)
    np.testing.assert_allclose(fit.weight.sum(axis=0), 0, atol=1e-13)
    assert fit.bias.sum() == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("shape", [(30, 4, 3), (10, 40, 2)])
def test_weights_are_repetitions(rng, shape):
    n, d, n_classes = shape
    features, y = sample(rng, n, d, n_classes)
    weights = rng.integers(0, 3, size=n)
    weights[[int(np.argmax(y == c)) for c in range(n_classes)]] = 2

    def fit(rows: np.ndarray, sample_weight: np.ndarray | None) -> Fit:
        return fit_softmax(
            features[rows], y[rows], n_classes, l2=0.05, sample_weight=sample_weight, standardize=False, tolerance=TIGHT
        )

    weighted = fit(np.arange(n), weights)
    assert_same(fit(np.repeat(np.arange(n), weights), None), weighted)
    assert_same(fit(np.flatnonzero(weights), weights[weights > 0]), weighted)
    assert_same(fit(np.arange(n), weights * 17.5), weighted)
    assert_same(fit(np.roll(np.arange(n), 7), np.roll(weights, 7)), weighted)


@pytest.mark.parametrize("shape", [(40, 5, 3), (12, 40, 2)])
def test_standardising_makes_shift_and_scale_of_columns_irrelevant(rng, shape):
    n, d, n_classes = shape
    features, y = sample(rng, n, d, n_classes)
    scale = np.logspace(-3, 3, d)
    plain = fit_softmax(features, y, n_classes, l2=0.05, tolerance=TIGHT)
    other = fit_softmax(features * scale - 100, y, n_classes, l2=0.05, tolerance=TIGHT)
    np.testing.assert_allclose(other.weight * scale, plain.weight, atol=1e-6)
    logits = features @ plain.weight.T + plain.bias
    np.testing.assert_allclose((features * scale - 100) @ other.weight.T + other.bias, logits, atol=1e-5)


def test_rotating_features_rotates_the_head(rng):
    features, y = sample(rng, 40, 6, 3)
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    plain = fit_softmax(features, y, 3, l2=0.05, standardize=False, tolerance=TIGHT)
    turned = fit_softmax(features @ rotation, y, 3, l2=0.05, standardize=False, tolerance=TIGHT)
    np.testing.assert_allclose(turned.weight, plain.weight @ rotation, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_gets_no_weight(rng, value, dtype):
    features, y = sample(rng, 33, 4, 2)
    features[:, 2] = value
    fit = fit_softmax(features.astype(dtype), y, 2, l2=0.05, tolerance=TIGHT)
    np.testing.assert_array_equal(fit.weight[:, 2], 0.0)
    rest = fit_softmax(np.delete(features, 2, axis=1).astype(dtype), y, 2, l2=0.05, tolerance=TIGHT)
    np.testing.assert_allclose(np.delete(fit.weight, 2, axis=1), rest.weight, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_features_equal_their_widened_values(rng, dtype):
    features, y = sample(rng, 40, 5, 3)
    narrow = features.astype(dtype)
    assert_same(fit_softmax(narrow, y, 3, l2=0.05), fit_softmax(narrow.astype(np.float64), y, 3, l2=0.05), atol=0)


@pytest.mark.parametrize("shape", [(30, 3), (6, 20)])
def test_separable_rows_without_penalty_approach_zero_loss(rng, shape):
    y = np.arange(shape[0]) % 2
    features = rng.standard_normal(shape) + 8 * y[:, None]
    fit = fit_softmax(features, y, 2, l2=0.0)
    assert fit.certificate.converged
    assert fit.certificate.gap == fit.certificate.objective <= 1e-6 * np.log(2)
    assert np.array_equal((features @ fit.weight.T + fit.bias).argmax(axis=1), y)


def test_overlapping_rows_without_penalty_reach_a_flat_point(rng):
    features, y = sample(rng, 200, 3, 3)
    fit = fit_softmax(features, y, 3, l2=0.0, tolerance=1e-9)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10000).fit(features, y)
    assert fit.certificate.converged
    assert fit.certificate.gap == fit.certificate.objective
    np.testing.assert_allclose(fit.weight, oracle.coef_ - oracle.coef_.mean(axis=0), atol=1e-5)


def test_one_class_costs_nothing():
    fit = fit_softmax(np.eye(3), np.zeros(3, dtype=np.int64), 1, l2=0.1)
    assert fit.certificate.converged
    assert (fit.certificate.objective, fit.certificate.iterations) == (0.0, 0)
    assert fit.weight.tolist() == [[0.0, 0.0, 0.0]]


def test_one_row_per_class_and_no_information(rng):
    few = fit_softmax(rng.standard_normal((3, 5)), np.arange(3), 3, l2=0.1)
    assert few.certificate.converged
    nothing = fit_softmax(np.ones((4, 2)), np.array([0, 0, 0, 1]), 2, l2=0.1)
    np.testing.assert_array_equal(nothing.weight, 0.0)
    assert nothing.bias[0] - nothing.bias[1] == pytest.approx(np.log(3))


def test_many_classes_converge(rng):
    y = np.arange(600) % 200
    features = rng.standard_normal((600, 20)) + 2 * rng.standard_normal((200, 20))[y]
    fit = fit_softmax(features, y, 200, l2=1e-3)
    assert fit.certificate.converged
    assert fit.certificate.gap <= 1e-6 * np.log(200)


def test_a_class_without_weight_is_named():
    features, y = np.eye(3), np.array([0, 1, 2])
    with pytest.raises(EmptyLabelError, match="label 3 has none") as caught:
        fit_softmax(features, y, 4, l2=0.1)
    assert caught.value.label == 3
    with pytest.raises(EmptyLabelError, match="label 1 has none"):
        fit_softmax(features, y, 3, l2=0.1, sample_weight=np.array([1, 0, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l2": -1.0}, "l2 must be a finite number of at least 0, got -1.0"),
        ({"l2": np.nan}, "l2 must"),
        ({"features": np.array([[np.nan], [1.0]])}, "features must be finite"),
        ({"features": np.zeros(2)}, "features must be a floating-point matrix"),
        ({"y": np.array([0])}, "y must have one entry per row"),
        ({"sample_weight": np.ones(3)}, "sample_weight must have one entry per row"),
        ({"sample_weight": np.array([1.0, -1.0])}, "sample_weight must hold"),
        ({"sample_weight": np.zeros(2)}, "positive sum"),
        ({"sample_weight": np.array([1.0, np.nan])}, "sample_weight must hold"),
    ],
)
def test_misuse_is_refused(change, message):
    arguments = {"features": np.eye(2), "y": np.array([0, 1]), "n_classes": 2, "l2": 0.1} | change
    with pytest.raises(ValueError, match=message):
        fit_softmax(**arguments)
