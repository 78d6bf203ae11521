"""Matched ratio, interval and p-value against the obvious loop, and by simulation."""

import numpy as np
import pytest

from penult_kernels.spectra.inference import holm, infer_imbalance
from penult_kernels.spectra.resampling import Resample, bootstrap_counts, subsample


def power_law(rng, n, d, decay):
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** (-decay / 2)


def lambda_1(rows, *, ddof=0):
    """By an eigendecomposition; through the smaller of the two products."""
    z = np.asarray(rows, float) - np.mean(rows, axis=0, dtype=float)
    product = z @ z.T if z.shape[0] < z.shape[1] else z.T @ z
    return np.linalg.eigvalsh(product)[-1] / (len(z) - ddof)


def lambda_and_error(rows):
    """lambda_1 and its standard error by the influence function."""
    z = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    influence = (z @ vectors[:, -1]) ** 2 - values[-1]
    return values[-1], np.sqrt(np.mean(influence**2) / len(z))


def obvious(minority, majority, replicates, confidence, seed, stream):
    """The same draws, one covariance and one decomposition at a time."""
    a, b = np.asarray(minority, float), np.asarray(majority, float)
    n_a, n_b, each = len(a), len(b), range(replicates)
    draws = subsample(n_b, n_a, each, seed=seed, stream=(stream, Resample.MATCH))
    matched = lambda_1(a) / np.median([lambda_1(b[rows]) for rows in draws])
    boot_a = bootstrap_counts(n_a, each, seed=seed, stream=(stream, Resample.BOOTSTRAP_MINORITY))
    boot_b = bootstrap_counts(n_b, each, seed=seed, stream=(stream, Resample.BOOTSTRAP_MAJORITY))
    logs, errors = [], []
    for counts_a, counts_b in zip(boot_a, boot_b, strict=True):
        (l_a, e_a), (l_b, e_b) = (lambda_and_error(np.repeat(z, c, axis=0)) for z, c in ((a, counts_a), (b, counts_b)))
        logs.append(np.log(l_a / l_b))
        errors.append(np.hypot(e_a / l_a, e_b / l_b))
    t = np.sort((np.asarray(logs) - np.median(logs)) / errors)
    (l_a, e_a), (l_b, e_b) = lambda_and_error(a), lambda_and_error(b)
    tail = (1 - confidence) / 2
    ends = np.quantile(t, [1 - tail, tail], method="inverted_cdf")
    low, high = matched * np.exp(-np.hypot(e_a / l_a, e_b / l_b) * ends)
    pooled = np.concatenate([(z - z.mean(axis=0)) * np.sqrt(len(z) / (len(z) - 1)) for z in (a, b)])
    rhos = [np.log(lambda_1(a, ddof=1) / lambda_1(b, ddof=1))]
    for rows in subsample(n_a + n_b, n_a, each, seed=seed, stream=(stream, Resample.PERMUTATION)):
        rest = np.setdiff1d(np.arange(n_a + n_b), rows)
        rhos.append(np.log(lambda_1(pooled[rows], ddof=1) / lambda_1(pooled[rest], ddof=1)))
    distance = np.abs(np.asarray(rhos) - np.median(rhos))
    return matched, low, high, np.mean(distance >= distance[0])


@pytest.mark.parametrize(("n_a", "n_b", "d"), [(12, 50, 6), (8, 20, 30), (25, 25, 4), (6, 9, 70)])
def test_equals_the_obvious_loop_over_the_same_draws(backend, rng, n_a, n_b, d):
    minority = (1.3 * power_law(rng, n_a, d, 1.0) + 3).astype(np.float32)
    majority = power_law(rng, n_b, d, 1.0).astype(np.float32)
    found = infer_imbalance(
        backend.array(minority), backend.array(majority), replicates=19, confidence=0.8, seed=4, stream=2
    )
    expected = obvious(minority, majority, 19, 0.8, 4, 2)
    np.testing.assert_allclose([found.matched_ratio, found.low, found.high, found.p_value], expected, rtol=2e-5)
    assert found.low < found.matched_ratio < found.high
    assert 0 <= found.replicate_error < 1e-6


def test_shift_scale_and_rotation(rng):
    """Means do not matter; a common scale or rotation does not; the minority's scale does, squared."""
    a, b = power_law(rng, 20, 6, 1.0), power_law(rng, 60, 6, 1.0)
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    plain = infer_imbalance(a, b, replicates=20)
    for other in (
        infer_imbalance(a + 100, b - 7, replicates=20),
        infer_imbalance(1e-6 * a, 1e-6 * b, replicates=20),
        infer_imbalance(1e9 * a @ rotation, 1e9 * b @ rotation, replicates=20),
    ):
        np.testing.assert_allclose(
            [other.matched_ratio, other.low, other.high, other.p_value],
            [plain.matched_ratio, plain.low, plain.high, plain.p_value],
            rtol=1e-4,
        )
    doubled = infer_imbalance(2 * a, b, replicates=20)
    assert doubled.matched_ratio == pytest.approx(4 * plain.matched_ratio, rel=1e-5)


