"""Principal axes beside scikit-learn's, with more rows than features and fewer."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from penult_kernels.arrays import to_host
from penult_kernels.finite import NotFiniteError
from penult_kernels.groupings.pca import principal_axes, project


@pytest.mark.parametrize(("n", "d", "p"), [(200, 30, 4), (200, 96, 2), (20, 60, 5), (60, 60, 3)])
def test_axes_are_scikit_learns(backend, rng, set_budget, n, d, p):
    set_budget(rows_per_single_pass=33)
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.7 + 50.0
    rows = backend.array(x)
    found = principal_axes(rows, p)
    theirs = PCA(p, svd_solver="full").fit(x)
    basis = to_host(found.basis)
    assert backend.owns(found.basis)
    np.testing.assert_allclose(basis.T @ basis, np.eye(p), atol=1e-12)
    np.testing.assert_allclose(to_host(found.variance) * n / (n - 1), theirs.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(basis * theirs.components_.T, axis=0)), 1, atol=1e-8)
    # Of each column the largest entry is positive.
    assert (basis[np.abs(basis).argmax(axis=0), np.arange(p)] > 0).all()
    expected = theirs.transform(x) * np.sign(np.sum(basis * theirs.components_.T, axis=0))
    np.testing.assert_allclose(to_host(project(rows, found.mean, found.basis)), expected, atol=1e-6)


def test_no_more_axes_than_rows_span(backend, rng):
    plane = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 8))
    assert principal_axes(backend.array(plane), 5).basis.shape == (8, 2)
    assert principal_axes(backend.array(plane[:5]), 5).basis.shape == (8, 2)
    assert principal_axes(backend.array(np.full((40, 8), 3.0)), 5).basis.shape == (8, 0)


def test_translation_and_the_stored_type_change_nothing(rng):
    x = rng.integers(-8, 8, (300, 12)).astype(np.float64) * np.arange(1, 13)
    found, moved, stored = (principal_axes(rows, 3) for rows in (x, x + 1024.0, x.astype(np.float16)))
    np.testing.assert_allclose(moved.basis, found.basis, atol=1e-9)
    np.testing.assert_allclose(stored.basis, found.basis, atol=1e-9)


@pytest.mark.parametrize("shape", [(50, 4), (4, 50)])
def test_nan_is_named(backend, rng, shape):
    x = rng.standard_normal(shape)
    x[2, 1] = np.nan
    with pytest.raises(NotFiniteError, match="row 2, column 1"):
        principal_axes(backend.array(x), 2)


def test_no_axes_of_nothing(rng):
    with pytest.raises(ValueError, match="the number of rows must be at least 1"):
        principal_axes(np.zeros((0, 3)), 1)
    with pytest.raises(ValueError, match="p must be at least 1"):
        principal_axes(rng.standard_normal((3, 3)), 0)
