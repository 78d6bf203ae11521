"""Inference without replicates: against its definition, and against replicates at the switch."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from penult_kernels.moments.accumulation import moments_of
from penult_kernels.spectra.asymptotic import AsymptoticPairs
from penult_kernels.spectra.inference import REPLICATES, Method, infer_imbalance


def rows(rng, n, d=12, decay=1.0):
    return (rng.standard_normal((n, d)) * np.arange(1, d + 1) ** (-decay / 2)).astype(np.float32)


def heavy(rng, n, d):
    """Student's t with 8 degrees of freedom, along every direction at once."""
    return rows(rng, n, d) / np.sqrt(rng.chisquare(8, (n, 1)) / 8).astype(np.float32)


def numbers(found):
    return [found.matched_ratio, found.low, found.high, found.p_value]


def terms(z, values, vectors):
    """Bias, tau^2 of centered rows along eigenvectors, by the formulas."""
    squares = (z @ vectors) ** 2
    bias = sum(
        np.mean(squares[:, 0] * squares[:, j]) / (values[0] * (values[0] - values[j])) for j in range(1, len(values))
    )
    return bias, np.mean((squares[:, 0] / values[0] - 1) ** 2)


def by_definition(a, b, confidence, *, center=True):
    groups = [np.asarray(x, float) - (np.mean(x, axis=0, dtype=float) if center else 0) for x in (a, b)]
    n_a, n_b = len(a), len(b)
    scaled = [z * math.sqrt(len(z) / (len(z) - 1)) if center else z for z in groups]
    found = []
    for z in (*groups, np.concatenate(scaled)):
        values, vectors = np.linalg.eigh(z.T @ z / len(z))
        values, vectors = values[::-1], vectors[:, ::-1]
        found.append((values[0], *terms(z, values, vectors)))
    (one, _, tau_a), (two, bias, tau_b), (_, pooled_bias, tau) = found
    apart = 1 / n_a - 1 / n_b
    middle = math.log(one / two) - math.log1p((bias - center) * apart)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(tau_a / n_a + tau_b / n_b)
    factor = n_a / (n_a - 1) * (n_b - 1) / n_b if center else 1
    z = (math.log(one / two * factor) - math.log1p(pooled_bias * apart)) / math.sqrt(tau * (1 / n_a + 1 / n_b))
    return [*np.exp([middle, middle - reach, middle + reach]), 2 * NormalDist().cdf(-abs(z))]


@pytest.mark.parametrize("center", [True, False])
def test_equals_its_definition(backend, rng, center):
    a, b = 1.05 * rows(rng, 1200) + 2, rows(rng, 2000) + 2
    found = infer_imbalance(backend.array(a), backend.array(b), confidence=0.8, center=center)
    assert found.method == Method.ASYMPTOTIC
    assert math.isnan(found.replicate_error)
    np.testing.assert_allclose(numbers(found), by_definition(a, b, 0.8, center=center), rtol=1e-5)


def test_directions_beyond_those_looked_at_count_by_their_length(rng):
    a, b = rows(rng, 1500, 80, 0.7), rows(rng, 6000, 80, 0.7)
    expected = by_definition(a, b, 0.9)
    np.testing.assert_allclose(numbers(infer_imbalance(a, b, confidence=0.9))[:3], expected[:3], rtol=2e-5)


def test_scale_order_and_sides(rng):
    """A common scale changes nothing, nor the order of rows; groups of one size are inverted when they are swapped."""
    a, b = 1.1 * rows(rng, 1500), rows(rng, 1500)
    plain = infer_imbalance(a, b)
    for one, two in ((1e-15 * a, 1e-15 * b), (1e15 * a, 1e15 * b), (a[::-1], rng.permutation(b)), (a + 50, b - 9)):
        np.testing.assert_allclose(numbers(infer_imbalance(one, two, seed=3)), numbers(plain), rtol=1e-4)
    for scale in (1e-140, 1e-90, 1e30, 1e70):
        wide = infer_imbalance(scale * a.astype(float), scale * b.astype(float))
        np.testing.assert_allclose(numbers(wide), numbers(plain), rtol=1e-5)
    swapped = infer_imbalance(b, a)
    inverted = [1 / swapped.matched_ratio, 1 / swapped.high, 1 / swapped.low, swapped.p_value]
    np.testing.assert_allclose(inverted, numbers(plain), rtol=1e-6)


