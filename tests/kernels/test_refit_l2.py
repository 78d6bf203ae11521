"""L2 refits, many at a time, against scikit-learn and SciPy; certificates; what must not change them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from penult_kernels.arrays import to_host
from penult_kernels.linear.solve import (
    ConvergenceWarning,
    Eigenbases,
    Fit,
    Head,
    Intercept,
    Link,
    Problem,
    Scaler,
    Standardize,
    solve,
)
from penult_kernels.sampling.balancing import EmptyLabelError

TIGHT = 1e-12


def sample(rng, n: int, d: int, n_classes: int):
    y = rng.permutation(np.arange(n) % n_classes)
    return rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((n_classes, d))[y], y


def assert_same(one: Fit, other: Fit, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(to_host(one.weight), to_host(other.weight), atol=atol)
    np.testing.assert_allclose(to_host(one.bias), to_host(other.bias), atol=atol)


def value(theta, features, target, problem: Problem) -> float:
    """Objective of a softmax problem at theta (C, D + 1) on plain features, for soft targets (N, C)."""
    scores = features @ theta[:, :-1].T + theta[:, -1]
    if problem.offset is not None:
        scores = scores + problem.offset
    losses = -(target * log_softmax(scores, axis=1)).sum(axis=1)
    center = np.zeros_like(theta)
    if problem.center is not None:
        center = np.concatenate([problem.center.weight, problem.center.bias[:, None]], axis=1)
    off = theta - center
    total = np.average(losses, weights=problem.weight) + problem.l2 / 2 * (off[:, :-1] ** 2).sum()
    if problem.intercept is Intercept.PENALIZED:
        total += problem.l2 / 2 * ((off[:, -1] / problem.intercept_scale) ** 2).sum()
    return float(total)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(70, 6), (20, 40)])
def test_conventions_of_scikit_learn(rng, n_classes, shape):
    features, y = sample(rng, *shape, n_classes)
    weights = rng.random(shape[0]) + 0.1
    c = 3.0
    oracle = LogisticRegression(C=c, tol=1e-11, max_iter=50000).fit(features, y, sample_weight=weights)
    plain = Problem(l2=1 / (c * weights.sum()), weight=weights)
    if n_classes > 2:
        fit = solve(features, y, n_classes, [plain], tolerance=TIGHT)[0]
        np.testing.assert_allclose(fit.weight, oracle.coef_, atol=1e-5)
        np.testing.assert_allclose(fit.bias - fit.bias.mean(), oracle.intercept_ - oracle.intercept_.mean(), atol=1e-5)
        return
    # Two classes: its one vector is a binary problem; as a softmax the same one has half the penalty.
    binary, softmax = solve(
        features, y, 2, [replace(plain, link=Link.OVR), replace(plain, l2=2 * plain.l2)], tolerance=TIGHT
    )
    np.testing.assert_allclose(binary.weight[1] - binary.weight[0], oracle.coef_[0], atol=1e-5)
    np.testing.assert_allclose(binary.bias[1] - binary.bias[0], oracle.intercept_[0], atol=1e-5)
    assert_same(binary, softmax, atol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("intercept", list(Intercept))
def test_equals_scipy_with_everything_at_once(rng, n_classes, intercept):
    n, d = 40, 4
    features, y = sample(rng, n, d, n_classes)
    target = rng.dirichlet(np.ones(n_classes), n)
    problem = Problem(
        l2=0.1,
        weight=rng.random(n),
        target=target,
        offset=rng.standard_normal((n, n_classes)),
        center=Head(weight=rng.standard_normal((n_classes, d)), bias=rng.standard_normal(n_classes)),
        intercept=intercept,
        intercept_scale=2.0,
    )

    def theta_of(flat):
        theta = flat.reshape(n_classes, d + 1).copy()
        if intercept is Intercept.NONE:
            theta[:, -1] = problem.center.bias
        return theta

    found = minimize(
        lambda flat: value(theta_of(flat), features, target, problem), np.zeros(n_classes * (d + 1)), tol=1e-12
    )
    fit = solve(features, y, n_classes, [problem], tolerance=TIGHT)[0]
    ours = value(np.concatenate([fit.weight, fit.bias[:, None]], axis=1), features, target, problem)
    assert fit.certificate.converged
    assert ours <= found.fun + 1e-12
    assert fit.certificate.objective == pytest.approx(ours, abs=1e-12)
    np.testing.assert_allclose(fit.weight, theta_of(found.x)[:, :-1], atol=2e-4)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("intercept", list(Intercept))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gap_bounds_the_distance_to_the_optimum(rng, tolerance, intercept, dtype):
    features, y = sample(rng, 50, 20, 3)
    features = features.astype(dtype)
    problem = Problem(l2=0.05, intercept=intercept, offset=rng.standard_normal((50, 3)))
    best = solve(features.astype(float), y, 3, [problem], tolerance=1e-13)[0].certificate.objective
    fit = solve(features, y, 3, [problem], tolerance=tolerance)[0]
    assert fit.certificate.converged
    assert -1e-12 <= fit.certificate.objective - best <= fit.certificate.gap + 1e-12
    assert fit.certificate.gap <= tolerance * np.log(3)


def test_weights_rows_and_their_order(rng):
    features, y = sample(rng, 40, 5, 2)
    weights = np.concatenate([np.full(10, 2.0), np.zeros(5), np.ones(25)])
    repeated = np.concatenate([np.arange(10), np.arange(10), np.arange(15, 40)])
    base = solve(features, y, 2, [Problem(l2=0.1, weight=weights)], tolerance=TIGHT)[0]
    assert_same(base, solve(features[repeated], y[repeated], 2, [Problem(l2=0.1)], tolerance=TIGHT)[0])
    assert_same(base, solve(features, y, 2, [Problem(l2=0.1, weight=7 * weights)], tolerance=TIGHT)[0])
    rows = np.flatnonzero(weights)
    assert_same(base, solve(features, y, 2, [Problem(l2=0.1, rows=rows, weight=weights[rows])], tolerance=TIGHT)[0])
    order = rng.permutation(40)
    shuffled = solve(features[order], y[order], 2, [Problem(l2=0.1, weight=weights[order])], tolerance=TIGHT)[0]
    assert_same(base, shuffled)


def test_an_offset_is_a_center_and_a_soft_target_a_mixture(rng):
    features, y = sample(rng, 40, 5, 3)
    head = Head(weight=rng.standard_normal((3, 5)), bias=rng.standard_normal(3))
    about = solve(features, y, 3, [Problem(l2=0.2, center=head)], tolerance=TIGHT)[0]
    offset = features @ head.weight.T + head.bias
    moved = solve(features, y, 3, [Problem(l2=0.2, offset=offset)], tolerance=TIGHT)[0]
    np.testing.assert_allclose(about.weight, moved.weight + head.weight, atol=1e-7)
    soft = np.full((40, 3), 0.1) + 0.7 * np.eye(3)[y]
    mixed = solve(features, y, 3, [Problem(l2=0.2, target=soft)], tolerance=TIGHT)[0]
    rows, labels = np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40)
    spread = solve(features[rows], labels, 3, [Problem(l2=0.2, weight=soft.ravel())], tolerance=TIGHT)[0]
    assert_same(mixed, spread)


def test_scaling_is_folded_back(rng):
    features, y = sample(rng, 50, 6, 3)
    features = features * np.geomspace(0.01, 100, 6) + 5
    features[:, 3] = 2.5
    rows = np.arange(0, 50, 2)
    mean, scale = features[rows].mean(axis=0), features[rows].std(axis=0)
    scale[3] = 1.0
    fitted = Problem(l2=0.1, rows=rows, standardize=Standardize.ROWS)
    given = Problem(l2=0.1, rows=rows, standardize=Scaler(mean=mean, scale=scale))
    inside = solve(((features - mean) / scale)[rows], y[rows], 3, [Problem(l2=0.1)], tolerance=1e-15)[0]
    for fit in solve(features, y, 3, [fitted, given], tolerance=1e-15):
        np.testing.assert_allclose(fit.weight * scale, inside.weight, atol=1e-7)
        assert abs(fit.weight[:, 3]).max() < 1e-9


def test_a_fit_does_not_depend_on_its_company(rng):
    """Beyond rounding, which conjugate gradients amplify: products of other widths add in another order."""
    features, y = sample(rng, 60, 8, 3)
    subset = np.arange(0, 60, 3)
    problems = [
        Problem(l2=l2, link=link, rows=rows, weight=weight)
        for l2 in (1e-3, 0.1)
        for link in (Link.SOFTMAX, Link.OVR)
        for rows, weight in ((None, None), (None, rng.random(60)), (subset, None))
    ]
    # Company may change the way to the optimum, so both are so near it that certificates leave less than is compared.
    for problem, fit in zip(problems, solve(features, y, 3, problems, tolerance=1e-12), strict=True):
        alone = solve(features, y, 3, [problem], tolerance=1e-12)[0]
        np.testing.assert_allclose(fit.weight, alone.weight, rtol=0, atol=1e-5)
        assert abs(fit.certificate.objective - alone.certificate.objective) <= 1e-8 * np.log(3)


def test_a_start_and_a_preconditioner_change_the_time_alone(rng, monkeypatch):
    features, y = sample(rng, 300, 12, 3)
    features = features @ np.diag(np.geomspace(1, 30, 12))
    problem = Problem(l2=1e-4)
    with monkeypatch.context() as plain:
        plain.setattr("penult_kernels.linear.l2.choose.PASSES_SAVED", 0.0)
        cold = solve(features, y, 3, [problem], tolerance=1e-15)[0]
    start = Head(weight=rng.standard_normal((3, 12)), bias=np.zeros(3))
    assert_same(cold, solve(features, y, 3, [replace(problem, start=start)], tolerance=1e-15)[0])
    helped = solve(features, y, 3, [problem], tolerance=1e-15)[0]
    assert_same(cold, helped)
    assert helped.certificate.passes < 0.8 * cold.certificate.passes


def test_a_basis_is_made_once_it_has_been_missed_enough(rng, monkeypatch):
    features, y = sample(rng, 300, 12, 2)
    features = features * np.arange(1, 13) ** -1.0
    problems = [Problem(l2=l2, standardize=Standardize.ROWS) for l2 in (0.1, 0.01, 0.001)]
    monkeypatch.setattr("penult_kernels.linear.l2.choose.PASSES_SAVED", 0.3)
    bases, counts = Eigenbases(), []
    for problem in problems * 2:
        fit = solve(features, y, 2, [problem], tolerance=TIGHT, bases=bases)[0]
        alone = solve(features, y, 2, [problem], tolerance=TIGHT)[0]
        assert abs(fit.certificate.objective - alone.certificate.objective) <= TIGHT * np.log(2)
        counts.append(len(bases.found))
    assert counts[0] == 0 < counts[-1] == 1
    assert bases.nbytes == 4 * 12 * 12 + 16 * 12


def test_a_basis_serves_only_what_is_scaled_alike(rng):
    # Fewer rows than a basis samples: it is of all of them.
    features, y = sample(rng, 180, 12, 2)
    features = features * np.geomspace(1, 1e3, 12)
    bases = Eigenbases()
    for standardize in (Standardize.ROWS, Standardize.NONE, Standardize.ROWS):
        solve(features, y, 2, [Problem(l2=0.01, standardize=standardize)], bases=bases)
    assert len(bases.found) == 2
    np.testing.assert_allclose(to_host(bases.found[0].eigenvalues).sum(), 12, rtol=1e-6)
    np.testing.assert_allclose(to_host(bases.found[1].eigenvalues).sum(), features.var(axis=0).sum(), rtol=1e-6)


def test_many_rows_are_taken_by_tiles(rng):
    features, y = sample(rng, 9000, 3, 2)
    problems = [Problem(l2=0.01), Problem(l2=0.01, rows=np.arange(0, 9000, 2))]
    whole, half = solve(features, y, 2, problems, tolerance=TIGHT)
    for fit, rows in ((whole, slice(None)), (half, slice(None, None, 2))):
        oracle = LogisticRegression(C=2 / (0.01 * len(y[rows])), tol=1e-10, max_iter=1000).fit(features[rows], y[rows])
        np.testing.assert_allclose(fit.weight[1] - fit.weight[0], oracle.coef_[0], atol=1e-6)


def test_runs_alike_on_every_backend(backend, rng):
    features, y = sample(rng, 40, 6, 3)
    features = features.astype(np.float32)
    problems = [
        Problem(l2=0.1, standardize=Standardize.ROWS, rows=np.arange(30)),
        Problem(l2=0.1, link=Link.OVR, intercept=Intercept.PENALIZED, weight=rng.random(40)),
    ]
    found = solve(backend.array(features), backend.array(y), 3, problems, tolerance=TIGHT)
    for fit, expected in zip(found, solve(features, y, 3, problems, tolerance=TIGHT), strict=True):
        assert backend.owns(fit.weight)
        assert_same(fit, expected)


def test_separable_rows_without_a_penalty_say_so(rng):
    features = np.concatenate([rng.standard_normal((20, 3)) + 20, rng.standard_normal((20, 3)) - 20])
    y = np.repeat([0, 1], 20)
    fit = solve(features, y, 2, [Problem()], tolerance=1e-6)[0]
    # The optimum is at infinity: near enough is a loss of almost 0, which is its own bound.
    assert fit.certificate.gap == pytest.approx(fit.certificate.objective, abs=1e-15)
    with pytest.warns(ConvergenceWarning):
        stopped = solve(features, y, 2, [Problem()], tolerance=1e-300, max_iterations=5)[0]
    assert not stopped.certificate.converged


def test_one_row_per_group_and_more_columns_than_rows(rng):
    features = rng.standard_normal((4, 50))
    fit = solve(features, np.array([0, 0, 1, 1]), 2, [Problem(l2=0.1, standardize=Standardize.ROWS)])[0]
    assert fit.certificate.converged


def test_a_class_that_is_missing(rng):
    features, y = sample(rng, 30, 4, 3)
    rows = np.flatnonzero(y != 1)
    with pytest.raises(EmptyLabelError) as caught:
        solve(features, y, 3, [Problem(l2=0.1, rows=rows)])
    assert caught.value.label == 1
    # A penalised intercept has a minimum all the same.
    fit = solve(features, y, 3, [Problem(l2=0.1, rows=rows, intercept=Intercept.PENALIZED)])[0]
    assert fit.certificate.converged
    assert set(np.argmax(features[rows] @ fit.weight.T + fit.bias, axis=1)) <= {0, 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite(rng, bad):
    features, y = sample(rng, 30, 4, 2)
    features[7, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        solve(features, y, 2, [Problem(l2=0.1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.array([3, 1])}, "ascending"),
        ({"rows": np.array([1, 1])}, "ascending"),
        ({"rows": np.array([30])}, "ascending"),
        ({"rows": np.array([], np.int64)}, "at least one"),
        ({"weight": np.ones(3)}, "one entry per row"),
        ({"weight": np.zeros(30)}, "positive sum"),
        ({"weight": np.full(30, np.nan)}, "positive sum"),
        ({"target": np.full((30, 2), 0.7)}, "sum to 1"),
        ({"target": np.full(30, 2)}, "0 ... 1"),
        ({"offset": np.zeros((30, 3))}, "offset"),
        ({"offset": np.full((30, 2), np.nan)}, "offset"),
        ({"center": Head(weight=np.zeros((2, 3)), bias=np.zeros(2))}, "center"),
        ({"start": Head(weight=np.full((2, 4), np.inf), bias=np.zeros(2))}, "finite"),
        ({"standardize": Scaler(mean=np.zeros(4), scale=np.zeros(4))}, "positive scales"),
    ],
)
def test_what_makes_no_sense_is_refused(rng, change, message):
    features, y = sample(rng, 30, 4, 2)
    with pytest.raises(ValueError, match=message):
        solve(features, y, 2, [replace(Problem(l2=0.1), **change)])


@pytest.mark.parametrize("change", [{"l2": -1.0}, {"l1": np.nan}, {"intercept_scale": 0.0}])
def test_numbers_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError):
        Problem(**change)


def test_a_check_that_raises_ends_the_solve(rng):
    features, y = sample(rng, 30, 4, 2)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt

    for problem in (Problem(l2=1e-6), Problem(l1=1e-4)):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            solve(features, y, 2, [problem], tolerance=TIGHT, check=check)
