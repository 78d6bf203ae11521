"""GIC's hidden value: gradients against finite differences, what it finds, every array library."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from penult_kernels.groupings import gic
from penult_kernels.groupings.gic import hidden_value


def drawn(n: int, seed: int, agree: float, *, n_classes: int = 2, d: int = 8):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    a = np.where(rng.random(n) < agree, y % 2, 1 - y % 2)
    features = rng.standard_normal((n, d)) + 50
    features[:, 0] += 2 * y
    features[:, 1] += 5 * a
    return features, y, a


def said(head, features):
    return (features @ head.weight.T + head.bias).argmax(axis=1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_shortcut_and_not_the_class_is_found(n_classes: int):
    features, y, a = drawn(800, 0, 0.95, n_classes=n_classes)
    other, other_y, _ = drawn(400, 1, 0.5, n_classes=n_classes)
    found = hidden_value(features, y, other, other_y, n_classes=n_classes)
    assert adjusted_rand_score(a, said(found, features)) > 0.9
    assert found.divergence > 0.3
    assert found.information == pytest.approx(mutual_info_score(y, said(found, features)), abs=0.1)


def test_slopes_are_those_of_the_objective():
    rng = np.random.default_rng(0)
    features, y = rng.standard_normal((30, 3)), rng.integers(0, 3, 30)
    other, other_y = rng.standard_normal((20, 3)), rng.integers(0, 3, 20)
    here, there = gic._table_rows(features, y, 3, "y"), gic._table_rows(other, other_y, 3, "y")
    for n_columns in (1, 4):
        theta = rng.standard_normal((3, 2 * n_columns))

        def objective(theta, n_columns=n_columns):
            tables = (
                gic._tables(one, gic._values(rows @ theta, n_columns))
                for one, rows in ((here, features), (there, other))
            )
            information, divergence = gic._objective(*tables)
            return float(np.sum(information + 0.7 * divergence))

        p, q = gic._values(features @ theta, n_columns), gic._values(other @ theta, n_columns)
        gradients = gic._gradients(gic._tables(here, p), gic._tables(there, q), 0.7)
        # Smoothing divides the tables by 1 + the sum of what is added.
        shrink = 1 + gic.SMOOTHING * 3 * (2 if n_columns == 1 else 4)
        gradient = (
            features.T @ gic._pulled(here, p, gradients[0]) + other.T @ gic._pulled(there, q, gradients[1])
        ) / shrink
        for at in np.ndindex(theta.shape):
            step = np.zeros_like(theta)
            step[at] = 1e-6
            expected = (objective(theta + step) - objective(theta - step)) / 2e-6
            assert gradient[at] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_are_standardised_again_in_each_step_give_the_same(set_budget, dtype: str):
    features, y, _ = drawn(300, 0, 0.95)
    other, other_y, _ = drawn(200, 1, 0.5)
    features[:, 5] = other[:, 5] = 7
    asked = features.astype(dtype), y, other.astype(dtype), other_y
    kept = hidden_value(*asked, n_classes=2, steps=20)
    set_budget(scaled_rows_bytes=0)
    found = hidden_value(*asked, n_classes=2, steps=20)
    atol = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(found.weight, kept.weight, atol=atol)
    np.testing.assert_allclose(found.objectives, kept.objectives, atol=atol)


@pytest.mark.parametrize("n_values", [2, 3])
def test_every_library(backend, n_values: int):
    features, y, _ = drawn(60, 0, 0.9)
    other, other_y, _ = drawn(40, 1, 0.5)
    more = {"n_classes": 2, "n_values": n_values, "steps": 20, "starts": 3}
    expected = hidden_value(features, y, other, other_y, **more)
    found = hidden_value(
        backend.array(features), backend.array(y), backend.array(other), backend.array(other_y), **more
    )
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-9)
    np.testing.assert_allclose(found.bias, expected.bias, atol=1e-7)
    np.testing.assert_allclose(found.objectives, expected.objectives, atol=1e-9)
    assert found.objectives.shape == (3,)
    assert found.weight.shape == (n_values, 8)


def test_a_constant_column_has_no_weight():
    features, y, _ = drawn(60, 0, 0.9)
    features[:, 3] = 7
    found = hidden_value(features, y, *drawn(40, 1, 0.5)[:2], n_classes=2, steps=5)
    assert not found.weight[:, 3].any()
    assert np.isfinite(found.weight).all()


def test_a_comparison_needs_rows():
    features, y, _ = drawn(10, 0, 0.9)
    with pytest.raises(ValueError, match="other_y has no rows"):
        hidden_value(features, y, features[:0], y[:0], n_classes=2)
