"""The machine beside scikit-learn's, its certificate, the head of the largest margin, and what descends to it."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from diagnosed import subject_of, values_of
from scipy.optimize import minimize
from sklearn.svm import SVC, LinearSVC

from penult_kernels.arrays import to_host
from penult_kernels.linear.certificate import ConvergenceWarning
from penult_kernels.linear.hinge.machine import class_basis, constraints_of, solve_machine
from penult_kernels.linear.problem import Head, Intercept, Link, Problem, Standardize
from penult_kernels.linear.solve import solve
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import Optimizer, TrajectorySettings


def rows_of(n=80, d=6, k=2, seed=0, gap=0.4):
    """Rows that a head without a bias separates."""
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((n, d)) + 0.3, rng.standard_normal((k, d))
    logits = x @ w.T
    ends = np.sort(logits, axis=1)
    keep = ends[:, -1] - ends[:, -2] > gap
    return x[keep], logits[keep].argmax(axis=1)


def machine(x, y, k, c=np.inf):
    return solve_machine(constraints_of(x, y, k, np.full(len(y), c)))


def unit(w):
    return w / np.linalg.norm(w)


@pytest.mark.parametrize("shape", [{"d": 3}, {"n": 60, "d": 90}])
def test_the_hard_margin_beside_linear_svc(shape):
    x, y = rows_of(**shape)
    found = machine(x, y, 2)
    w = class_basis(2) @ found.w
    w = w[1] - w[0]
    theirs = LinearSVC(fit_intercept=False, C=1e5, loss="hinge", max_iter=1_000_000, tol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(x, y)
    assert unit(w) @ unit(theirs.coef_[0]) == pytest.approx(1.0, abs=1e-6)
    signed = np.where(y == 1, 1, -1) * (x @ w)
    assert signed.min() == pytest.approx(1.0, abs=1e-7)
    assert found.margin == pytest.approx(found.margin_bound, rel=1e-6)


@pytest.mark.parametrize("c", [0.05, 2.0])
def test_soft_margins_of_a_grid_of_c_beside_scikit_learn(c):
    """LinearSVC has no bias here; SVC's objective at its own w, less its bias, is never below our dual."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((60, 4)), rng.integers(0, 2, 60)
    problem = Problem(l2=2 / (c * 60), link=Link.HINGE, intercept=Intercept.NONE)
    (fit,) = solve(x, y, 2, [problem], tolerance=1e-9)
    theirs = LinearSVC(fit_intercept=False, C=c, loss="hinge", max_iter=2_000_000, tol=1e-10).fit(x, y)
    np.testing.assert_allclose(fit.weight[1] - fit.weight[0], theirs.coef_[0], rtol=1e-5, atol=1e-6)
    w = theirs.coef_[0]
    loss = np.maximum(0, 1 - np.where(y == 1, 1, -1) * (x @ w)).mean() + problem.l2 / 4 * (w @ w)
    assert fit.certificate.converged
    assert fit.certificate.objective - fit.certificate.gap <= loss
    assert fit.certificate.objective <= loss + 1e-9


def test_a_penalised_intercept_is_a_column(backend):
    x, y = rows_of(seed=2)
    scale = 3.0
    soft = Problem(l2=0.01, link=Link.HINGE, intercept=Intercept.PENALIZED, intercept_scale=scale)
    column = Problem(l2=0.01, link=Link.HINGE, intercept=Intercept.NONE)
    (one,) = solve(backend.array(x), backend.array(y), 2, [soft], tolerance=1e-9)
    (other,) = solve(np.column_stack([x, np.full(len(x), scale)]), y, 2, [column], tolerance=1e-9)
    np.testing.assert_allclose(to_host(one.weight), other.weight[:, :-1], atol=1e-6)
    np.testing.assert_allclose(to_host(one.bias), scale * other.weight[:, -1], atol=1e-6)


def test_three_classes_beside_a_general_solver():
    x, y = rows_of(n=40, d=4, k=3, seed=1)
    found = machine(x, y, 3)
    others = [[c for c in range(3) if c != own] for own in y]

    def margins(w):
        logits = x @ w.reshape(3, 4).T
        return np.concatenate([logits[i, y[i]] - logits[i, others[i]] for i in range(len(y))])

    theirs = minimize(
        lambda w: w @ w / 2,
        (class_basis(3) @ found.w).ravel() * 1.5,
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: margins(w) - 1},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.primal == pytest.approx(theirs.fun, rel=1e-5)
    assert found.dual <= theirs.fun + 1e-9


def test_weights_and_the_hard_margin_of_a_problem():
    """Weights do not move a hard margin, weight 0 is a row gone; with a large C the soft margin is the hard one."""
    x, y = rows_of(seed=4)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    weight[:5] = 0
    plain = {"link": Link.HINGE, "intercept": Intercept.NONE}
    heads = solve(
        x,
        y,
        2,
        [
            Problem(weight=weight, **plain),
            Problem(rows=np.arange(5, len(y)), **plain),
            Problem(rows=np.arange(5, len(y)), l2=1e-9, **plain),
        ],
        tolerance=1e-9,
    )
    for one in heads[1:]:
        np.testing.assert_allclose(one.weight, heads[0].weight, rtol=1e-5, atol=1e-7)
    standardised = solve(
        x, y, 2, [Problem(standardize=Standardize.ROWS, intercept=Intercept.PENALIZED, link=Link.HINGE)]
    )
    assert standardised[0].certificate.converged


