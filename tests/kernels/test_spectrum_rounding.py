"""What an eigenvalue's residual promises, for features far from zero: features of whole numbers about a distant point,
whose covariance is known to the last bit."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.moments.moments import pool
from penult_kernels.spectra.spectrum import Spectrum, spectrum_from_moments, spectrum_from_rows
from penult_kernels.spectra.streamed import spectrum_from_passes

EPS = np.finfo(np.float64).eps


def whole_numbers(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.rint(rng.standard_normal(shape) * np.linspace(9, 2, shape[1]) + rng.integers(-3, 4, shape[1])).astype(int)


def exact_eigenvalues(q: np.ndarray, *, center: bool = True) -> np.ndarray:
    """Of the covariance of whole numbers, whose entries times n^2 are whole numbers too."""
    n, total = len(q), q.sum(axis=0)
    return np.linalg.eigvalsh((n * (q.T @ q) - center * np.outer(total, total)) / n**2)[::-1]


def by_moments(rows, *, center: bool = True) -> Spectrum:
    n = int(rows.shape[0])
    moments = moments_of(rows, np.zeros(n, dtype=int), 1)
    return spectrum_from_moments(moments.m2[0, :, :], n, mean=moments.mean[0, :])


def by_pools(rows) -> Spectrum:
    """As a class is answered from the moments of its groups."""
    n = int(rows.shape[0])
    moments = pool(moments_of(rows, np.arange(n) % 3, 3), [0, 0, 0], 1)
    return spectrum_from_moments(moments.m2[0, :, :], n, mean=moments.mean[0, :])


def in_passes(rows, *, memory: int = 2**30, top_k: int = 0) -> Spectrum:
    n, d = (int(size) for size in rows.shape)
    blocks = [rows[: n // 3, :], rows[n // 3 :, :]]
    return spectrum_from_passes(lambda: blocks, n, d, like=rows, memory=memory, top_k=top_k)


def assert_within_residuals(found: Spectrum, expected: np.ndarray) -> np.ndarray:
    values, residuals = to_host(found.eigenvalues), to_host(found.residuals)
    errors = np.abs(values - expected[: values.size])
    assert np.isfinite(residuals).all()
    # Exact zeros come last; the reference has its own rounding there.
    assert (errors <= residuals + 4 * EPS * expected[0]).all(), (errors / expected[0], residuals / expected[0])
    return errors / expected[0]


@pytest.mark.parametrize("shape", [(60_000, 1), (20_000, 8), (4000, 60), (30, 70)])
@pytest.mark.parametrize(
    ("dtype", "mean"), [("float32", 0), ("float32", 1e4), ("float32", 1e6), ("float64", 1e7), ("float64", 1e12)]
)
def test_every_way_keeps_within_its_residuals(backend, shape, dtype, mean):
    q = whole_numbers(shape)
    rows = backend.array((q + mean).astype(dtype))
    expected = exact_eigenvalues(q)
    ways = [spectrum_from_rows(rows), spectrum_from_rows(rows, vectors=True), in_passes(rows)]
    ways += [in_passes(rows, memory=28_000, top_k=2)] if shape[1] > 8 else []
    ways += [by_moments(rows), by_pools(rows)] if shape[0] > shape[1] else []
    for found in ways:
        assert_within_residuals(found, expected)
        if mean == 0:
            assert to_host(found.residuals)[0] <= 1e-10 * expected[0], "a bound that says nothing proves nothing"


@pytest.mark.parametrize("way", [by_moments, by_pools, in_passes])
def test_a_distant_mean_costs_more_than_the_decomposition(way):
    """The backward error of a decomposition, D eps lambda_1, would be too little to promise."""
    q = whole_numbers((20_000, 8))
    errors = assert_within_residuals(way((q + 1e12).astype(np.float64)), exact_eigenvalues(q))
    assert errors.max() > 1e6 * 8 * EPS


def test_about_zero(backend):
    """The mean is part of an uncentered spectrum, to which its rounding is small."""
    q = whole_numbers((5000, 6)) + 10**4
    found = spectrum_from_rows(backend.array(q.astype(np.float32)), center=False)
    assert_within_residuals(found, exact_eigenvalues(q, center=False))
    assert to_host(found.residuals)[0] <= 1e-11 * to_host(found.eigenvalues)[0]