def few(rng):
    return rows(rng, 900), rows(rng, 1500)


def no_gap(rng):
    return rows(rng, 1100, decay=0.0), rows(rng, 1500, decay=0.0)


def two_equal(rng):
    scale = np.asarray([1.0, 1.0, 0.3], np.float32)
    return scale * rows(rng, 1100, 3, 0.0), scale * rows(rng, 1500, 3, 0.0)


def other_directions(rng):
    """Each has a gap; both together have none."""
    a = rows(rng, 1100, 3)
    return a[:, [1, 0, 2]], rows(rng, 1100, 3)


def outliers(rng):
    a = rows(rng, 1100)
    a[0] *= 30
    return a, rows(rng, 1500)


def constant(rng):
    return np.ones((1100, 3), np.float32), rows(rng, 1500, 3)


def two_clusters(rng):
    """Of one size and nearly points: log lambda_1 has no variance to first order."""
    return tuple(0.01 * rows(rng, n, 3) + np.where(np.arange(n) % 2, 1, -1)[:, None] for n in (1100, 1500))


@pytest.mark.parametrize("make", [few, no_gap, two_equal, other_directions, outliers, constant, two_clusters])
def test_replicates_where_it_does_not_hold(rng, make, monkeypatch):
    monkeypatch.setattr("penult_kernels.spectra.inference.REPLICATES", 3)
    a, b = make(rng)
    found = infer_imbalance(a, b)
    assert found.method == Method.RESAMPLED
    np.testing.assert_array_equal(numbers(found), numbers(infer_imbalance(a, b, replicates=3)))


def test_means_apart_from_zero_are_no_clusters(rng):
    """The largest second moment about zero hardly varies either, but to first order."""
    a, b = rows(rng, 1100) + 100, rows(rng, 1500) + 100
    assert infer_imbalance(a, b, center=False).method == Method.ASYMPTOTIC


def test_a_number_of_replicates_is_kept_to(rng):
    a, b = rows(rng, 1100, 4), rows(rng, 1500, 4)
    assert infer_imbalance(a, b).method == Method.ASYMPTOTIC
    assert infer_imbalance(a, b, replicates=2).method == Method.RESAMPLED


@pytest.mark.parametrize("draw", [rows, heavy])
def test_both_agree_at_the_switch(rng, draw):
    """In units of the standard error: what 200 replicates are off by, and what is of a higher order."""
    a, b = (draw(rng, n, 6) for n in (1200, 1800))
    found, resampled = (
        infer_imbalance(a, b, confidence=0.8),
        infer_imbalance(a, b, replicates=REPLICATES, confidence=0.8),
    )
    error = math.log(found.high / found.low) / 2 / NormalDist().inv_cdf(0.9)
    apart = np.log(np.asarray(numbers(found)[:3]) / numbers(resampled)[:3]) / error
    assert np.abs(apart).max() < 0.3
    distances = [NormalDist().inv_cdf(1 - one.p_value / 2) for one in (found, resampled)]
    assert distances[0] == pytest.approx(distances[1], abs=0.3)


def test_every_pair_reads_the_rows_once(rng):
    """Pairs that share a group give what they give alone; rows of no pair are passed over, missing ones noticed."""
    groups = [rows(rng, 1500), 1.1 * rows(rng, 1300), rows(rng, 1100), rows(rng, 5)]
    x, g = np.concatenate(groups), np.repeat(np.arange(4), [len(one) for one in groups])
    moments = lambda k: moments_of(groups[k], np.zeros(len(groups[k]), int), 1)  # noqa: E731
    pairs = AsymptoticPairs([(1, 0), (2, 1), (2, 0)], moments)
    assert pairs.could_hold() == [True, True, True]
    order = rng.permutation(g.size)
    for part in np.array_split(order, 7):
        pairs.add(x[part], g[part])
    for (a, b), found in zip([(1, 0), (2, 1), (2, 0)], pairs.infer(0.95), strict=True):
        np.testing.assert_allclose(numbers(found), numbers(infer_imbalance(groups[a], groups[b])), rtol=1e-5)
    with pytest.raises(ValueError, match="expected 1300 rows of group 1, got 0"):
        AsymptoticPairs([(1, 0)], moments).infer(0.95)
