"""Numbers read off spectra: known answers, bounds, invariances; angles against SciPy."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from penult_kernels.spectra.descriptors import (
    effective_rank,
    mean_and_scatter,
    participation_ratio,
    power_law_exponent,
    principal_angles,
    rank_me,
    variance_shares,
)


@pytest.mark.parametrize("measure", [participation_ratio, effective_rank])
def test_between_one_direction_and_all_alike(rng, measure):
    assert measure(np.array([3.0, 0.0, 0.0])) == pytest.approx(1)
    assert measure(np.full(7, 0.2)) == pytest.approx(7)
    values = rng.random(9)
    assert 1 < measure(values) < 9
    assert measure(5 * values) == pytest.approx(measure(values))
    assert np.isnan(measure(np.zeros(3)))
    assert np.isnan(measure(np.full(3, np.nan)))


def test_participation_ratio_needs_only_trace_and_frobenius_norm(rng):
    z = rng.standard_normal((30, 6)) * np.arange(1, 7)
    covariance = np.cov(z.T, bias=True)
    found = participation_ratio(np.linalg.eigvalsh(covariance))
    assert found == pytest.approx(np.trace(covariance) ** 2 / np.linalg.norm(covariance) ** 2)


def test_effective_rank_equals_its_definition_and_ignores_rounding():
    p = np.array([0.5, 0.25, 0.25])
    assert effective_rank(4 * p) == pytest.approx(2**1.5)
    assert effective_rank(np.array([1.0, 1.0, -1e-17])) == pytest.approx(2)


def test_rank_me_equals_its_definition(rng):
    z = rng.standard_normal((40, 6)) + 3
    s = np.linalg.svd(z, compute_uv=False)
    p = s / s.sum() + 1e-7
    assert rank_me(s) == pytest.approx(np.exp(-np.sum(p * np.log(p))))
    assert np.isnan(rank_me(np.zeros(4)))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.3])
def test_a_power_law_is_recovered(alpha):
    values = 7.0 * np.arange(1, 61) ** -alpha
    assert power_law_exponent(values, 11, 50) == pytest.approx(alpha)
    assert power_law_exponent(values, 1, 2) == pytest.approx(alpha)


def test_a_power_law_is_the_weighted_fit(rng):
    values = np.sort(rng.random(40))[::-1]
    slope = np.polyfit(np.log(np.arange(3, 31)), np.log(values[2:30]), 1, w=np.arange(3, 31) ** -0.5)[0]
    assert power_law_exponent(values, 3, 30) == pytest.approx(-slope)


def test_a_power_law_over_ranks_that_are_not_there():
    values = np.array([4.0, 2.0, 1.0, 0.0])
    assert np.isnan(power_law_exponent(values, 1, 4))
    assert np.isnan(power_law_exponent(values, 1, 5))
    with pytest.raises(ValueError, match=r"got 3 \.\.\. 3"):
        power_law_exponent(values, 3, 3)


@pytest.mark.parametrize("n_attributes", [1, 3])
def test_variance_shares_equal_their_definition(backend, rng, n_attributes):
    n_classes = 2
    g = rng.integers(0, n_classes * n_attributes, 80)
    y, a = np.divmod(g, n_attributes)
    z = rng.standard_normal((80, 5)) + y[:, None] + 0.5 * a[:, None] * np.arange(5) + 100
    parts = [mean_and_scatter(backend.array(z[g == group])) for group in range(n_classes * n_attributes)]
    counts = np.bincount(g, minlength=n_classes * n_attributes)
    found = variance_shares(counts, np.stack([m for m, _ in parts]), np.array([s for _, s in parts]), n_attributes)
    total = np.sum((z - z.mean(axis=0)) ** 2)
    for share, labels in zip(found, (y, a, g), strict=True):
        between = sum(
            np.sum(labels == one) * np.sum((z[labels == one].mean(axis=0) - z.mean(axis=0)) ** 2)
            for one in np.unique(labels)
        )
        assert share == pytest.approx(between / total, abs=1e-12)
    assert found[2] >= max(found[:2]) - 1e-12


def test_shares_with_an_empty_group_and_with_no_variance():
    means = np.array([[0.0], [0.0], [2.0], [9.9]])
    assert variance_shares(np.array([3, 0, 3, 0]), means, np.zeros(4), 2) == (1.0, 0.0, 1.0)
    assert np.isnan(variance_shares(np.array([3, 1]), np.ones((2, 2)), np.zeros(2), 1)).all()
    mean, scatter = mean_and_scatter(np.zeros((0, 3)))
    assert (mean.tolist(), scatter) == ([0, 0, 0], 0)


@pytest.mark.parametrize(("d", "k"), [(9, 3), (20, 1), (6, 5)])
def test_angles_equal_scipy(backend, rng, d, k):
    u, v = (np.linalg.qr(rng.standard_normal((d, k)))[0] for _ in range(2))
    found = principal_angles(backend.array(u), backend.array(v))
    np.testing.assert_allclose(found, np.sort(subspace_angles(u, v)), atol=1e-12)
    assert (np.diff(found) >= 0).all()


def test_small_and_right_angles_are_exact():
    u = np.eye(4)[:, :2]
    tilted = np.column_stack([[1.0, 0, 1e-9, 0], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(principal_angles(u, tilted), [1e-9, np.pi / 2], rtol=1e-9)
    np.testing.assert_allclose(principal_angles(u, u), [0, 0], atol=1e-15)
    with pytest.raises(ValueError, match="same shape"):
        principal_angles(u, u[:, :1])