def test_second_moments_about_zero(rng):
    a, b = power_law(rng, 15, 5, 1.0) + 3, power_law(rng, 30, 5, 1.0)
    found = infer_imbalance(a, b, replicates=30, center=False)
    rows = subsample(30, 15, range(30), seed=0, stream=(0, Resample.MATCH))
    second = lambda z: np.linalg.eigvalsh(z.T @ z / len(z))[-1]  # noqa: E731
    assert found.matched_ratio == pytest.approx(second(a) / np.median([second(b[r]) for r in rows]), rel=1e-5)
    assert found.p_value == pytest.approx(1 / 31)


def test_a_seed_gives_one_answer_and_streams_others(rng):
    a, b = power_law(rng, 20, 6, 1.0), power_law(rng, 60, 6, 1.0)
    first = infer_imbalance(a, b, replicates=25, seed=1, stream=1)
    assert infer_imbalance(a, b, replicates=25, seed=1, stream=1) == first
    assert infer_imbalance(a, b, replicates=25, seed=2, stream=1).low != first.low
    assert infer_imbalance(a, b, replicates=25, seed=1, stream=2).low != first.low


def test_a_handful_of_rows(rng):
    many = power_law(rng, 30, 5, 1.0)
    one = infer_imbalance(many[:1], many, replicates=10)
    assert np.isnan([one.matched_ratio, one.low, one.high, one.p_value, one.replicate_error]).all()
    two = infer_imbalance(many[:2] * 3, many, replicates=100)
    assert two.matched_ratio > 0
    assert 0 < two.p_value <= 1
    # Half of all resamples of two rows are one row twice: how small the ratio may be is not to be seen.
    assert np.isnan(two.low) or two.high == np.inf
    three = infer_imbalance(many[:3], many, replicates=100)
    assert three.low < three.matched_ratio < three.high
    same = infer_imbalance(np.ones((4, 3)), many[:, :3], replicates=10)
    assert same.matched_ratio == 0
    assert np.isnan([same.low, same.high]).all()


def test_misuse_is_refused(rng):
    a, b = power_law(rng, 5, 3, 1.0), power_law(rng, 9, 3, 1.0)
    hole = b.copy()
    hole[4, 1] = np.nan
    for arguments, said in [
        ((b, a), "at least as many rows"),
        ((a, b[:, :2]), "same number of features"),
        ((a, hole), "rows of the majority must be finite"),
        ((a.astype(int), b), "floating-point matrix"),
    ]:
        with pytest.raises(ValueError, match=said):
            infer_imbalance(*arguments, replicates=3)
    for options, said in [
        ({"replicates": 0}, "replicates must be at least 1"),
        ({"replicates": 3, "confidence": 95.0}, "between 0 and 1"),
        ({"replicates": 3, "seed": -1}, "seed and stream"),
    ]:
        with pytest.raises(ValueError, match=said):
            infer_imbalance(a, b, **options)


def test_holm_equals_its_definition():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.9]), [1.0, np.nan, 1.0])
    assert holm([]).shape == (0,)


# What the answers are for


def test_the_size_of_a_group_alone_makes_a_ratio_and_matching_removes_it(rng):
    """Identical isotropic distributions, d = 512; the smaller group looks several times as wide."""
    assert size_confound(rng, 512, 14, 264) == pytest.approx((8.6, 1.0), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay", "n_a", "n_b", "ratio"),
    [
        (0.0, 56, 1057, 8.6),
        (0.0, 184, 3498, 6.0),
        (0.5, 56, 1057, 2.45),
        (0.5, 184, 3498, 1.42),
        (1.0, 56, 1057, 1.15),
        (1.0, 184, 3498, 1.06),
    ],
)
def test_the_size_confound_at_the_sizes_of_waterbirds(rng, decay, n_a, n_b, ratio):
    found, matched = np.mean([size_confound(rng, 2048, n_a, n_b, decay) for _ in range(4 if decay < 1 else 30)], axis=0)
    assert (found, matched) == (pytest.approx(ratio, rel=0.1), pytest.approx(1.0, rel=0.1))


def size_confound(rng, d, n_a, n_b, decay=0.0):
    a, b = power_law(rng, n_a, d, decay).astype(np.float32), power_law(rng, n_b, d, decay).astype(np.float32)
    ratio = lambda_1(a) / lambda_1(b)
    return ratio, infer_imbalance(a, b, replicates=20).matched_ratio
