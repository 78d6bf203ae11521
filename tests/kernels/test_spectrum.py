"""Eigenvalues against numpy and scikit-learn's PCA."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from penult_kernels.arrays import to_host
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.spectra.spectrum import Method, spectrum_from_moments, spectrum_from_rows

SHAPES = [(40, 6), (6, 40), (9, 9), (2, 5), (1, 3), (5, 1)]


def m2_of(rows):
    return moments_of(rows, np.zeros(rows.shape[0], dtype=np.int64), 1).m2[0, :, :]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("correction", [0, 1])
def test_both_ways_equal_numpy(backend, rng, shape, correction):
    rows = rng.standard_normal(shape) + 5
    if shape[0] <= correction:
        expected, trace = np.full(shape[1], np.nan), np.nan
    else:
        z = rows - rows.mean(axis=0)
        dense = z.T @ z / (shape[0] - correction)
        expected, trace = np.linalg.eigvalsh(dense)[::-1], np.trace(dense)
    from_moments = spectrum_from_moments(m2_of(backend.array(rows)), shape[0], correction=correction).eigenvalues
    found = spectrum_from_rows(backend.array(rows), correction=correction)
    from_rows, found_trace = found.eigenvalues, found.trace
    assert backend.owns(from_moments)
    assert backend.owns(from_rows)
    np.testing.assert_allclose(to_host(from_moments), expected, atol=1e-13, rtol=1e-11)
    np.testing.assert_allclose(to_host(from_rows), expected, atol=1e-13, rtol=1e-11)
    assert found_trace == pytest.approx(trace, rel=1e-12, nan_ok=True)


def test_equals_pca(rng):
    rows = rng.standard_normal((60, 8)) @ rng.standard_normal((8, 8))
    pca = PCA().fit(rows)
    np.testing.assert_allclose(spectrum_from_rows(rows, correction=1).eigenvalues, pca.explained_variance_, rtol=1e-10)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_uncentered_spectrum_is_that_of_the_second_moment(backend, rng, shape):
    rows = rng.standard_normal(shape) + 2
    spectrum = spectrum_from_rows(backend.array(rows), center=False)
    found, trace = spectrum.eigenvalues, spectrum.trace
    singular = np.linalg.svd(rows, compute_uv=False) ** 2 / shape[0]
    np.testing.assert_allclose(to_host(found)[: singular.size], singular, rtol=1e-11)
    assert trace == pytest.approx((rows**2).sum() / shape[0])


@pytest.mark.parametrize("top_k", [0, 1, 3, 100])
def test_top_k_is_the_head_of_all(rng, top_k):
    rows = rng.standard_normal((30, 5))
    everything = spectrum_from_rows(rows)
    found = spectrum_from_rows(rows, top_k=top_k)
    np.testing.assert_array_equal(found.eigenvalues, everything.eigenvalues[: top_k or 5])
    m2 = m2_of(rows)
    np.testing.assert_array_equal(
        spectrum_from_moments(m2, 30, top_k=top_k).eigenvalues,
        spectrum_from_moments(m2, 30).eigenvalues[: top_k or 5],
    )
    assert found.trace == everything.trace == pytest.approx(everything.eigenvalues.sum())


def test_known_spectrum_is_recovered(backend, rng):
    # Rows sqrt(n) Q diag(sqrt(lambda)) with orthonormal columns Q of mean zero have spectrum lambda exactly.
    eigenvalues = np.array([100.0, 1.0, 1e-3, 1e-6])
    q = np.linalg.qr(np.column_stack([np.ones(50), rng.standard_normal((50, 4))]))[0][:, 1:]
    rows = np.sqrt(50 * eigenvalues) * q
    found = spectrum_from_rows(backend.array(rows)).eigenvalues
    np.testing.assert_allclose(to_host(found), eigenvalues, rtol=1e-9)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_rotation_and_shift_leave_the_spectrum_and_scaling_squares(rng, shape):
    rows = rng.standard_normal(shape)
    rotation = np.linalg.qr(rng.standard_normal((shape[1], shape[1])))[0]
    plain = spectrum_from_rows(rows).eigenvalues
    np.testing.assert_allclose(spectrum_from_rows(rows @ rotation + 7).eigenvalues, plain, atol=1e-12)
    np.testing.assert_allclose(spectrum_from_rows(3 * rows).eigenvalues, 9 * plain, atol=1e-12)


def test_eigenvalues_beyond_the_rows_are_exactly_zero_and_in_order(rng):
    found = spectrum_from_rows(rng.standard_normal((4, 9)) + 1e3).eigenvalues
    assert np.count_nonzero(found == 0) >= 5
    assert np.all(np.diff(found) <= 0)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_blocks_add_up(rng, set_budget, shape):
    rows = rng.standard_normal(shape)
    whole = spectrum_from_rows(rows).eigenvalues
    set_budget(product_rows_bytes=8 * 17)
    np.testing.assert_allclose(spectrum_from_rows(rows).eigenvalues, whole, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_float32_at_a_distance_equals_float64_of_the_same_values(rng, offset):
    rows = (rng.standard_normal((50, 4)) + offset).astype(np.float32)
    near = rows.astype(np.float64) - offset
    np.testing.assert_allclose(spectrum_from_rows(rows).eigenvalues, spectrum_from_rows(near).eigenvalues, rtol=1e-9)


@pytest.mark.parametrize(("n", "correction"), [(0, 0), (0, 1), (1, 1)])
def test_too_few_rows_are_nan(backend, n, correction):
    from_rows = spectrum_from_rows(backend.array(np.ones((n, 3))), top_k=2, correction=correction)
    from_moments = spectrum_from_moments(backend.array(np.zeros((3, 3))), n, top_k=2, correction=correction)
    for found in (from_rows, from_moments):
        assert np.isnan(to_host(found.eigenvalues)).tolist() == [True, True]
        assert np.isnan(found.trace)
        assert found.method is Method.UNDEFINED


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="top_k must be at least 0"):
        spectrum_from_rows(np.eye(2), top_k=-1)
    with pytest.raises(ValueError, match="square"):
        spectrum_from_moments(np.zeros((2, 3)), 1)
    with pytest.raises(ValueError, match="rows must be finite, got nan in row 0, column 0"):
        spectrum_from_rows(np.array([[np.nan, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="m2 must be finite, got inf in row 0, column 0"):
        spectrum_from_moments(np.full((2, 2), np.inf), 3)
