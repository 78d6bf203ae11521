"""A column of one value has no weight, whatever the value: in every solver, on trajectories and in closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from penult_kernels.linear.blocks.constants import constant_columns
from penult_kernels.linear.blocks.scaling import CONSTANT, fitted_scaling
from penult_kernels.linear.closed_forms import lda, nearest_mean, ridge
from penult_kernels.linear.solve import Head, Intercept, Link, Problem, Scaler, Standardize, solve
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings, Watch

VALUES = (1.0, 12345.67, -3e6, 1e-9, 0.0)
PENALTIES = {"l2": {"l2": 0.01}, "l1": {"l1": 0.01}, "both": {"l1": 0.003, "l2": 0.01}, "none": {}}


def sample(rng, n: int, d: int, n_classes: int):
    y = np.arange(n) % n_classes
    features = rng.standard_normal((n, d)).astype(np.float32)
    features[:, 0] += 1.5 * (y == 1)
    return features, y


def nothing() -> None:
    return


@pytest.mark.parametrize("link", [Link.SOFTMAX, Link.OVR])
@pytest.mark.parametrize(
    ("penalty", "n", "d"),
    # Fewer rows than columns are separable without a penalty.
    [(name, 400, 5) for name in PENALTIES] + [(name, 30, 40) for name in PENALTIES if name != "none"],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_changes_nothing_at_an_optimum(rng, n, d, n_classes, penalty, link):
    features, y = sample(rng, n, d, n_classes)
    for standardize in (Standardize.ROWS, Standardize.NONE):
        problem = Problem(**PENALTIES[penalty], link=link, standardize=standardize)
        (without,) = solve(features, y, n_classes, [problem], tolerance=1e-8)
        for value in VALUES if standardize is Standardize.ROWS else (1.0, -3.0):
            wider = np.c_[features[:, :2], np.full(n, value), features[:, 2:]].astype(np.float32)
            (fit,) = solve(wider, y, n_classes, [problem], tolerance=1e-8)
            assert fit.certificate.converged
            np.testing.assert_array_equal(fit.weight[:, 2], 0.0)
            np.testing.assert_allclose(np.delete(fit.weight, 2, axis=1), without.weight, atol=2e-3)
            np.testing.assert_allclose(fit.bias, without.bias, atol=2e-3)


@pytest.mark.parametrize("intercept", list(Intercept))
def test_standardised_it_is_nothing_to_any_intercept(rng, intercept):
    features, y = sample(rng, 300, 4, 2)
    features[:, 3] = 777.7
    for penalty in ({"l2": 0.01}, {"l1": 0.01}):
        (fit,) = solve(features, y, 2, [Problem(**penalty, standardize=Standardize.ROWS, intercept=intercept)])
        np.testing.assert_array_equal(fit.weight[:, 3], 0.0)


def test_rows_of_no_weight_do_not_make_it_vary(rng):
    features, y = sample(rng, 400, 5, 2)
    weight = (rng.random(400) < 0.8) * rng.random(400)
    features[:, 2] = np.where(weight > 0, 50.0, rng.standard_normal(400))
    for penalty in ({"l2": 0.01}, {"l1": 0.01}):
        for standardize in (Standardize.ROWS, Standardize.NONE, Scaler(mean=np.full(5, 3.0), scale=np.full(5, 2.0))):
            (fit,) = solve(features, y, 2, [Problem(**penalty, weight=weight, standardize=standardize)])
            np.testing.assert_array_equal(fit.weight[:, 2], 0.0)


def test_its_weight_is_that_of_the_center(rng):
    features, y = sample(rng, 300, 4, 3)
    features[:, 1] = 250.0
    center = Head(weight=rng.standard_normal((3, 4)) * [1, 0.01, 1, 1], bias=rng.standard_normal(3))
    for penalty in ({"l2": 0.01}, {"l1": 0.01}):
        for standardize in (Standardize.ROWS, Standardize.NONE):
            (fit,) = solve(features, y, 3, [Problem(**penalty, center=center, standardize=standardize)])
            np.testing.assert_allclose(fit.weight[:, 1], center.weight[:, 1], rtol=1e-15)


@pytest.mark.parametrize("penalty", [{"l2": 0.02}, {"l1": 0.02}])
def test_predictions_are_those_of_scikit_learn(rng, penalty):
    """On rows where it has another value, too: scikit-learn gives it no weight at all."""
    features, y = sample(rng, 400, 5, 2)
    features[:, 4] = 12345.67
    moved = features.copy()
    moved[:, 4] += 100
    scaler = StandardScaler().fit(features.astype(np.float64))
    strength = next(iter(penalty.values()))
    if "l1" in penalty:
        reference = LogisticRegression(l1_ratio=1.0, C=1 / (400 * strength), solver="saga", tol=1e-10, max_iter=20_000)
    else:
        # A softmax of two classes has half its l2 in their difference.
        reference = LogisticRegression(C=2 / (400 * strength), solver="lbfgs", tol=1e-10, max_iter=1000)
    reference.fit(scaler.transform(features), y)
    (fit,) = solve(features, y, 2, [Problem(**penalty, standardize=Standardize.ROWS)], tolerance=1e-10)
    margin = (moved @ (fit.weight[1] - fit.weight[0])) + (fit.bias[1] - fit.bias[0])
    # scikit-learn's own weight of the column is what is left of rounding: not asked for.
    expected = scaler.transform(features) @ reference.coef_[0] + reference.intercept_[0]
    np.testing.assert_allclose(margin, expected, atol=1e-3)


def test_draws_standardised_together_leave_out_each_its_own(rng):
    features, y = sample(rng, 600, 6, 2)
    draws = [np.sort(rng.choice(600, 300, replace=False)) for _ in range(6)]
    features[draws[1], 2] = 4e4
    problems = [Problem(l2=0.01, rows=rows, standardize=Standardize.ROWS) for rows in draws]
    fits = solve(features, y, 2, problems)
    assert [bool(np.all(fit.weight[:, 2] == 0)) for fit in fits] == [False, True, False, False, False, False]
    alone = [solve(features, y, 2, [problem])[0] for problem in problems]
    for fit, one in zip(fits, alone, strict=True):
        assert abs(fit.certificate.objective - one.certificate.objective) < 1e-4


@pytest.mark.parametrize("change", [0.0, 0.5, 3.0])
def test_nearly_constant_is_constant_up_to_the_stated_deviation(rng, change):
    features, y = sample(rng, 300, 4, 2)
    wide = features.astype(np.float64)
    wide[:, 3] = 1e3 * (1 + change * CONSTANT * np.sign(rng.standard_normal(300)))
    (fit,) = solve(wide, y, 2, [Problem(l2=0.01, standardize=Standardize.ROWS)])
    (found,) = constant_columns(wide, [None], nothing)
    assert bool(np.all(fit.weight[:, 3] == 0)) is (change < 1)
    assert found.columns.tolist() == ([3] if change < 1 else [])
    assert found.is_exact.tolist() == [change == 0][: found.columns.size]
    if change < 1:
        np.testing.assert_allclose(found.values, [1e3], rtol=1e-6)


def test_few_rows_show_which_columns_can_be_constant(backend, rng):
    features = rng.standard_normal((3000, 8))
    features[:, [1, 6]] = [5.0, 0.0]
    # Equal on nearly all rows is not constant.
    features[:, 3] = 2.0
    features[1234, 3] = 7.0
    rows = np.sort(rng.choice(3000, 2000, replace=False))
    rows = np.unique(np.append(rows, 1234))
    (found,) = constant_columns(backend.array(features), [rows], nothing)
    assert found.columns.tolist() == [1, 6]
    assert found.is_exact.all()
    np.testing.assert_array_equal(found.values, [5.0, 0.0])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_trajectories_on_standardised_features_do_not_move_it(rng, n_classes):
    features, y = sample(rng, 200, 5, n_classes)
    wider = np.c_[features, np.full(200, 1e4)].astype(np.float32)
    watched = wider.copy()
    watched[:, 5] += 100
    start = Head(weight=0.1 * rng.standard_normal((n_classes, 6)), bias=np.zeros(n_classes))
    settings = TrajectorySettings(learning_rate=0.1, steps=20)
    for begin in (None, start):
        problem = Problem(standardize=Standardize.ROWS, start=begin)
        (with_it,) = descend(wider, y, n_classes, [problem], [settings])
        expected = np.zeros(n_classes) if begin is None else start.weight[:, 5]
        np.testing.assert_allclose(with_it.weight[:, 5], expected, rtol=1e-6)
        narrower = (
            None if begin is None else Head(weight=start.weight[:, :5], bias=start.bias + 1e4 * start.weight[:, 5])
        )
        (without,) = descend(features, y, n_classes, [replace(problem, start=narrower)], [settings])
        np.testing.assert_allclose(with_it.weight[:, :5], without.weight, atol=2e-4)
    # What is watched is scored by the head that comes back.
    seen: list[np.ndarray] = []

    def score(_: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        seen.append(np.asarray(outputs))
        return np.zeros(outputs.shape[1])

    (fit,) = descend(
        wider, y, n_classes, [Problem(standardize=Standardize.ROWS, start=start)], [settings],
        watch=Watch(features=watched, score=score),
    )  # fmt: skip
    logits = watched.astype(np.float64) @ np.asarray(fit.weight).T + np.asarray(fit.bias)
    expected = logits[:, 1] - logits[:, 0] if n_classes == 2 else logits
    np.testing.assert_allclose(np.squeeze(seen[-1]), expected, atol=2e-2)


def test_closed_forms_give_it_no_weight(rng):
    features, y = sample(rng, 300, 4, 2)
    wider = np.c_[features, np.full(300, 12345.67)].astype(np.float32)
    g = 2 * y + rng.integers(0, 2, 300)
    moments, plain = (moments_of(x, g, 4) for x in (wider, features))
    for standardize in (True, False):
        heads = zip(
            [*ridge(moments, 2, l2=[0.1], standardize=standardize), nearest_mean(moments, 2, standardize=standardize)],
            [*ridge(plain, 2, l2=[0.1], standardize=standardize), nearest_mean(plain, 2, standardize=standardize)],
            strict=True,
        )
        for head, other in heads:
            np.testing.assert_array_equal(head.weight[:, 4], 0.0)
            np.testing.assert_allclose(head.weight[:, :4], other.weight, rtol=1e-7, atol=1e-12)
            np.testing.assert_allclose(head.bias, other.bias, rtol=1e-7)
    head = lda(moments, 2, shrinkage=0.2)
    np.testing.assert_array_equal(head.weight[:, 4], 0.0)


def test_a_scaler_for_other_rows_divides_it_by_one(rng):
    features, _ = sample(rng, 100, 3, 2)
    features[:, 1] = 5.0
    scaling = fitted_scaling(features, None, nothing)
    assert np.isinf(scaling.scale[1])
    assert scaling.unit[1] == 1.0
    np.testing.assert_array_equal(scaling.unit[[0, 2]], scaling.scale[[0, 2]])


@pytest.mark.parametrize("penalty", [{"l2": 1e-3}, {"l1": 0.01}])
@pytest.mark.parametrize("size", [1e5, 1e6])
def test_nearly_constant_on_some_rows_is_left_out_before_the_solve(rng, penalty, size):
    """A head that had used it and lost it afterwards would not be the one that was certified."""
    n = 300
    y = rng.integers(0, 2, n)
    features = rng.standard_normal((n, 7))
    features[:, 0] += 2 * y
    # It gives the class away, by less than counts.
    features[:, 6] = size * (1 + 4e-7 * (2 * y - 1))
    features[150:, 6] = 1e4 * rng.standard_normal(150)
    x, half = features.astype(np.float32), np.arange(150)
    weight = (np.arange(n) < 150) * 1.0
    given = Scaler(mean=np.full(7, 3.0), scale=np.full(7, 2.0))
    for standardize in (Standardize.NONE, given):
        for problem in (Problem(**penalty, rows=half), Problem(**penalty, weight=weight)):
            asked = replace(problem, standardize=standardize)
            (fit,) = solve(x, y, 2, [asked], tolerance=1e-6)
            (without,) = solve(x[:, :6], y, 2, [replace(asked, standardize=_first(standardize, 6))], tolerance=1e-6)
            np.testing.assert_array_equal(fit.weight[:, 6], 0.0)
            np.testing.assert_allclose(fit.certificate.objective, without.certificate.objective, atol=1e-5)
            np.testing.assert_allclose(fit.weight[:, :6], without.weight, atol=0.05)


def _first(standardize: Standardize | Scaler, n: int) -> Standardize | Scaler:
    if isinstance(standardize, Scaler):
        return Scaler(mean=standardize.mean[:n], scale=standardize.scale[:n])
    return standardize
