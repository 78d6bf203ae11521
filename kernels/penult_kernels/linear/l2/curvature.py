"""The curvature of weak penalties: a preconditioner with the Hessian of one head in the place of the rows' covariance.

Where a penalty is weak the rows that a head is unsure of have all the curvature, sum_i s_i p_i (1 - p_i) z_i z_i^T, and
these may spread otherwise than all rows do. L-BFGS then takes steps that are too long along some directions, for many
evaluations. One such matrix, of as many rows as an eigenbasis is made of, serves all problems over the same rows with
the same weights: it is scaled to the mean curvature of each, and systems with it are solved by conjugate gradients in
the coordinates of the eigenbasis, where its diagonal is most of it.

On the host only: a system takes a device as many launches as it takes steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array
from penult_kernels.linear.blocks.batch import Batch
from penult_kernels.linear.l2.choose import curvature_pays, evaluations_with_curvature
from penult_kernels.linear.l2.eigenbasis import ROWS_PER_FEATURE, Coupled, Preconditioner
from penult_kernels.loss import probabilities
from penult_kernels.products import gram, product

Floats = NDArray[np.float64]

LOOKED_AT = 6
"""Evaluations from whose gaps the number of further ones is foretold."""
FEWEST_SAVED = 6
"""Evaluations that a matrix saves a block for which it is used, at least."""
MOST_MADE = 3
"""Matrices that are made in one solve at most."""


def may_be_shared(batch: Batch) -> bool:
    """Whether the blocks of a batch have rows, weights and scaling in common, on the host."""
    return (
        is_numpy_array(batch.sample_weight)
        and int(batch.sample_weight.shape[1]) == 1
        and batch.scaling.mean.ndim == 1
        and int(batch.sample_weight.shape[0]) > batch.n_features
    )


@dataclass(frozen=True, slots=True, eq=False)
class Slow:
    """Blocks that a matrix would save evaluations."""

    place: int
    """The slowest, at whose head it is made."""
    which: NDArray[np.bool_]
    """(B,): the others take the steps that they would take without these."""


def slow_blocks(batch: Batch, gaps: Sequence[Floats], floors: Floats, limit: float) -> Slow | None:
    """Which blocks a matrix should be made for, if the evaluations that it saves are more work than it.

    `gaps` are those (B,) of the latest evaluations, the last one last, and `floors` (B,) what rounding leaves of them.
    """
    if len(gaps) <= LOOKED_AT:
        return None
    first, last = gaps[-1 - LOOKED_AT], gaps[-1]
    may_gain = last > np.maximum(limit, floors)
    if not may_gain.any():
        return None
    rates = np.maximum(np.log(np.maximum(first, last)[may_gain] / last[may_gain]) / LOOKED_AT, 1e-3)
    to_fall, left = np.zeros((2, last.size))
    to_fall[may_gain] = np.log(last[may_gain] / max(limit, np.finfo(float).tiny))
    left[may_gain] = to_fall[may_gain] / rates
    n_with = evaluations_with_curvature(to_fall)
    place = int(np.argmax(left - n_with))
    pays = curvature_pays(
        float(left[place] - n_with[place]),
        n_heads=last.size * int(batch.target.shape[2]),
        n_rows=int(batch.sample_weight.shape[0]),
        n_sampled=n_sampled(batch),
        n_features=batch.n_features,
    )
    return Slow(place, left - n_with >= FEWEST_SAVED) if pays else None


def n_sampled(batch: Batch) -> int:
    """Rows that a matrix is made of, about."""
    return min(int(batch.sample_weight.shape[0]), ROWS_PER_FEATURE * batch.n_features)


def curved(batch: Batch, preconditioner: Preconditioner, theta: Array, slow: Slow) -> Preconditioner:
    """The preconditioner with the curvature of the slowest block's losses at its head theta (q, D + 1)."""
    place = slow.place
    own = batch.take(np.asarray([place]))
    center = own.scaling.mean + preconditioner.mean[place, 0, :] * own.scaling.unit
    total, mean, matrix = 0.0, np.zeros(own.n_features), np.zeros((own.n_features,) * 2)
    logits_of_tile = own.logits_with_offset(theta[None, :, :])
    for tile in _some_tiles(own):
        z = own.tile(tile)
        p = probabilities(logits_of_tile(tile, z))
        weight = (own.sample_weight[tile, :, None] * p * (1.0 - p)).sum(axis=(1, 2)).astype(z.dtype)
        z = (z - center.astype(z.dtype)) * (1 / own.scaling.scale).astype(z.dtype)
        total += float(weight.sum())
        mean += (weight @ z).astype(np.float64)
        z *= np.sqrt(weight)[:, None]
        matrix += gram(z.T)
    if not total > 0:
        return preconditioner
    mean /= total
    matrix = matrix / total - mean[:, None] * mean
    vectors = preconditioner.basis.vectors
    along = product(product(vectors.T, matrix.astype(vectors.dtype)), vectors)
    before = preconditioner.coupled
    which = slow.which if before is None else slow.which | before.which
    coupled = Coupled(0.5 * (along + along.T), preconditioner.mean[place] + mean, which)
    return replace(
        preconditioner,
        mean=np.where(which[:, None, None], coupled.mean, preconditioner.mean),
        coupled=coupled,
    )


def _some_tiles(batch: Batch) -> list[slice]:
    """Tiles from all over the rows, together about `n_sampled` of them."""
    tiles = batch.tiles()
    wanted = min(len(tiles), math.ceil(len(tiles) * n_sampled(batch) / int(batch.sample_weight.shape[0])))
    return [tiles[place] for place in np.unique(np.linspace(0, len(tiles) - 1, wanted).round().astype(int))]
