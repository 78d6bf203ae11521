"""Moments against numpy.cov, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penult_kernels import moments as module
from penult_kernels.arrays import to_host
from penult_kernels.moments import Moments, covariance, empty_moments, merge, moments_of, pool

SIZES = (7, 0, 1, 12, 3)


def sample(rng: np.random.Generator, *, n_features: int = 4, offset: float = 0.0):
    """Rows of five groups, one of them empty, one of a single row; in random order."""
    g = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    return rng.standard_normal((g.size, n_features)) + offset + g[:, None], g


def host(moments: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return to_host(moments.count), to_host(moments.mean), to_host(moments.m2)


def assert_same(found: Moments, expected: Moments, rtol: float = 1e-12) -> None:
    for a, b in zip(host(found), host(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("correction", [0, 1])
def test_covariance_equals_numpy(backend, rng, correction):
    features, g = sample(rng)
    found = moments_of(backend.array(features), backend.array(g), 5)
    assert all(backend.owns(array) for array in (found.count, found.mean, found.m2))
    assert to_host(found.count).tolist() == list(SIZES)
    result = to_host(covariance(found.m2, found.count, correction=correction))
    for k in range(5):
        rows = features[g == k]
        if len(rows) <= correction:
            assert np.isnan(result[k]).all()
        else:
            expected = np.cov(rows.T, ddof=correction) if len(rows) > 1 else np.zeros((4, 4))
            np.testing.assert_allclose(result[k], expected, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(to_host(found.mean)[k], rows.mean(axis=0), rtol=1e-13)


def test_covariance_of_one_matrix_takes_a_plain_count(backend):
    result = covariance(backend.array(np.eye(2)), 4, correction=1)
    np.testing.assert_allclose(to_host(result), np.eye(2) / 3)


def test_labels_may_stay_on_the_host(backend, rng):
    features, g = sample(rng)
    x = backend.array(features)
    assert_same(moments_of(x, g, 5), moments_of(x, backend.array(g), 5), rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_distant_mean_loses_nothing_beyond_the_storage_type(backend, rng, dtype):
    stored = (rng.standard_normal((300, 3)) + 1e6).astype(dtype)
    found = moments_of(backend.array(stored), np.zeros(300, dtype=np.int64), 1)
    # Exact integers of Python stand in for infinite precision: stored values are multiples of 2^-40.
    exact = [[int(value * 2**40) for value in row] for row in stored.astype(np.float64).tolist()]
    n = len(exact)
    for i in range(3):
        for j in range(3):
            sums = sum(r[i] for r in exact), sum(r[j] for r in exact)
            n_times_m2 = n * sum(r[i] * r[j] for r in exact) - sums[0] * sums[1]
            scale = 300.0
            assert float(to_host(found.m2)[0, i, j]) == pytest.approx(n_times_m2 / n / 2**80, abs=1e-11 * scale)


def test_half_precision_features_are_widened_first(rng):
    features = (rng.standard_normal((5000, 2)) + 300).astype(np.float16)
    found = moments_of(features, np.zeros(5000, dtype=np.int64), 1)
    np.testing.assert_allclose(found.m2[0] / 5000, np.cov(features.astype(np.float64).T, ddof=0), rtol=1e-12)


def test_blocks_of_rows_add_up(rng, monkeypatch):
    features, g = sample(rng)
    whole = moments_of(features, g, 5)
    monkeypatch.setattr(module, "ROWS_PER_PRODUCT", 2)
    assert_same(moments_of(features, g, 5), whole)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, sum(SIZES)), max_size=6), seed=st.integers(0, 2**32))
def test_any_split_merged_in_any_order_is_the_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    features, g = sample(rng, offset=1e3)
    parts = [
        moments_of(x, k, 5) for x, k in zip(np.split(features, sorted(cuts)), np.split(g, sorted(cuts)), strict=True)
    ]
    while len(parts) > 1:
        i = int(rng.integers(len(parts) - 1))
        parts[i : i + 2] = [merge(parts[i], parts[i + 1])] if rng.random() < 0.5 else [merge(*parts[i : i + 2][::-1])]
    assert_same(parts[0], moments_of(features, g, 5), rtol=1e-10)


def test_merging_with_nothing_changes_nothing(backend, rng):
    features, g = sample(rng)
    found = moments_of(backend.array(features), g, 5)
    nothing = empty_moments(5, 4, xp=backend.xp, device=backend.device)
    assert_same(merge(found, nothing), found, rtol=0)
    assert_same(merge(nothing, found), found, rtol=0)


def test_pooling_equals_relabelling(backend, rng):
    features, g = sample(rng, offset=1e3)
    labels = np.array([1, 0, 1, 3, 1])
    found = pool(moments_of(backend.array(features), g, 5), labels.tolist(), 4)
    assert backend.owns(found.m2)
    assert_same(found, moments_of(backend.array(features), labels[g], 4), rtol=1e-10)


def test_pooling_every_group_into_its_own_is_the_identity(rng):
    found = moments_of(*sample(rng), 5)
    assert_same(pool(found, range(5), 5), found, rtol=0)


def test_permuting_rows_changes_nothing(rng):
    features, g = sample(rng)
    order = rng.permutation(g.size)
    assert_same(moments_of(features[order], g[order], 5), moments_of(features, g, 5))


def test_no_rows():
    assert moments_of(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 2).m2.tolist() == np.zeros((2, 3, 3)).tolist()
    assert pool(empty_moments(2, 3), [0, 0], 1).count.tolist() == [0]


@pytest.mark.parametrize(
    ("g", "message"),
    [([0, 2], "0 ... 1, got 0 ... 2"), ([-1, 0], "got -1"), ([0], r"shape \(2,\), got \(1,\)"), ([0.0, 1.0], "whole")],
)
def test_wrong_groups_are_refused(g, message):
    with pytest.raises(ValueError, match=message):
        moments_of(np.zeros((2, 3)), np.array(g), 2)


def test_other_misuse_is_refused():
    with pytest.raises(ValueError, match=r"shape \(N, D\), got shape \(3,\)"):
        moments_of(np.zeros(3), np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(ValueError, match="dtype int64"):
        moments_of(np.zeros((3, 1), dtype=np.int64), np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        merge(empty_moments(2, 3), empty_moments(2, 4))
    with pytest.raises(ValueError, match="n_groups must be at least 1, got 0"):
        moments_of(np.zeros((0, 1)), np.zeros(0, dtype=np.int64), 0)
    with pytest.raises(ValueError, match="n_pools must be at least 1, got 0"):
        pool(empty_moments(2, 3), [0, 0], 0)
    with pytest.raises(ValueError, match="correction must be 0"):
        covariance(np.eye(2), 3, correction=-1)
