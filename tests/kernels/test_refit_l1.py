"""L1 and elastic-net refits against liblinear, saga and SciPy; the duality gap; what must not change them."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from penult_kernels.arrays import to_host
from penult_kernels.linear.l1.quadratic import _descend, minimize_quadratic  # pyright: ignore[reportPrivateUsage]
from penult_kernels.linear.solve import ConvergenceWarning, Fit, Head, Intercept, Link, Problem, Standardize, solve

TIGHT = 1e-10


def sample(rng, n: int, d: int, n_classes: int):
    """Correlated columns of which a few tell the classes apart."""
    y = rng.permutation(np.arange(n) % n_classes)
    hidden = rng.standard_normal((n, 8))
    hidden[:, :n_classes] += 1.2 * np.eye(n_classes)[y]
    return hidden @ rng.standard_normal((8, d)) + 0.5 * rng.standard_normal((n, d)), y


def value(weight, bias, features, y, problem: Problem) -> float:
    """The objective of the module refit_problem, written out for labels and plain features."""
    weight, bias = to_host(weight), to_host(bias)
    share = np.ones(len(y)) if problem.weight is None else problem.weight
    scores = features @ weight.T + bias
    if problem.offset is not None:
        scores = scores + problem.offset
    if problem.link is Link.OVR:
        binary = [scores[:, 1] - scores[:, 0]] if len(weight) == 2 else list(scores.T)
        classes = [1] if len(weight) == 2 else range(len(weight))
        losses = sum(np.logaddexp(0, -(2 * (y == k) - 1) * z) for k, z in zip(classes, binary, strict=True))
    else:
        losses = -log_softmax(scores, axis=1)[np.arange(len(y)), y]
    if problem.center is not None:
        weight, bias = weight - problem.center.weight, bias - problem.center.bias
    if problem.link is Link.OVR and len(weight) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    total = np.average(losses, weights=share)
    total += problem.l1 * np.abs(weight).sum() + problem.l2 / 2 * (weight**2).sum()
    if problem.intercept is Intercept.PENALIZED:
        scaled = bias / problem.intercept_scale
        total += problem.l1 * np.abs(scaled).sum() + problem.l2 / 2 * (scaled**2).sum()
    return float(total)


def of_fit(fit: Fit, features, y, problem: Problem) -> float:
    return value(fit.weight, fit.bias, features, y, problem)


@pytest.mark.parametrize("c", [1.0, 0.1, 0.03])
@pytest.mark.parametrize("intercept_scale", [1.0, 5.0])
def test_is_at_least_as_good_as_liblinear_and_predicts_alike(rng, c, intercept_scale):
    features, y = sample(rng, 80, 120, 2)
    weights = rng.random(80) + 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = LogisticRegression(
            penalty="l1",
            l1_ratio=1.0,
            C=c,
            solver="liblinear",
            tol=1e-8,
            max_iter=5000,
            intercept_scaling=intercept_scale,
        ).fit(features, y, sample_weight=weights)
    problem = Problem(
        l1=1 / (c * weights.sum()),
        weight=weights,
        link=Link.OVR,
        intercept=Intercept.PENALIZED,
        intercept_scale=intercept_scale,
    )
    fit = solve(features, y, 2, [problem], tolerance=TIGHT)[0]
    w, b = oracle.coef_[0], oracle.intercept_[0]
    theirs = value(np.stack([-w, w]) / 2, np.asarray([-b, b]) / 2, features, y, problem)
    ours = of_fit(fit, features, y, problem)
    assert fit.certificate.converged
    assert fit.certificate.objective == pytest.approx(ours, abs=1e-13)
    assert ours <= theirs + 1e-13
    assert theirs - ours < 1e-6
    scores = features @ (fit.weight[1] - fit.weight[0]) + fit.bias[1] - fit.bias[0]
    sure = np.abs(scores) > 1e-2
    np.testing.assert_array_equal(scores[sure] > 0, oracle.decision_function(features)[sure] > 0)


def test_one_against_the_rest_is_liblinears_multiclass(rng):
    features, y = sample(rng, 90, 60, 3)
    problem = Problem(l1=1 / (0.1 * 90), link=Link.OVR, intercept=Intercept.PENALIZED)
    fit = solve(features, y, 3, [problem], tolerance=TIGHT)[0]
    for k in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            oracle = LogisticRegression(penalty="l1", l1_ratio=1.0, C=0.1, solver="liblinear", tol=1e-9, max_iter=5000)
            oracle.fit(features, y == k)
        np.testing.assert_allclose(fit.weight[k], oracle.coef_[0], atol=2e-4)
        np.testing.assert_allclose(fit.bias[k], oracle.intercept_[0], atol=2e-4)
    assert fit.certificate.objective == pytest.approx(of_fit(fit, features, y, problem), abs=1e-12)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_is_at_least_as_good_as_saga(rng, l1_ratio, n_classes):
    features, y = sample(rng, 60, 12, n_classes)
    strength = 0.02
    c = 1 / (strength * 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = LogisticRegression(
            penalty="elasticnet", l1_ratio=l1_ratio, C=c, solver="saga", tol=1e-9, max_iter=30000
        )
        oracle.fit(features, y)
    link = Link.OVR if n_classes == 2 else Link.SOFTMAX
    problem = Problem(l1=strength * l1_ratio, l2=strength * (1 - l1_ratio), link=link)
    weight, bias = oracle.coef_, oracle.intercept_
    if n_classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    theirs = value(weight, bias, features, y, problem)
    fit = solve(features, y, n_classes, [problem], tolerance=TIGHT)[0]
    assert fit.certificate.converged
    assert of_fit(fit, features, y, problem) <= theirs + 1e-12
    assert theirs - of_fit(fit, features, y, problem) < 1e-7


def everything(rng, n: int, d: int, n_classes: int) -> Problem:
    """Offsets, weights, a center and soft enough everything, so that no shortcut hides."""
    return Problem(
        l1=0.03,
        l2=0.02,
        weight=rng.random(n),
        offset=rng.standard_normal((n, n_classes)),
        center=Head(weight=0.1 * rng.standard_normal((n_classes, d)), bias=rng.standard_normal(n_classes)),
    )


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("intercept", list(Intercept))
def test_equals_scipy_with_everything_at_once(rng, n_classes, intercept):
    """w = u - v with u, v >= 0 makes the l1 penalty smooth, for a solver of bounded problems."""
    n, d = 40, 5
    features, y = sample(rng, n, d, n_classes)
    problem = replace(everything(rng, n, d, n_classes), intercept=intercept)
    size = n_classes * (d + 1)
    center = np.concatenate([problem.center.weight, problem.center.bias[:, None]], axis=1)

    def split(parts):
        theta = (parts[:size] - parts[size:]).reshape(n_classes, d + 1) + center
        bias = problem.center.bias if intercept is Intercept.NONE else theta[:, -1]
        return theta[:, :-1], bias

    def objective(parts):
        weight, bias = split(parts)
        return value(weight, bias, features, y, replace(problem, l1=0.0)) + problem.l1 * (
            parts.reshape(2, n_classes, d + 1)[:, :, : d + (intercept is Intercept.PENALIZED)].sum()
        )

    start = np.full(2 * size, 0.1)
    found = minimize(objective, start, method="L-BFGS-B", bounds=[(0, None)] * (2 * size), tol=1e-14)
    fit = solve(features, y, n_classes, [problem], tolerance=TIGHT)[0]
    ours = of_fit(fit, features, y, problem)
    assert ours <= found.fun + 1e-9
    assert found.fun - ours < 1e-5
    assert fit.certificate.objective == pytest.approx(ours, abs=1e-12)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_gap_bounds_the_distance_to_the_optimum(rng, tolerance, l2, n_classes):
    features, y = sample(rng, 50, 80, n_classes)
    offset = rng.standard_normal((50, n_classes))
    problem = Problem(l1=0.05, l2=l2, offset=offset)
    best = solve(features, y, n_classes, [problem], tolerance=1e-13)[0].certificate.objective
    fit = solve(features, y, n_classes, [problem], tolerance=tolerance)[0]
    assert fit.certificate.converged
    assert -1e-12 <= fit.certificate.objective - best <= fit.certificate.gap + 1e-12
    assert fit.certificate.gap <= tolerance * np.log(n_classes)


def test_a_penalty_that_is_too_strong_leaves_the_bias_alone(rng):
    features, y = sample(rng, 50, 30, 3)
    fit = solve(features, y, 3, [Problem(l1=100.0)])[0]
    assert fit.certificate.converged
    assert not fit.weight.any()
    np.testing.assert_allclose(fit.bias, np.log(np.bincount(y) / 50) - np.log(np.bincount(y) / 50).mean(), atol=1e-9)


def test_weight_two_is_a_row_twice_and_weight_zero_a_row_gone(rng):
    features, y = sample(rng, 50, 70, 2)
    weights = np.concatenate([np.full(10, 2.0), np.zeros(5), np.ones(35)])
    repeated = np.concatenate([np.arange(10), np.arange(10), np.arange(15, 50)])
    weighted = solve(features, y, 2, [Problem(l1=0.05, weight=weights)], tolerance=TIGHT)[0]
    plain = solve(features[repeated], y[repeated], 2, [Problem(l1=0.05)], tolerance=TIGHT)[0]
    np.testing.assert_allclose(weighted.weight, plain.weight, atol=1e-5)
    assert weighted.certificate.objective == pytest.approx(plain.certificate.objective, abs=1e-9)


def test_rows_are_a_slice_and_their_scaling_folds_back(rng):
    features, y = sample(rng, 60, 40, 2)
    features = features * np.linspace(0.1, 5, 40) + 2
    rows = np.sort(rng.choice(60, 35, replace=False))
    fit = solve(features, y, 2, [Problem(rows=rows, l1=0.02, standardize=Standardize.ROWS)], tolerance=TIGHT)[0]
    scaled = (features[rows] - features[rows].mean(axis=0)) / features[rows].std(axis=0)
    inside = solve(scaled, y[rows], 2, [Problem(l1=0.02)], tolerance=TIGHT)[0]
    np.testing.assert_allclose(
        features @ (fit.weight[1] - fit.weight[0]) + fit.bias[1] - fit.bias[0],
        ((features - features[rows].mean(axis=0)) / features[rows].std(axis=0)) @ (inside.weight[1] - inside.weight[0])
        + inside.bias[1]
        - inside.bias[0],
        atol=1e-5,
    )


def test_a_fit_does_not_depend_on_its_company(rng):
    """Beyond rounding: every block descends alone, only the certificates share a product."""
    features, y = sample(rng, 60, 90, 3)
    links = (Link.SOFTMAX, Link.OVR)
    problems = [Problem(l1=l1, l2=l2, link=link) for l1 in (0.1, 0.02) for l2 in (0.0, 0.1) for link in links]
    for problem, fit in zip(problems, solve(features, y, 3, problems, tolerance=1e-8), strict=True):
        alone = solve(features, y, 3, [problem], tolerance=1e-8)[0]
        np.testing.assert_allclose(fit.weight, alone.weight, rtol=0, atol=1e-9)


def test_runs_alike_on_every_backend(backend, rng):
    features, y = sample(rng, 40, 60, 3)
    for problem in (Problem(l1=0.05), Problem(l1=0.02, l2=0.1, link=Link.OVR, intercept=Intercept.PENALIZED)):
        found = solve(backend.array(features), backend.array(y), 3, [problem], tolerance=TIGHT)[0]
        assert backend.owns(found.weight)
        expected = solve(features, y, 3, [problem], tolerance=TIGHT)[0]
        np.testing.assert_allclose(to_host(found.weight), expected.weight, atol=1e-8)


def test_says_when_it_has_not_converged(rng):
    features, y = sample(rng, 60, 90, 2)
    with pytest.warns(ConvergenceWarning, match="gap"):
        fit = solve(features, y, 2, [Problem(l1=1e-3)], tolerance=1e-12, max_iterations=1)[0]
    assert not fit.certificate.converged


def test_the_quadratic_is_minimised_by_guessing_and_by_descending(rng):
    for size, rank in ((1, 1), (20, 40), (30, 12)):
        root = rng.standard_normal((rank, size))
        hessian, gradient = root.T @ root / rank, rng.standard_normal(size)
        l1 = np.where(np.arange(size) % 7 == 3, 0.0, 0.4)
        if rank < size:
            gradient = root.T @ rng.standard_normal(rank) / rank
        start = rng.standard_normal(size)
        # Descending is given what is regular, as it always is there: whether LAPACK meets a zero is chance.
        regular = hessian + 1e-12 * np.eye(size)
        found = [minimize_quadratic(hessian, gradient, start, l1), _descend(regular, gradient, start, l1)]
        for u in found:
            slope = gradient + hessian @ (u - start)
            away = np.where(u != 0, np.abs(slope + l1 * np.sign(u)), np.maximum(np.abs(slope) - l1, 0))
            assert away.max() < 1e-6


def draws(rng, n: int, d: int):
    """Problems of different rows, numbers of rows, scalings and intercepts over one X."""
    features, y = sample(rng, n, d, 2)
    problems = [
        Problem(
            rows=np.sort(rng.choice(n, size, replace=False)), l1=l1, l2=l2, intercept=intercept, standardize=scaling
        )
        for size, l1, l2 in ((50, 0.01, 0.0), (70, 0.05, 0.0), (60, 0.02, 0.05))
        for intercept in Intercept
        for scaling in Standardize
    ]
    return features * np.linspace(0.5, 2, d) + 3, y, problems


@pytest.mark.parametrize(("largest_copy", "largest_store"), [(2**20, 0), (0, 2**20), (0, 8 * 100 * 20), (0, 0)])
def test_draws_of_other_rows_and_scalings_share_a_product(rng, set_budget, largest_copy, largest_store):
    """Columns kept in float64; or raw ones, with room for all, for twenty, and for one."""
    set_budget(columns_bytes=largest_copy, stored_columns_bytes=largest_store)
    features, y, problems = draws(rng, 100, 130)
    for problem, fit in zip(problems, solve(features, y, 2, problems, tolerance=TIGHT), strict=True):
        rows = problem.rows
        alone = solve(features[rows], y[rows], 2, [replace(problem, rows=None)], tolerance=TIGHT)[0]
        assert fit.certificate.converged
        assert fit.certificate.objective == pytest.approx(alone.certificate.objective, abs=1e-10)
        np.testing.assert_allclose(fit.weight, alone.weight, atol=1e-5)


def test_the_rows_of_a_device_are_solved_on_the_host(backend, rng):
    """Rows, scalings, centers and starts of a device: as if all had been on the host, and the heads go back."""
    features, y, problems = draws(rng, 90, 40)
    head = Head(weight=0.1 * rng.standard_normal((2, 40)), bias=rng.standard_normal(2))
    problems = [replace(one, center=head, start=head) for one in problems[::2]]
    there = Head(weight=backend.array(head.weight), bias=backend.array(head.bias))
    on_device = [replace(one, center=there, start=there) for one in problems]
    found = solve(backend.array(features), backend.array(y), 2, on_device)
    for fit, expected in zip(found, solve(features, y, 2, problems), strict=True):
        assert backend.owns(fit.weight)
        np.testing.assert_allclose(to_host(fit.weight), expected.weight, atol=1e-9)


def test_what_stalls_goes_on_by_descent(rng, monkeypatch):
    """With no patience at all every block is handed over after its first step."""
    features, y, problems = draws(rng, 100, 130)
    expected = solve(features, y, 2, problems, tolerance=TIGHT)
    monkeypatch.setattr("penult_kernels.linear.l1.active_set.PATIENCE", 1)
    monkeypatch.setattr("penult_kernels.linear.l1.active_set.SHRINKING", 0.0)
    for fit, alone in zip(solve(features, y, 2, problems, tolerance=TIGHT), expected, strict=True):
        assert fit.certificate.converged
        assert fit.certificate.objective == pytest.approx(alone.certificate.objective, abs=1e-10)


@pytest.mark.parametrize("l1", [1e-1, 1e-4, 1e-6])
def test_columns_that_come_twice_and_classes_that_are_separable(rng, l1):
    """Nearly no penalty, fewer rows than columns, and systems of dependent columns."""
    features, y = sample(rng, 30, 60, 2)
    twice = np.concatenate([features, features, np.ones((30, 1))], axis=1)
    once, doubled = (solve(x, y, 2, [Problem(l1=l1)], tolerance=1e-8)[0].certificate for x in (features, twice))
    assert once.converged
    assert doubled.converged
    assert doubled.objective == pytest.approx(once.objective, abs=1e-8)
