"""Counts, means and centered second moments of groups: merged, and pooled into classes and unions of groups.

Everything is centered before it is squared. The textbook form E[zz^T] - E[z]E[z]^T subtracts two numbers
of size mean^2 and loses the covariance altogether once mean^2 * eps reaches it.

Shapes: N rows, D features, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, asarray_like, host_labels
from penult_kernels.rows import RowSource, is_source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """First and second moments of G groups. An empty group has count, weight, mean and m2 zero."""

    count: Array
    """(G,) int64 rows of each group with a positive weight."""
    weight: Array
    """(G,) float64 sum of the weights w_i of these rows; the count when no weights were given."""
    mean: Array
    """(G, D) float64, sum_i w_i z_i / weight."""
    m2: Array
    """(G, D, D) float64: sum_i w_i (z_i - mean)(z_i - mean)^T, not yet divided by anything."""


def empty_moments(n_groups: int, n_features: int, *, xp: Array = np, device: Array = None) -> Moments:
    """Moments of no rows: the neutral element of `merge`."""
    return Moments(
        count=xp.zeros((n_groups,), dtype=xp.int64, device=device),
        weight=xp.zeros((n_groups,), dtype=xp.float64, device=device),
        mean=xp.zeros((n_groups, n_features), dtype=xp.float64, device=device),
        m2=xp.zeros((n_groups, n_features, n_features), dtype=xp.float64, device=device),
    )


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the rows of `a` and `b` together, group by group.

    Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1, for matrices:
    with delta = mean_b - mean_a, m2 = m2_a + m2_b + w_a w_b / w * delta delta^T.

    Raises
    ------
    ValueError
        When the numbers of groups or features differ.
    """
    if a.m2.shape != b.m2.shape:
        raise ValueError(f"both moments must have the same (groups, features), got {a.mean.shape} and {b.mean.shape}")
    xp = array_namespace(a.m2, b.m2)
    weight = a.weight + b.weight
    fraction = b.weight / xp.where(weight > 0, weight, 1.0)
    delta = b.mean - a.mean
    between = (delta * (a.weight * fraction)[:, None])[:, :, None] * delta[:, None, :]
    return Moments(
        count=a.count + b.count,
        weight=weight,
        mean=a.mean + delta * fraction[:, None],
        m2=a.m2 + b.m2 + between,
    )


def pool(moments: Moments, labels: Sequence[int], n_pools: int) -> Moments:
    """Moments of a partition of the groups, for example into classes with labels[g] = g // n_attributes.

    Parameters
    ----------
    moments : Moments
        Of G groups.
    labels : sequence of G int
        Pool of each group.
    n_pools : int
        Number of pools; one without a group comes out empty.

    Raises
    ------
    ValueError
        When there is not one label per group, no pool, or a label outside 0 ... n_pools - 1.
    """
    check_positive(n_pools, name="n_pools")
    n_groups = int(moments.mean.shape[0])
    member = host_labels(np.asarray(labels, dtype=np.int64), n_groups, n_pools, name="labels")
    return unions(moments, [np.flatnonzero(member == p).tolist() for p in range(n_pools)])


def unions(moments: Moments, members: Sequence[Sequence[int]]) -> Moments:
    """Moments of unions of groups, which may overlap and leave groups out; no row is read.

    m2 of a union = sum_g m2_g + sum_g w_g (mean_g - mean)(mean_g - mean)^T: scatter within plus scatter
    between, both positive semidefinite, so nothing cancels.

    Parameters
    ----------
    moments : Moments
        Of G groups, no row in two of them.
    members : sequence of sequences of int
        The different groups of each union; none gives an empty one.

    Raises
    ------
    ValueError
        When there is no union, a group is outside 0 ... G - 1, or one is named twice in a union.
    """
    check_positive(len(members), name="the number of unions")
    n_groups = int(moments.mean.shape[0])
    chosen = [host_labels(np.asarray(one, dtype=np.int64), len(one), n_groups, name="members") for one in members]
    if any(np.unique(one).size < one.size for one in chosen):
        raise ValueError("a group may be named once in a union, or its rows would count twice")
    pooled = [_union(moments, asarray_like(one, moments.m2)) for one in chosen]
    xp = array_namespace(moments.m2)
    return Moments(
        count=xp.stack([one.count for one in pooled]),
        weight=xp.stack([one.weight for one in pooled]),
        mean=xp.stack([one.mean for one in pooled]),
        m2=xp.stack([one.m2 for one in pooled]),
    )


def _union(moments: Moments, groups: Array) -> Moments:
    """Moments of one union of groups, without the leading axis."""
    xp = array_namespace(moments.m2)
    weights = xp.take(moments.weight, groups, axis=0)[:, None]
    means = xp.take(moments.mean, groups, axis=0)
    weight = xp.sum(weights)
    mean = xp.sum(weights * means, axis=0) / xp.where(weight > 0, weight, 1.0)
    scaled = xp.sqrt(weights) * (means - mean)
    within = xp.sum(xp.take(moments.m2, groups, axis=0), axis=0)
    count = xp.sum(xp.take(moments.count, groups, axis=0))
    return Moments(count=count, weight=weight, mean=mean, m2=within + scaled.T @ scaled)


def about_zero(moments: Moments) -> Array:
    """Second moments (G, D, D) about zero, sum_i w_i z_i z_i^T."""
    weighted = moments.mean * moments.weight[:, None]
    return moments.m2 + weighted[:, :, None] * moments.mean[:, None, :]


def covariance(m2: Array, count: Array | int, *, correction: int) -> Array:
    """Covariance m2 / (count - correction).

    Parameters
    ----------
    m2 : array of shape (..., D, D)
        Centered second moments.
    count : array of shape (...,), or int
        Rows behind each of them, or the sums of their weights.
    correction : int
        0 for the divisor n, 1 for n - 1.

    Returns
    -------
    array of shape (..., D, D)
        NaN where count <= correction: the covariance of too few rows does not exist, and is not zero.
    """
    xp = array_namespace(m2)
    check_correction(correction)
    divisor = xp.astype(xp.asarray(count, device=m2.device), xp.float64) - correction
    return m2 / xp.where(divisor > 0, divisor, xp.nan)[..., None, None]


def check_correction(correction: int) -> None:
    """Raise ValueError when `correction` is negative: the divisor would exceed the count."""
    if correction < 0:
        raise ValueError(f"correction must be 0 (divisor n) or 1 (divisor n - 1), got {correction}")


def check_positive(count: int, *, name: str) -> None:
    """Raise ValueError when `count`, called `name`, is below 1."""
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")


def matrix_shape(features: Array | RowSource, *, name: str) -> tuple[int, int]:
    """Shape (N, D) of a real floating matrix, or of rows of one; ValueError, naming it, when it is something else."""
    matrix: Array = features.like if is_source(features) else features
    if len(matrix.shape) != 2 or not array_namespace(matrix).isdtype(matrix.dtype, "real floating"):
        raise ValueError(
            f"{name} must be a floating-point matrix of shape (N, D), "
            f"got shape {tuple(matrix.shape)} and dtype {matrix.dtype}"
        )
    return int(features.shape[0]), int(features.shape[1])
