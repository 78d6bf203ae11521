"""Moments of a part of the rows, as they are summed and merged: one triangle of every matrix, in place.

Parts are merged with Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1. What is
merged in the same order has the same bits, wherever and in whatever order its parts were made.

Shapes: G groups, D features, L numbers of a packed triangle.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, blocks
from penult_kernels.moments.moments import Moments
from penult_kernels.moments.packing import TILE, packed_length, unpack_symmetric


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partial:
    """First and second moments of G groups over some rows. What a group without rows has in `m2` means nothing."""

    count: NDArray[np.int64]
    """(G,) rows."""
    weight: NDArray[np.float64]
    """(G,) sums of their weights."""
    mean: Array
    """(G, D) float64."""
    m2: Array
    """(G, L) float64 triangles, about the mean, packed in strips of `tile` rows."""
    tile: int

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.mean.shape[1])


def empty_partial(n_groups: int, n_features: int, *, xp: Array = np, device: Array = None) -> Partial:
    """Moments of no rows.

    On a device the strip is the whole matrix: twenty launches for every sum would cost more than its other triangle.
    """
    mean = xp.zeros((n_groups, n_features), dtype=xp.float64, device=device)
    tile = TILE if is_numpy_array(mean) else max(1, n_features)
    return Partial(
        count=np.zeros(n_groups, dtype=np.int64),
        weight=np.zeros(n_groups),
        mean=mean,
        m2=xp.empty((n_groups, packed_length(n_features, tile)), dtype=xp.float64, device=device),
        tile=tile,
    )


def partial_bytes(n_groups: int, n_features: int) -> int:
    """Memory of a partial on the host."""
    return n_groups * (packed_length(n_features) + n_features + 2) * 8


def merge_into(total: Partial, part: Partial) -> None:
    """Take in moments of other rows of the same groups, in place: m2 += m2_b + (w_a w_b / w) delta delta^T.

    Raises
    ------
    ValueError
        When the numbers of groups or features differ.
    """
    if part.mean.shape != total.mean.shape or part.tile != total.tile:
        raise ValueError(f"expected moments of shape {total.mean.shape}, got {part.mean.shape}")
    for k in np.flatnonzero(part.weight > 0):
        before, added = float(total.weight[k]), float(part.weight[k])
        total.count[k] += part.count[k]
        total.weight[k] = before + added
        if not before:
            total.m2[k, :], total.mean[k, :] = part.m2[k, :], part.mean[k, :]
            continue
        delta = part.mean[k, :] - total.mean[k, :]
        root = delta * math.sqrt(before * added / (before + added))
        for (rows, ours), (_, theirs) in zip(strips(total, int(k)), strips(part, int(k)), strict=True):
            ours += theirs
            ours += root[rows][:, None] * root[None, rows.start :]
        total.mean[k, :] = total.mean[k, :] + delta * (added / (before + added))


def strips(sums: Partial, k: int) -> Iterator[tuple[slice, Array]]:
    """Each strip of group k: its rows, and a view of it, whose first column is that of its first row."""
    xp, n_features, offset = array_namespace(sums.m2), sums.n_features, 0
    for rows in blocks(n_features, sums.tile):
        height, width = rows.stop - rows.start, n_features - rows.start
        yield rows, xp.reshape(sums.m2[k, offset : offset + height * width], (height, width), copy=False)
        offset += height * width


def clear_unused(sums: Partial) -> None:
    """Make zero what groups without rows have."""
    for k in np.flatnonzero(sums.weight <= 0):
        sums.m2[k, :] = 0
        sums.mean[k, :] = 0


def whole(sums: Partial) -> Moments:
    """The moments with whole matrices."""
    clear_unused(sums)
    xp = array_namespace(sums.mean)
    device = sums.mean.device
    return Moments(
        count=xp.asarray(sums.count, dtype=xp.int64, device=device),
        weight=xp.asarray(sums.weight, dtype=xp.float64, device=device),
        mean=sums.mean,
        m2=unpack_symmetric(sums.m2, sums.n_features, sums.tile),
    )