def test_rows_that_no_head_separates_are_not_converged():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 3)), rng.integers(0, 2, 200)
    with pytest.warns(ConvergenceWarning):
        (fit,) = solve(x, y, 2, [Problem(link=Link.HINGE, intercept=Intercept.NONE)])
    assert math.isinf(fit.certificate.gap)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"l1": 0.1, "intercept": Intercept.NONE}, "not an l1"),
        ({}, "no free intercept"),
        ({"target": np.full((63, 2), 0.5), "intercept": Intercept.NONE}, "classes as targets"),
    ],
)
def test_what_hinge_losses_do_not_have_is_refused(changes, said):
    x, y = rows_of(seed=4)
    with pytest.raises(ValueError, match=said):
        solve(x[:63], y[:63], 2, [Problem(link=Link.HINGE, **changes)])


def diagnosed(x, y, head):
    k = head.weight.shape[0]
    made = {"x": x, "y": y, "a": np.zeros_like(y), "weight": head.weight, "bias": head.bias}
    return values_of(subject_of(made, part=y, n_parts=k, n_classes=k, columns={}), "max_margin")


def test_cosine_and_error_of_a_head():
    x, y = rows_of(seed=5)
    best = class_basis(2) @ machine(x, y, 2).w
    found = diagnosed(x, y, Head(weight=7 * best + 2.0, bias=np.array([9.0, 0.0])))
    assert found["max_margin_cosine", (), ""].value == pytest.approx(1.0)
    assert found["max_margin_error", (), ""].value == pytest.approx(0.0, abs=1e-6)
    other = np.random.default_rng(1).standard_normal(best.shape)
    cosine = diagnosed(x, y, Head(weight=other, bias=np.zeros(2)))["max_margin_cosine", (), ""].value
    error = diagnosed(x, y, Head(weight=other, bias=np.zeros(2)))["max_margin_error", (), ""].value
    assert error**2 == pytest.approx(2 - 2 * cosine)


def test_inseparable_rows_have_no_such_head():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 3)), rng.integers(0, 2, 90)
    one = diagnosed(x, y, Head(weight=np.eye(2, 3), bias=np.zeros(2)))["max_margin_cosine", (), ""]
    assert math.isnan(one.value)
    assert "no head without bias separates" in one.note


def test_a_machine_that_is_too_large_is_told_not_failed():
    rng, k = np.random.default_rng(0), 92
    x, y = rng.standard_normal((91, 91)), np.arange(91)
    one = diagnosed(x, y, Head(weight=rng.standard_normal((k, 91)), bias=np.zeros(k)))["max_margin_cosine", (), ""]
    assert math.isnan(one.value)
    assert "ask for fewer rows" in one.note
    with pytest.raises(ValueError, match="too large"):  # before anything of classes by classes is made
        constraints_of(np.ones((4, 9)), np.arange(4), 25_000, np.full(4, np.inf))


def test_the_margin_of_svc_with_an_intercept_is_not_smaller():
    x, y = rows_of(seed=6)
    theirs = SVC(kernel="linear", C=1e8, tol=1e-9).fit(x, y)
    w = class_basis(2) @ machine(x, y, 2).w
    assert np.linalg.norm(theirs.coef_) <= np.linalg.norm(w[1] - w[0]) * (1 + 1e-6)


@pytest.mark.parametrize("optimizer", [Optimizer.GD, Optimizer.SGD])
def test_normalised_steps_over_all_rows_tend_to_the_largest_margin(optimizer):
    """Nearer and nearer in direction; plain descent of as many steps and the same rate is far behind."""
    x, y = rows_of(n=60, d=3, seed=7)
    best = class_basis(2) @ machine(x, y, 2).w
    problem = Problem(intercept=Intercept.NONE)
    whole = None if optimizer is Optimizer.GD else len(y)
    plain = TrajectorySettings(learning_rate=0.2, optimizer=optimizer, steps=3000, batch_size=whole)
    given = [replace(plain, normalize=True, steps=150), replace(plain, normalize=True), plain]
    heads = [descend(x, y, 2, [problem], [one])[0] for one in given]
    few, many, unscaled = (np.linalg.norm(unit(one.weight) - unit(best)) for one in heads)
    assert many < 0.4 * few
    assert many < 0.05
    assert many < 0.5 * unscaled


def test_a_normalised_step_has_the_length_of_the_rate():
    x, y = rows_of(n=40, d=5, k=3, seed=8)
    given = TrajectorySettings(learning_rate=0.1, steps=1, normalize=True)
    (one,) = descend(x, y, 3, [Problem()], [given])
    assert math.hypot(np.linalg.norm(one.weight), np.linalg.norm(one.bias)) == pytest.approx(0.1)


def test_a_normalised_step_does_not_depend_on_the_gradients_beside_it():
    """Those of one problem are 1e-180 of the other's: squared beside them they would be 0."""
    x, y = rows_of(n=40, d=5, seed=8)
    steps = TrajectorySettings(learning_rate=0.1, steps=2, normalize=True)
    problem = Problem()
    (alone,) = descend(x, y, 2, [problem], [steps])
    (beside, _) = descend(x, y, 2, [problem, replace(problem, l2=1e180)], [steps, steps])
    np.testing.assert_allclose(beside.weight, alone.weight, rtol=1e-12)
    assert np.linalg.norm(alone.weight) > 0.15


@pytest.mark.parametrize("changes", [{"optimizer": Optimizer.ADAMW}, {"clip_norm": 1.0}])
def test_normalising_goes_with_neither_adam_nor_a_clip(changes):
    with pytest.raises(ValueError, match="normalize"):
        TrajectorySettings(learning_rate=0.1, steps=3, normalize=True, **changes)
