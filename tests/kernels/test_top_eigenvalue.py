"""Largest eigenvalues of many weighted covariances, against one decomposition each."""

import numpy as np
import pytest

from penult_kernels.spectra import top_eigenvalue as module
from penult_kernels.spectra.top_eigenvalue import leading_direction, top_eigenvalues

SHAPES = [(60, 9), (12, 40), (2, 5), (30, 1), (1, 3)]


def rows_of(rng, n, d, decay=0.7):
    rows = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -decay
    return (rows / np.abs(rows).max()).astype(np.float32)


def obvious(rows, weights, *, center=True):
    repeated = np.repeat(rows.astype(float), weights, axis=0)
    if center:
        repeated = repeated - repeated.mean(axis=0)
    return np.linalg.eigvalsh(repeated.T @ repeated / len(repeated))[-1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", [True, False])
def test_equals_a_decomposition_of_each(backend, rng, shape, center):
    rows = rows_of(rng, *shape)
    weights = rng.integers(0, 4, (7, shape[0]))
    weights[:, 0] += 1
    given = backend.array(rows)
    found = top_eigenvalues(
        given, lambda r: weights[r.start : r.stop], 7, center=center, start=leading_direction(given)
    )
    expected = [obvious(rows, w, center=center) for w in weights]
    np.testing.assert_allclose(found.values, expected, rtol=2e-7, atol=1e-14)
    # A Rayleigh quotient is never above, and the certificate says how far below it may be.
    assert (found.values <= np.asarray(expected) * (1 + 1e-9) + 1e-14).all()
    assert (np.asarray(expected) - found.values <= found.errors + 1e-9 * np.asarray(expected) + 1e-14).all()


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_close_and_far_eigenvalues(rng, decay):
    """No gap at all (white noise), and a dominant direction that the start already is."""
    rows = rows_of(rng, 150, 200, decay)
    weights = np.stack([rng.permutation(150) < 40 for _ in range(12)]).astype(np.int64)
    found = top_eigenvalues(rows, lambda r: weights[r.start : r.stop], 12, start=leading_direction(rows))
    np.testing.assert_allclose(found.values, [obvious(rows, w) for w in weights], rtol=3e-7)
    assert (found.errors <= 1e-6 * found.values).all()


def test_a_start_orthogonal_to_what_is_sought(rng):
    rows = np.concatenate([np.eye(4) * [3, 2, 1, 0.5], -np.eye(4) * [3, 2, 1, 0.5]]).astype(np.float32)
    start = np.array([0, 1, 0, 0], np.float32)
    found = top_eigenvalues(rows, lambda r: np.ones((len(r), 8), int), 1, start=start)
    np.testing.assert_allclose(found.values, [2 * 9 / 8], rtol=1e-6)


def test_batches_and_blocks_do_not_matter(rng, set_budget):
    rows = rows_of(rng, 50, 20)
    weights = rng.integers(0, 3, (9, 50))
    whole = top_eigenvalues(rows, lambda r: weights[r.start : r.stop], 9, start=leading_direction(rows))
    set_budget(replicates_bytes=1, projections_bytes=8 * 7)
    single = top_eigenvalues(rows, lambda r: weights[r.start : r.stop], 9, start=leading_direction(rows))
    np.testing.assert_allclose(single.values, whole.values, rtol=2 * module.TOLERANCE)
    assert top_eigenvalues(rows, lambda r: weights[:0], 0, start=leading_direction(rows)).values.shape == (0,)


def test_repeated_rows_and_no_variance(rng):
    """Weight 2 is the row twice; equal rows have no variance, and nothing is divided by it."""
    rows = rows_of(rng, 10, 6)
    weights = rng.integers(1, 3, (1, 10))
    twice = np.repeat(rows, weights[0], axis=0)
    start = leading_direction(rows)
    of_weights = top_eigenvalues(rows, lambda r: weights, 1, start=start)
    of_rows = top_eigenvalues(twice, lambda r: np.ones((1, len(twice)), int), 1, start=start)
    np.testing.assert_allclose(of_weights.values, of_rows.values, rtol=1e-7)
    np.testing.assert_allclose(of_weights.standard_errors, of_rows.standard_errors, rtol=1e-5)
    flat = np.ones((5, 3), np.float32)
    found = top_eigenvalues(flat, lambda r: np.ones((1, 5), int), 1, start=leading_direction(flat))
    np.testing.assert_allclose([found.values[0], found.standard_errors[0]], 0, atol=1e-12)


def test_the_standard_error_is_that_of_the_influence_function(rng):
    rows = rows_of(rng, 40, 8)
    found = top_eigenvalues(rows, lambda r: np.ones((1, 40), int), 1, start=leading_direction(rows))
    z = rows.astype(float) - rows.astype(float).mean(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z / 40)
    influence = (z @ vectors[:, -1]) ** 2 - values[-1]
    np.testing.assert_allclose(found.standard_errors, [np.sqrt(np.mean(influence**2) / 40)], rtol=1e-5)
    # Leaving a row out moves lambda_1 by what the function says, to first order.
    big = rows_of(rng, 4000, 8)
    whole, without = obvious(big, np.ones(4000, int)), obvious(big, np.arange(4000) != 17)
    z = big.astype(float) - big.astype(float).mean(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z / 4000)
    assert without - whole == pytest.approx(-(((z[17] @ vectors[:, -1]) ** 2) - values[-1]) / 4000, rel=0.05, abs=1e-8)


def test_a_check_can_stop_it(rng):
    def stop() -> None:
        raise KeyboardInterrupt

    rows = rows_of(rng, 10, 4)
    with pytest.raises(KeyboardInterrupt):
        top_eigenvalues(rows, lambda r: np.ones((1, 10), int), 1, start=leading_direction(rows), check=stop)
