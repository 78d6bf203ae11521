"""The spectrum of a weighted covariance: eigh of its formula, what weights mean, refusals."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.spectra.resampling import Resample, bootstrap_counts
from penult_kernels.spectra.weighted import largest_interval, weighted_spectrum


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


def test_the_interval_is_the_spread_of_resampled_eigenvalues(backend, rng):
    features, weight = rng.standard_normal((50, 4)) + 7, np.exp(rng.standard_normal(50))
    low, high = largest_interval(backend.array(features), weight, replicates=40, confidence=0.9, seed=3, stream=2)
    counts = bootstrap_counts(50, range(40), seed=3, stream=(2, Resample.BOOTSTRAP_MAJORITY))
    logs = np.log([np.linalg.eigvalsh(covariance(features, weight * one))[-1] for one in counts])
    ends = np.quantile(logs - np.median(logs), [0.05, 0.95], method="inverted_cdf")
    np.testing.assert_allclose([low, high], np.exp([-ends[1], -ends[0]]), rtol=1e-5)


def test_no_interval_without_replicates_or_rows():
    features = np.eye(3)
    assert np.isnan(largest_interval(features, np.ones(3), replicates=0)).all()
    assert np.isnan(largest_interval(features, np.array([0.0, 1, 0]), replicates=5)).all()
