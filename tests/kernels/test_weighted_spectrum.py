"""The spectrum of a weighted covariance: eigh of its formula, what weights mean, refusals."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.spectra.weighted import weighted_spectrum


def covariance(features, weight):
    share = weight / weight.sum()
    centered = features - share @ features
    return centered.T @ (share[:, None] * centered)


@pytest.mark.parametrize("shape", [(60, 7), (6, 11)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_eigh_of_the_formula(backend, rng, shape, dtype):
    features = (rng.standard_normal(shape) * np.arange(1, shape[1] + 1) + 30).astype(dtype)
    weight = np.exp(3 * rng.standard_normal(shape[0]))
    weight[2] = 0
    found = weighted_spectrum(backend.array(features), weight, top_k=3, vectors=True)
    values, vectors = np.linalg.eigh(covariance(features.astype(np.float64), weight))
    np.testing.assert_allclose(to_host(found.eigenvalues), values[::-1][:3], rtol=1e-9)
    assert found.trace == pytest.approx(values.sum(), rel=1e-10)
    found_vectors = to_host(found.vectors)
    overlap = np.abs(np.sum(found_vectors * vectors[:, ::-1][:, :3], axis=0))
    np.testing.assert_allclose(overlap, 1, atol=1e-8)
    np.testing.assert_allclose(found_vectors.T @ found_vectors, np.eye(3), atol=1e-12)
    assert backend.owns(found.eigenvalues)


def test_weights_count_rows(rng):
    features = rng.standard_normal((20, 4))
    weight = rng.integers(0, 4, 20)
    found = weighted_spectrum(features, 0.37 * weight)
    repeated = weighted_spectrum(np.repeat(features, weight, axis=0), np.ones(weight.sum()))
    np.testing.assert_allclose(found.eigenvalues, repeated.eigenvalues, rtol=1e-12)


@pytest.mark.parametrize("weight", [np.ones(3), np.array([1.0, -1, 1, 1]), np.zeros(4), np.array([1, np.inf, 1, 1])])
def test_refuses_what_are_no_weights(weight):
    with pytest.raises(ValueError, match="weight must be 4 numbers of at least 0"):
        weighted_spectrum(np.eye(4), weight)
