"""Replicates by inner products of rows: the same eigenvalues as by the rows themselves."""

import numpy as np
import pytest

from penult_kernels.spectra import top_eigenvalue
from penult_kernels.spectra.gram_spaces import gram_space, inner_products, own_members
from penult_kernels.spectra.resampling import bootstrap_counts, subsample
from penult_kernels.spectra.top_eigenvalue import leading_direction, top_eigenvalues


def drawn(n, kept, replicates):
    """(R, n) of subsamples, the first of them smaller than the others."""
    weights = np.zeros((replicates, n), np.int64)
    np.put_along_axis(weights, subsample(n, kept, range(replicates), seed=0, stream=(0,)), 1, axis=1)
    weights[0, np.flatnonzero(weights[0])[0]] = 0
    return weights


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("n", "d", "kept"), [(200, 40, 20), (60, 80, 10), (60, 80, None), (30, 90, None)])
def test_the_same_as_by_the_rows(backend, rng, monkeypatch, n, d, kept, center):
    z = rng.standard_normal((n, d)).astype(np.float32)
    rows = backend.array(z)
    weights = bootstrap_counts(n, range(7), seed=1, stream=(3,)) if kept is None else drawn(n, kept, 7)
    assert gram_space(rows, weights, inner_products(rows, 7), center=center) is not None
    find = lambda: top_eigenvalues(rows, lambda r: weights[r.start : r.stop], 7, center=center, start=start)  # noqa: E731
    start = leading_direction(rows)
    found = find()
    monkeypatch.setattr(top_eigenvalue, "gram_space", lambda *a, **k: None)
    by_rows = find()
    np.testing.assert_allclose(found.values, by_rows.values, rtol=2e-7)
    np.testing.assert_allclose(found.standard_errors, by_rows.standard_errors, rtol=2e-3)
    assert (found.errors <= 2e-7 * found.values).all()
    for r, w in enumerate(weights):
        each = np.repeat(z, w, axis=0).astype(float)
        each -= each.mean(axis=0) if center else 0
        assert found.values[r] == pytest.approx(np.linalg.norm(each, 2) ** 2 / len(each), rel=3e-7)


def test_only_where_that_is_cheaper(rng):
    assert own_members(np.ones((3, 50), np.int64)) is None
    assert own_members(drawn(400, 200, 3)) is None  # 200 x 200 inner products cost more than steps over 400 rows
    assert own_members(drawn(400, 30, 3)).shape == (3, 30)
    tall = rng.standard_normal((90, 30)).astype(np.float32)
    assert inner_products(tall, 1000) is None
    assert inner_products(tall[:50], 1000).shape == (50, 50)


def test_found_replicates_leave_the_batch_and_come_back_in_order(rng):
    """Some are found at once: one direction carries all of their variance."""
    rows = rng.standard_normal((120, 30)).astype(np.float32) * 1e-3
    rows[:40, 0] += rng.standard_normal(40).astype(np.float32)
    weights = np.ones((8, 120), np.int64)
    weights[::2, :40] = 0
    found = top_eigenvalues(rows, lambda r: weights[r.start : r.stop], 8, start=leading_direction(rows))
    for r, w in enumerate(weights):
        z = rows[w > 0].astype(float)
        assert found.values[r] == pytest.approx(np.linalg.norm(z - z.mean(axis=0), 2) ** 2 / len(z), rel=1e-6)
