"""L2 problems in the space of rows and in that of features: one answer, whatever is stacked, cut, shifted or narrow."""

from dataclasses import replace

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.linear.blocks.batch import make_batch
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.l2 import by_rows as l2_by_rows
from penult_kernels.linear.l2 import subspace_newton
from penult_kernels.linear.l2.eigenbasis import make_eigenbasis, make_preconditioner
from penult_kernels.linear.l2.feature_space import PrimalSpace
from penult_kernels.linear.l2.lbfgs import inner, lbfgs
from penult_kernels.linear.solve import Head, Intercept, Problem, Scaler, Standardize, solve

TIGHT = 1e-11


def sample(rng, n: int, d: int, n_classes: int):
    y = rng.permutation(np.arange(n) % n_classes)
    return rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((n_classes, d))[y], y


def draws(rng, n: int, sizes) -> list[np.ndarray]:
    return [np.sort(rng.permutation(n)[:size]) for size in sizes]


def by_newton(features, y, n_classes, problem, **options):
    """The same problem by Newton's method alone: a start keeps it out of the space of rows."""
    zero = Head(weight=np.zeros((n_classes, features.shape[1])), bias=np.zeros(n_classes))
    return solve(features, y, n_classes, [replace(problem, start=zero)], max_iterations=500, **options)[0]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("intercept", list(Intercept))
def test_stacked_sets_of_rows_against_newton(backend, rng, n_classes, intercept):
    features, y = sample(rng, 60, 40, n_classes)
    features = features * np.geomspace(0.1, 3, 40) + 2
    scaler = Scaler(mean=rng.standard_normal(40), scale=rng.random(40) + 0.5)
    problems = [
        Problem(
            rows=rows,
            l2=l2,
            weight=rng.random(rows.size),
            offset=offset,
            intercept=intercept,
            intercept_scale=2.0,
            standardize=scaler,
        )
        for rows, offset in zip(
            draws(rng, 60, (30, 30, 45, 30)), [None, rng.standard_normal((60, n_classes))] * 2, strict=True
        )
        for l2 in (0.1, 1e-3)
    ]
    found = solve(backend.array(features), backend.array(y), n_classes, problems, tolerance=TIGHT)
    for problem, fit in zip(problems, found, strict=True):
        expected = by_newton(features, y, n_classes, problem, tolerance=TIGHT)
        assert fit.certificate.converged
        assert abs(fit.certificate.objective - expected.certificate.objective) <= TIGHT * np.log(n_classes)
        np.testing.assert_allclose(to_host(fit.weight), expected.weight, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("n_classes", "l2"), [(2, 1e-5), (4, 1e-4)])
def test_a_basis_that_is_restarted(backend, rng, monkeypatch, n_classes, l2):
    """Far more directions are needed than fit; what stays of them loses neither the head nor the way."""
    monkeypatch.setattr(l2_by_rows, "LEAST_DIRECTIONS", 16)
    monkeypatch.setattr(l2_by_rows, "MOST_DIRECTIONS", 16)
    monkeypatch.setattr(subspace_newton, "LATEST_KEPT", 12)
    features, y = sample(rng, 150, 70, n_classes)
    features, y = features * np.arange(1, 71) ** -1.0, rng.permutation(y)
    problems = [Problem(rows=rows, l2=factor * l2) for rows in draws(rng, 150, (130, 130)) for factor in (1, 100)]
    found = solve(backend.array(features), backend.array(y), n_classes, problems, tolerance=1e-9)
    for problem, fit in zip(problems, found, strict=True):
        expected = by_newton(features, y, n_classes, problem, tolerance=1e-9)
        assert fit.certificate.converged
        assert abs(fit.certificate.objective - expected.certificate.objective) <= 1e-9 * np.log(n_classes)
    # Well beyond the sixteen that fit.
    assert found[0].certificate.passes > 40


def test_rows_without_curvature(rng):
    """Offsets of hundreds saturate all rows: nothing but the penalty is left of the Hessian."""
    features, y = sample(rng, 30, 40, 2)
    offset = np.outer(np.where(y == 1, 1.0, -1.0), [-400.0, 400.0])
    fit = solve(features, y, 2, [Problem(l2=0.1, offset=offset)], tolerance=1e-9)[0]
    assert fit.certificate.converged
    assert fit.certificate.objective <= 1e-9


@pytest.mark.parametrize("workspace", [1, 40_000])
def test_cut_into_small_batches(rng, set_budget, workspace):
    features, y = sample(rng, 90, 40, 3)
    problems = [Problem(rows=rows, l2=l2) for rows in draws(rng, 90, (35,) * 4) for l2 in (1e-3, 0.01, 0.1)]
    whole = solve(features, y, 3, problems, tolerance=TIGHT)
    set_budget(batch_bytes=workspace, batch_rows_bytes=workspace)
    for one, other in zip(whole, solve(features, y, 3, problems, tolerance=TIGHT), strict=True):
        assert abs(one.certificate.objective - other.certificate.objective) <= TIGHT * np.log(3)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9])
@pytest.mark.parametrize("shape", [(50, 60), (200, 60), (2500, 10)])
def test_float32_features_reach_the_tolerance(rng, shape, tolerance):
    features, y = sample(rng, *shape, 2)
    features = features.astype(np.float32)
    problems = [Problem(l2=l2, standardize=Standardize.ROWS) for l2 in (1.0, 1e-2, 1e-4)]
    for fit, problem in zip(solve(features, y, 2, problems, tolerance=tolerance), problems, strict=True):
        best = by_newton(features.astype(float), y, 2, problem, tolerance=1e-13).certificate.objective
        assert fit.certificate.converged
        assert -1e-12 <= fit.certificate.objective - best <= fit.certificate.gap + 1e-12
        assert fit.certificate.gap <= tolerance * np.log(2)


