"""k-means and silhouettes beside scikit-learn's, on every backend."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_samples

from penult_kernels.arrays import to_host
from penult_kernels.groupings.kmeans import draw_starts, kmeans, lloyd, nearest
from penult_kernels.groupings.points import Points, mean_variance
from penult_kernels.groupings.silhouette import by_cluster, sample, silhouettes


def blobs(rng, n=300, p=5, k=3, spread=1.0, apart=4.0):
    """Rows about k centers, and which."""
    label = rng.integers(0, k, n)
    centers = rng.standard_normal((k, p)) * apart
    return centers[label] + rng.standard_normal((n, p)) * spread, label


def starts_of(x, rng, *ks):
    return [x[rng.choice(len(x), k, replace=False)] - x.mean(axis=0) for k in ks]


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
def test_from_the_same_start_it_ends_as_scikit_learn(backend, rng, set_budget, tolerance):
    set_budget(rows_per_tile=64)
    x, _ = blobs(rng, apart=1.0)
    starts = starts_of(x, rng, 4, 3, 4)
    points = Points(rows=backend.array(x), mean=backend.array(x.mean(axis=0)))
    found = lloyd(points, [backend.array(start) for start in starts], tolerance=tolerance)
    for start, ours in zip(starts, found, strict=True):
        # Its n_init is 1 whenever a start is given.
        theirs = KMeans(len(start), init=start, n_init=1, tol=tolerance).fit(x - x.mean(axis=0))
        assert backend.owns(ours.center)
        np.testing.assert_allclose(to_host(ours.center), theirs.cluster_centers_, atol=1e-10)
        assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-10)
        assert (ours.n_iterations, ours.converged) == (theirs.n_iter_, True)
        np.testing.assert_array_equal(nearest(points, ours.center), theirs.labels_)


def test_planted_clusters_are_found_for_every_k_of_one_draw(backend, rng):
    x, label = blobs(rng, k=4, apart=12.0)
    found = kmeans(Points(rows=backend.array(x)), [2, 3, 4, 5], rng=np.random.default_rng(1), n_init=5)
    assert [int(one.center.shape[0]) for one in found] == [2, 3, 4, 5]
    labels = nearest(Points(rows=backend.array(x)), found[2].center)
    assert adjusted_rand_score(label, labels) == 1.0
    assert all(a.inertia > b.inertia for a, b in pairwise(found))
    # As good as the best of scikit-learn's own starts.
    for k, one in zip((2, 3, 4), found, strict=False):
        assert one.inertia <= KMeans(k, n_init=10, random_state=0).fit(x).inertia_ * 1.001


def test_first_of_equally_near_centers_gets_a_point(backend):
    x = np.array([[-1.0], [1.0], [0.0], [0.0]])
    start = backend.array(np.array([[-1.0], [1.0]]))
    (found,) = lloyd(Points(rows=backend.array(x)), [start], max_iterations=1)
    np.testing.assert_allclose(to_host(found.center), [[-1 / 3], [1.0]])
    np.testing.assert_array_equal(nearest(Points(rows=backend.array(x)), start), [0, 1, 0, 0])


def test_a_center_without_points_moves_to_the_furthest_point(backend):
    x = np.array([[0.0], [1.0], [2.0], [10.0]])
    start = backend.array(np.array([[1.0], [-50.0]]))
    (found,) = lloyd(Points(rows=backend.array(x)), [start])
    np.testing.assert_allclose(np.sort(to_host(found.center)[:, 0]), [1.0, 10.0])


def test_fewer_different_points_than_clusters_leave_some_empty(backend):
    points = Points(rows=backend.array(np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)))
    (found,) = kmeans(points, [3], rng=np.random.default_rng(0), n_init=2)
    assert found.inertia == 0.0
    assert found.converged
    assert np.unique(nearest(points, found.center)).size == 2


def test_translation_and_scaling_move_centers_alone(rng):
    x, _ = blobs(rng)
    (start,) = starts_of(x, rng, 3)

    def run(rows, start):
        return lloyd(Points(rows=rows, mean=rows.mean(axis=0)), [start])[0]

    one, moved, scaled = run(x, start), run(x + 1000.0, start), run(x * 4.0, start * 4.0)
    np.testing.assert_allclose(moved.center, one.center, atol=1e-9)
    np.testing.assert_array_equal(scaled.center, one.center * 4.0)
    assert one.n_iterations == moved.n_iterations == scaled.n_iterations


def test_order_of_points_matters_to_the_draw_alone(rng):
    x, _ = blobs(rng, apart=1.0)
    starts = starts_of(x, rng, 4)
    order = rng.permutation(len(x))
    (one,), (other,) = lloyd(Points(rows=x), starts), lloyd(Points(rows=x[order]), starts)
    np.testing.assert_allclose(other.center, one.center, atol=1e-12)
    np.testing.assert_array_equal(
        nearest(Points(rows=x), one.center)[order], nearest(Points(rows=x[order]), one.center)
    )


def test_stored_types_are_read_as_float64(rng):
    x, _ = blobs(rng)
    half = x.astype(np.float16)
    (start,) = starts_of(x, rng, 3)
    for rows in (half, half.astype(np.float32)):
        (found,) = lloyd(Points(rows=rows, mean=x.mean(axis=0)), [start])
        (expected,) = lloyd(Points(rows=half.astype(np.float64), mean=x.mean(axis=0)), [start])
        np.testing.assert_array_equal(found.center, expected.center)


def test_draws_are_of_points_and_the_same_by_seed(rng, monkeypatch):
    x, _ = blobs(rng)
    monkeypatch.setattr("penult_kernels.groupings.kmeans.MOST_DRAWN_FROM", 100)
    one, again = (draw_starts(Points(rows=x), 4, 2, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (2, 4, 5)
    assert all((x == center).all(axis=1).any() for center in one.reshape(-1, 5))


def test_cancelling_ends_the_iteration(rng):
    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        kmeans(Points(rows=rng.standard_normal((20, 2))), [2], rng=rng, check=stop)


@pytest.mark.parametrize("k", [0, 21])
def test_numbers_of_clusters_that_cannot_be(rng, k):
    with pytest.raises(ValueError, match=r"k must lie in 1 \.\.\. 20"):
        kmeans(Points(rows=rng.standard_normal((20, 2))), [2, k], rng=rng)


def test_mean_variance_is_that_of_the_columns(backend, rng, set_budget):
    set_budget(rows_per_tile=7)
    x = rng.standard_normal((50, 3)) + 1e6
    assert mean_variance(Points(rows=backend.array(x))) == pytest.approx(x.var(axis=0).mean(), rel=1e-9)


def test_silhouettes_are_scikit_learns(backend, rng, monkeypatch):
    monkeypatch.setattr("penult_kernels.groupings.silhouette.ROWS", 50)
    x, label = blobs(rng, n=120, apart=2.0)
    lonely = label.copy()
    lonely[5] = 7  # One point by itself, and numbers without a point.
    labelings = [label, lonely, rng.integers(0, 6, 120)]
    for moved in (x, x + 1e4, x * 1e-60, x * 1e60):
        found = silhouettes(backend.array(moved), labelings)
        for ours, labels in zip(found, labelings, strict=True):
            np.testing.assert_allclose(ours, silhouette_samples(x, labels), atol=1e-5)
    assert found[1][5] == 0.0


def test_silhouettes_of_points_within_points(rng):
    """Two tight pairs, near each other, beside a third far away: distances are no differences of large squares."""
    x = np.concatenate([rng.standard_normal((20, 3)) * 1e-3 + at for at in (0.0, 0.01, 1000.0)])
    label = np.repeat([0, 1, 2], 20)
    np.testing.assert_allclose(silhouettes(x, [label])[0], silhouette_samples(x, label), atol=1e-4)


def test_equal_points_have_silhouette_zero(rng):
    np.testing.assert_array_equal(silhouettes(np.ones((6, 2)), [np.repeat([0, 1], 3)])[0], np.zeros(6))


def test_one_cluster_has_no_silhouette():
    with pytest.raises(ValueError, match="at least two clusters"):
        silhouettes(np.ones((4, 1)), [np.ones(4, np.int64)])


def test_a_sample_is_seeded_and_of_all_when_few(rng):
    np.testing.assert_array_equal(sample(5, rng), np.arange(5))
    one, again = (sample(100, np.random.default_rng(2), 10) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert np.unique(one).size == 10


def test_means_over_clusters():
    found = by_cluster(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(found, [2.0, np.nan, 5.0])
