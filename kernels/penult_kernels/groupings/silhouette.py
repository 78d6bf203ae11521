"""Silhouettes of many labelings of the same points, from one pass over their distances.

With a_i the mean distance of point i to the others of its cluster, and b_i the least of its mean distances to another
cluster, s_i = (b_i - a_i) / max(a_i, b_i), and 0 in a cluster of one point (Rousseeuw 1987). The distances are those
of one space, so a tile of them is made once, and one product with the memberships in all labelings gives every sum.
Squares of distances are float64, since they are differences; distances and their sums are float32, which moves a
silhouette by 1e-6.

Shapes: n points, p features, K clusters of all labelings, t points of a tile.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.products import on_threads

ROWS = 256
"""Points of a tile, so that its distances to another stay in the cache."""
MOST_ROWS = 5000
"""Points of a class that silhouettes are taken over; of more, a seeded sample."""


def sample(n: int, rng: np.random.Generator, most: int = MOST_ROWS) -> NDArray[np.int64]:
    """Which of n points silhouettes are taken over, ascending: all, or `most` of them."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def silhouettes(
    points: Array, labelings: Sequence[NDArray[np.int64]], *, check: Callable[[], None] | None = None
) -> list[NDArray[np.float64]]:
    """(n,) silhouettes of the points under each labeling, on the host.

    Parameters
    ----------
    points : array of shape (n, p)
        float64.
    labelings : sequence of arrays of shape (n,)
        Whole numbers of at least 0, on the host; a number without a point is no cluster.

    Raises
    ------
    ValueError
        When a labeling has fewer than two clusters: its silhouettes do not exist.
    """
    counts = [np.bincount(labels) for labels in labelings]
    for of_labeling in counts:
        if np.count_nonzero(of_labeling) < 2:
            raise ValueError("silhouettes need at least two clusters with points, got a labeling with one")
    xp = array_namespace(points)
    n = int(points.shape[0])
    device = points.device
    centered = points - xp.sum(points, axis=0) / n
    del points
    # Silhouettes do not depend on the scale, but what float32 holds does.
    size = xp.max(xp.abs(centered))
    centered /= xp.where(size > 0, size, xp.ones_like(size))
    squares = xp.sum(centered**2, axis=1)[:, None]
    ones = xp.ones_like(squares)
    centered *= -2.0
    right = xp.concat([centered, ones, squares], axis=1).T
    del centered
    ends = np.cumsum([0, *(of_labeling.size for of_labeling in counts)])
    members = [np.eye(of.size, dtype=np.float32)[labels] for of, labels in zip(counts, labelings, strict=True)]
    belongs = asarray_like(np.concatenate(members, axis=1), right)

    tiles = list(blocks(n, ROWS))

    def sums(place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, K) of the distances between the points of a tile and those from its first on, and the tile's own."""
        if check is not None:
            check()
        first = tiles[place]
        # Of `right` a factor of -2, which changes no bit.
        left = xp.concat([-0.5 * right[:-2, first].T, squares[first, :], ones[first, :]], axis=1)
        found = xp.zeros((n, belongs.shape[1]), dtype=xp.float32, device=device)
        own: Array = None
        for second in tiles[place:]:
            # |x|^2 + |y|^2 - 2 <x, y>, as one product; what should be 0 has either sign.
            distances = xp.sqrt(xp.abs(xp.astype(left @ right[:, second], xp.float32)))
            found[first, :] += distances @ belongs[second, :]
            if second is first:
                # A point's distance to itself is 0 but for rounding, which is taken out again.
                own = xp.linalg.diagonal(distances)
            else:
                found[second, :] += distances.T @ belongs[first, :]
        return to_host(found), to_host(own)

    found = on_threads(sums, range(len(tiles)))
    totals: NDArray[np.float64] = np.stack([of_tile for of_tile, _ in found]).sum(axis=0, dtype=np.float64)
    own = np.concatenate([of_tile for _, of_tile in found]).astype(np.float64)
    return [
        _from_sums(totals[:, start:end], own, labels, count)
        for (start, end), labels, count in zip(pairwise(ends.tolist()), labelings, counts, strict=True)
    ]


def _from_sums(
    totals: NDArray[np.float64], own: NDArray[np.float64], labels: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Silhouettes (n,) from the sums of distances to each cluster (n, k)."""
    rows = np.arange(labels.size)
    within = np.maximum(totals[rows, labels] - own, 0.0) / np.maximum(count[labels] - 1, 1)
    others = totals / np.maximum(count, 1)
    others[:, count == 0] = np.inf
    others[rows, labels] = np.inf
    between = others.min(axis=1)
    larger = np.maximum(within, between)
    found = np.divide(between - within, larger, out=np.zeros_like(within), where=larger > 0)
    return np.where(count[labels] > 1, found, 0.0)


def by_cluster(values: NDArray[np.float64], labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(k,) means of the points' values over each cluster; NaN for one without a point."""
    count = np.bincount(labels, minlength=k)
    total = np.bincount(labels, weights=values, minlength=k)
    return np.divide(total, count, out=np.full(k, np.nan), where=count > 0)
