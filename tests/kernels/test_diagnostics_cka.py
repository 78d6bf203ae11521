"""Alignment beside n x n kernels computed naively, planted truths, and an exact jackknife."""

import itertools
import math

import numpy as np
import pytest
from diagnosed import number, planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.rows import ArrayRows


@pytest.fixture(scope="module")
def made():
    return planted(seed=6, n=90)


def hsic(k, m):
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    total = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 * one @ k @ m @ one / (n - 2)
    return total / (n * (n - 3))


def naive(x, y):
    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def pair(x, y, **changes):
    """Two sets, all rows one part."""
    n = len(x)
    made = {"x": x, "y": np.arange(n) % 2, "a": np.zeros(n, int), "weight": np.eye(2, x.shape[1]), "bias": np.zeros(2)}
    return subject_of(made, other=ArrayRows(y), part=np.zeros(n, int), n_parts=1, columns={}, **changes)


def test_feature_form_is_the_kernels(backend, made):
    """Through D x D sums on every library, of all rows and of each part; far from the origin, too."""
    subject = subject_of(made, like=backend.array)
    x, y, part = made["x"], made["x"][:, ::-1] ** 2, made["y"] * 2 + made["a"]
    found = values_of(subject, "cka_debiased")
    assert found["cka_debiased", (), ""].value == pytest.approx(naive(x - 5, y - 25), rel=1e-9)
    for p in range(6):
        rows = part == p
        assert found["cka_debiased", (p,), ""].value == pytest.approx(naive(x[rows] - 5, y[rows] - 25), rel=1e-8)


def test_linear_is_kornblith_s(made):
    x, y = made["x"], made["x"][:, ::-1] ** 2
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert number(subject_of(made), "cka_linear") == pytest.approx(expected)


def test_the_null_is_the_mean_over_orders_of_the_rows():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 4))
    null = values_of(pair(x, y), "cka_linear")["cka_linear", (), ""].null
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    every = [np.linalg.norm(a.T @ b[list(order)]) ** 2 / scale for order in itertools.permutations(range(6))]
    assert null == pytest.approx(np.mean(every))


def test_a_rotation_and_a_scale_are_the_same_features(made):
    rng = np.random.default_rng(2)
    turn, _ = np.linalg.qr(rng.standard_normal((7, 7)))
    subject = pair(made["x"], 3 * made["x"] @ turn + 4)
    for id in ("cka_debiased", "cka_linear", "cka_minibatch"):
        assert number(subject, id) == pytest.approx(1.0)


def test_independent_sets_are_near_zero_where_the_biased_form_is_near_one():
    """Fewer rows than features."""
    rng = np.random.default_rng(3)
    found = values_of(pair(rng.standard_normal((40, 400)), rng.standard_normal((40, 400))), "cka")
    one = found["cka_debiased", (), ""]
    assert found["cka_linear", (), ""].value > 0.85
    assert found["cka_linear", (), ""].null == pytest.approx(found["cka_linear", (), ""].value, abs=0.02)
    assert abs(one.value) < 3 * (one.high - one.low) / 3.92 + 0.02


def test_the_interval_is_the_jackknife_of_all_values_without_one_row():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((30, 4))
    y = x @ rng.standard_normal((4, 3)) + rng.standard_normal((30, 3))
    one = values_of(pair(x, y), "cka_debiased")["cka_debiased", (), ""]
    each = np.array([naive(np.delete(x, i, axis=0), np.delete(y, i, axis=0)) for i in range(30)])
    error = np.sqrt(29 / 30 * np.sum((each - each.mean()) ** 2))
    assert one.high - one.value == pytest.approx(1.959964 * error, rel=1e-6)


def test_batches_of_all_rows_are_the_full_value(made):
    subject = subject_of(made)
    settings = Settings(replicates=0, matched=0, numbers={"cka_batch": 90})
    one = values_of(subject, "cka_minibatch", settings)["cka_minibatch", (), ""]
    assert one.value == pytest.approx(number(subject, "cka_debiased"))
    few = values_of(subject, "cka_minibatch", Settings(replicates=0, matched=0, numbers={"cka_batch": 32}))
    assert few["cka_minibatch", (), ""].n == 64


def test_the_matched_value_is_of_the_same_draws(made):
    subject = subject_of(made)
    one = values_of(subject, "cka_debiased", Settings(replicates=0, seed=2))["cka_debiased", (0,), ""]
    part, smallest = made["y"] * 2 + made["a"], subject.smallest
    own = np.flatnonzero(part == 0)
    each = []
    for index in range(200):
        rows = own[np.sort(np.random.default_rng([2, 1, 0, index]).choice(own.size, smallest, replace=False))]
        each.append(naive(made["x"][rows] - 5, made["x"][rows][:, ::-1] ** 2 - 25))
    assert one.matched_value == pytest.approx(np.median(each), rel=1e-6)


def test_three_rows_are_too_few_and_constant_features_do_not_vary(made):
    few = pair(made["x"][:3], made["x"][:3])
    assert values_of(few, "cka_debiased")["cka_debiased", (), ""].note == "needs four rows"
    flat = pair(np.ones((9, 3)), made["x"][:9])
    for id in ("cka_debiased", "cka_linear", "cka_minibatch"):
        one = values_of(flat, id)[id, (), ""]
        assert math.isnan(one.value)
        assert one.note == "features do not vary"