@pytest.mark.parametrize("shape", [(30, 40), (3000, 12)])
def test_a_mean_costs_no_passes(rng, shape):
    """A free bias takes up the mean of the features: in both spaces the solve is about that mean."""
    features, y = sample(rng, *shape, 2)
    plain, shifted = (solve(x, y, 2, [Problem(l2=0.01)], tolerance=1e-8)[0] for x in (features, features + 30))
    np.testing.assert_allclose(shifted.weight, plain.weight, atol=1e-3)
    assert shifted.certificate.passes <= plain.certificate.passes + 4


def test_fewer_products_than_newton(rng):
    features, y = sample(rng, 60, 100, 2)
    features = features * np.arange(1, 101) ** -0.5
    problem = Problem(l2=1e-4)
    stacked = solve(features, y, 2, [problem], tolerance=1e-6)[0]
    assert stacked.certificate.passes < 0.7 * by_newton(features, y, 2, problem, tolerance=1e-6).certificate.passes


def test_lbfgs_alone_ends_where_the_gradient_vanishes(rng):
    features, y = sample(rng, 400, 6, 2)
    blocks = [next(Preparation(features, y, 2).blocks_of(0, Problem(l2=l2))) for l2 in (1e-3, 0.1)]
    batch = make_batch(features, blocks)
    space = PrimalSpace(batch, make_preconditioner(batch, make_eigenbasis(features, np.ones(6))))
    reached = lbfgs(space, np.zeros((2, 7)), StopRule(limit=1e-10), memory=5)
    x = space.flat(reached.theta)
    there = space.evaluate(x)
    assert (inner(there.gradient, there.gradient) < 1e-6).all()
    assert (space.gaps(there) <= 1e-10).all()
    assert reached.evaluations[0] >= reached.evaluations[1] > 1
    # A softmax of two classes is binary with half the l2.
    z = features @ x[:, :6].T + x[:, 6]
    p = 1 / (1 + np.exp(-z))
    gradient = (p - y[:, None]).T @ features / 400 + np.array([[5e-4], [0.05]]) * x[:, :6]
    np.testing.assert_allclose(there.gradient[:, :6], gradient, atol=1e-12)


def test_an_eigenbasis_is_that_of_some_rows(backend, rng, monkeypatch):
    features = rng.standard_normal((5000, 4)) * [4.0, 3.0, 2.0, 1.0] + [0.0, 1e3, -5.0, 1.0]
    monkeypatch.setattr("penult_kernels.linear.l2.eigenbasis.ROWS_PER_FEATURE", 600)
    rows = np.linspace(0, 4999, 2400).round().astype(int)
    scale = np.asarray([1.0, 2.0, 0.5, 1.0])
    expected = np.linalg.eigvalsh(np.cov((features[rows] / scale).T, ddof=0))
    for dtype, rtol in ((np.float64, 1e-6), (np.float32, 1e-4)):
        basis = make_eigenbasis(backend.array(features.astype(dtype)), backend.array(scale))
        np.testing.assert_allclose(np.sort(to_host(basis.eigenvalues)), expected, rtol=rtol)


def test_an_eigenbasis_of_huge_values_is_finite(rng):
    features = rng.standard_normal((50, 3), dtype=np.float32) * np.float32(1e25)
    assert np.isfinite(make_eigenbasis(features, np.ones(3)).eigenvalues).all()


def test_what_rounding_leaves(rng):
    """The gradient at heads rounded to float32, beside that at the heads themselves."""
    features, y = sample(rng, 2000, 30, 2)
    block = next(Preparation(features, y, 2).blocks_of(0, Problem(l2=1e-6)))
    wide = make_batch(features, [block])
    preconditioner = make_preconditioner(wide, make_eigenbasis(features, np.ones(30)))
    theta = np.concatenate([rng.standard_normal((1, 1, 30)), np.zeros((1, 1, 1))], axis=2)
    space = PrimalSpace(wide, preconditioner)
    exact, rounded = (space.evaluate(space.flat(at)) for at in (theta, theta.astype(np.float32).astype(np.float64)))
    change = float(np.sum((exact.gradient - rounded.gradient) ** 2)) / (2 * 1e-6)
    narrow = PrimalSpace(make_batch(features.astype(np.float32), [block], in_float32=True), preconditioner)
    assert 0.05 < float(narrow.floors(space.flat(theta), exact)[0]) / change < 20
    assert float(space.floors(space.flat(theta), exact)[0]) == 0.0


def test_lbfgs_does_not_wait_at_the_floor(rng, monkeypatch):
    features = rng.standard_normal((3000, 40), dtype=np.float32)
    y = (features[:, 0] + rng.standard_normal(3000) > 0).astype(np.int64)
    problem = Problem(l2=1e-7)
    soon = solve(features, y, 2, [problem], tolerance=1e-10)[0]
    monkeypatch.setattr("penult_kernels.linear.l2.quick_loop.PATIENCE_AT_FLOOR", 15)
    late = solve(features, y, 2, [problem], tolerance=1e-10)[0]
    assert soon.certificate.converged
    assert late.certificate.converged
    assert soon.certificate.passes <= late.certificate.passes - 16
    assert abs(soon.certificate.objective - late.certificate.objective) <= 1e-10 * np.log(2)
