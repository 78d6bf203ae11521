"""The largest eigenvalues by iteration, against spectra known in advance and against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from penult_kernels.arrays import to_host
from penult_kernels.spectra import eigen as module
from penult_kernels.spectra.eigen import Method, decompose, decompose_fully, iterate, nothing_larger
from penult_kernels.spectra.lanczos import Eigenpairs, largest_eigenpairs
from penult_kernels.spectra.spectrum import spectrum_from_moments, spectrum_from_rows


def matrix(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    whole = (q * np.asarray(eigenvalues, dtype=np.float64)) @ q.T
    return (whole + whole.T) / 2


SPECTRA = {
    "steep": np.arange(1, 301.0) ** -2,
    "gentle": np.arange(1, 301.0) ** -0.5,
    "a cluster around the last one kept": np.r_[
        np.linspace(9, 5, 8), 1 + 1e-9 * np.arange(20), np.linspace(0.5, 0, 272)
    ],
    "equal ones, more than a block": np.r_[[4.0] * 20, np.linspace(1, 0, 280)],
    "low rank": np.r_[np.linspace(3, 2, 12), np.zeros(288)],
    "all equal": np.ones(300),
    "zero": np.zeros(300),
    "one giant": np.r_[1e8, np.linspace(1, 0, 299) ** 4],
}


@pytest.mark.parametrize("name", SPECTRA)
def test_known_spectra_by_whichever_way(name, monkeypatch):
    monkeypatch.setattr(module, "ITERATE_FROM", 1)
    eigenvalues = np.sort(SPECTRA[name])[::-1]
    for k in (1, 5, 12):
        found = decompose(matrix(eigenvalues), k)
        np.testing.assert_allclose(found.values, eigenvalues[:k], rtol=1e-11, atol=1e-11 * eigenvalues[0])
        assert np.all(np.abs(found.values - eigenvalues[:k]) <= found.residuals + 1e-12 * eigenvalues[0])
        assert found.converged


def test_iteration_answers_where_it_can_and_not_where_it_cannot(monkeypatch):
    monkeypatch.setattr(module, "ITERATE_FROM", 1)
    assert decompose(matrix(SPECTRA["steep"]), 5).method is Method.LANCZOS
    assert decompose(matrix(SPECTRA["equal ones, more than a block"]), 12).method is Method.FULL
    assert decompose(matrix(SPECTRA["steep"]), 100).method is Method.FULL, "too many of them"
    monkeypatch.setattr(module, "LARGEST_BASIS", 0.05)
    assert decompose(matrix(SPECTRA["gentle"]), 5).method is Method.FULL, "the basis would have to be larger"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), power=st.floats(0, 4), k=st.integers(1, 8), n=st.integers(40, 120))
def test_iteration_never_vouches_for_a_wrong_answer(seed, power, k, n):
    eigenvalues = np.sort(np.random.default_rng(seed).permutation(n) + 1.0) ** -power
    symmetric = matrix(np.repeat(eigenvalues, 2)[:n], seed)
    found = iterate(symmetric, k)
    if found is not None:
        np.testing.assert_allclose(found.values, np.linalg.eigvalsh(symmetric)[::-1][:k], rtol=0, atol=1e-9)


@pytest.mark.parametrize("missed", [0, 3, 9])
def test_a_missed_eigenvalue_is_noticed(backend, missed):
    symmetric = matrix(SPECTRA["steep"])
    values, vectors = np.linalg.eigh(symmetric)
    kept = np.delete(np.arange(299, 289, -1), missed)
    for columns, complete in ((kept, missed == 9), (np.arange(299, 289, -1), True)):
        pairs = Eigenpairs(
            values=backend.array(values[columns]),
            vectors=backend.array(vectors[:, columns]),
            residuals=backend.array(np.full(len(columns), 1e-13)),
            converged=True,
            n_products=0,
        )
        assert nothing_larger(backend.array(symmetric), pairs) is complete


def test_iteration_on_every_backend(backend):
    symmetric = backend.array(matrix(SPECTRA["steep"]))
    found = largest_eigenpairs(
        lambda columns: symmetric @ columns, symmetric, 300, 6, block=4, max_basis=150, tolerance=1e-10
    )
    assert found.converged
    assert backend.owns(found.vectors)
    assert found.n_products < 150
    np.testing.assert_allclose(to_host(found.values), SPECTRA["steep"][:6], rtol=1e-12)
    vectors = to_host(found.vectors)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(to_host(symmetric) @ vectors - vectors * to_host(found.values), axis=0),
        to_host(found.residuals),
        rtol=1e-3,
        atol=1e-14,
    )


def test_stopping_short_says_so():
    symmetric = matrix(SPECTRA["gentle"])
    found = largest_eigenpairs(lambda c: symmetric @ c, symmetric, 300, 6, block=4, max_basis=12, tolerance=1e-10)
    assert not found.converged
    assert found.residuals.max() > 1e-3
    exact = np.linalg.eigvalsh(symmetric)
    nearest = np.abs(found.values[:, None] - exact[None, :]).min(axis=1)
    assert np.all(nearest <= found.residuals * (1 + 1e-9))


def test_a_basis_of_the_whole_space_is_exact():
    symmetric = matrix(np.arange(10.0))
    found = largest_eigenpairs(lambda c: symmetric @ c, symmetric, 10, 10, block=4, max_basis=10, tolerance=1e-12)
    np.testing.assert_allclose(found.values, np.arange(10.0)[::-1], atol=1e-13)


def test_a_full_decomposition_states_its_error(backend):
    eigenvalues = np.r_[1e6, np.linspace(1, 0, 59)]
    symmetric = backend.array(matrix(eigenvalues))
    for vectors in (False, True):
        found = decompose_fully(symmetric, 60, vectors=vectors)
        error = np.abs(to_host(found.values) - eigenvalues)
        # The matrix itself has these eigenvalues to within the rounding of its entries.
        assert np.all(error <= to_host(found.residuals) + 4 * np.finfo(float).eps * eigenvalues.max())
        assert to_host(found.residuals).max() < 1e-7


@pytest.mark.parametrize("shape", [(80, 12), (12, 80), (5, 9)])
@pytest.mark.parametrize("top_k", [3, 0])
def test_vectors_are_those_of_the_covariance(backend, rng, shape, top_k):
    rows = rng.standard_normal(shape) @ np.diag(np.arange(1, shape[1] + 1.0) ** -1) + 50
    found = spectrum_from_rows(backend.array(rows), top_k=top_k, vectors=True)
    values, vectors = to_host(found.eigenvalues), to_host(found.vectors)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-12)
    covariance = np.cov(rows.T, ddof=0)
    np.testing.assert_allclose(covariance @ vectors, vectors * values, atol=1e-12)
    assert to_host(found.residuals).max() < 1e-12
    np.testing.assert_array_less(np.diff(values), 1e-15)


def test_vectors_equal_principal_components(rng):
    rows = rng.standard_normal((200, 20)) * np.arange(1, 21.0)
    pca = PCA(n_components=4).fit(rows)
    m2 = np.cov(rows.T, ddof=0) * 200
    for found in (
        spectrum_from_rows(rows, top_k=4, correction=1, vectors=True),
        spectrum_from_moments(m2, 200, top_k=4, correction=1, vectors=True),
    ):
        np.testing.assert_allclose(found.eigenvalues, pca.explained_variance_, rtol=1e-10)
        np.testing.assert_allclose(np.abs(np.sum(found.vectors.T * pca.components_, axis=1)), 1, rtol=1e-9)
