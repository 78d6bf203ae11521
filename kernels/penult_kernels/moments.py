"""Counts, means and centred second moments of groups: computed by blocks, merged, pooled.

Everything is centred before it is squared. The textbook form E[zz^T] - E[z]E[z]^T subtracts two numbers
of size mean^2 and loses the covariance altogether once mean^2 * eps reaches it.

Shapes: N rows, D features, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, blocks, host_labels

ROWS_PER_PRODUCT = 4096
"""Rows widened to float64 at a time, which bounds the temporary copy (64 MiB at D = 2048)."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """First and second moments of G groups. An empty group has count, mean and m2 zero."""

    count: Array
    """(G,) int64 rows of each group."""
    mean: Array
    """(G, D) float64."""
    m2: Array
    """(G, D, D) float64: sum_i (z_i - mean)(z_i - mean)^T, not yet divided by anything."""


def empty_moments(n_groups: int, n_features: int, *, xp: Array = np, device: Array = None) -> Moments:
    """Moments of no rows: what `merge` leaves the other side unchanged with."""
    return Moments(
        count=xp.zeros((n_groups,), dtype=xp.int64, device=device),
        mean=xp.zeros((n_groups, n_features), dtype=xp.float64, device=device),
        m2=xp.zeros((n_groups, n_features, n_features), dtype=xp.float64, device=device),
    )


def moments_of(features: Array, g: Array, n_groups: int) -> Moments:
    """Moments of the rows of every group.

    Rows are widened to float64 before the mean and the product are taken, so that nothing is lost
    beyond what the storage type of `features` has rounded already, however far the mean is from zero.

    Parameters
    ----------
    features : array of shape (N, D)
        Any real floating type.
    g : array of shape (N,)
        Group of each row, whole numbers; on the host or beside `features`.
    n_groups : int
        Groups there are, with or without a row here.

    Raises
    ------
    ValueError
        When the shapes disagree, there is no group, or a group is outside 0 ... n_groups - 1.
    """
    xp = array_namespace(features)
    n_rows, _ = matrix_shape(features, name="features")
    _check_positive(n_groups, name="n_groups")
    labels = host_labels(g, n_rows, n_groups, name="g")
    counts = np.bincount(labels, minlength=n_groups)
    order = np.argsort(labels, kind="stable")
    means: list[Array] = []
    products: list[Array] = []
    for rows in np.split(order, np.cumsum(counts)[:-1]):
        mean, m2 = _centred(xp.take(features, xp.asarray(rows, device=features.device), axis=0))
        means.append(mean)
        products.append(m2)
    return Moments(
        count=xp.asarray(counts, dtype=xp.int64, device=features.device),
        mean=xp.stack(means),
        m2=xp.stack(products),
    )


def _centred(rows: Array) -> tuple[Array, Array]:
    """Mean (D,) and centred second moment (D, D) of rows (N, D), two passes over the rows."""
    xp = array_namespace(rows)
    n_rows, n_features = rows.shape
    mean = xp.sum(rows, axis=0, dtype=xp.float64) / max(n_rows, 1)
    m2 = xp.zeros((n_features, n_features), dtype=xp.float64, device=rows.device)
    for block in blocks(n_rows, ROWS_PER_PRODUCT):
        z = xp.astype(rows[block, :], xp.float64) - mean
        m2 = m2 + z.T @ z
    return mean, m2


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the rows of `a` and `b` together, group by group.

    Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1, for matrices:
    with delta = mean_b - mean_a, m2 = m2_a + m2_b + n_a n_b / n * delta delta^T.

    Raises
    ------
    ValueError
        When the numbers of groups or features differ.
    """
    if a.m2.shape != b.m2.shape:
        raise ValueError(f"both moments must have the same (groups, features), got {a.mean.shape} and {b.mean.shape}")
    xp = array_namespace(a.m2, b.m2)
    n_a, n_b = (xp.astype(side.count, xp.float64)[:, None] for side in (a, b))
    n = xp.where(n_a + n_b > 0, n_a + n_b, 1.0)
    delta = b.mean - a.mean
    between = (delta * (n_a * n_b / n))[:, :, None] * delta[:, None, :]
    return Moments(count=a.count + b.count, mean=a.mean + delta * (n_b / n), m2=a.m2 + b.m2 + between)


def pool(moments: Moments, labels: Sequence[int], n_pools: int) -> Moments:
    """Moments of unions of groups, for example of classes with labels[g] = g // n_attributes.

    m2 of a pool = sum_g m2_g + sum_g n_g (mean_g - mean)(mean_g - mean)^T: scatter within plus scatter
    between, both positive semidefinite, so nothing cancels.

    Parameters
    ----------
    moments : Moments
        Of G groups.
    labels : sequence of G int
        Pool of each group.
    n_pools : int
        Pools there are; one that no group belongs to comes out empty.

    Raises
    ------
    ValueError
        When there is not one label per group, no pool, or a label outside 0 ... n_pools - 1.
    """
    xp = array_namespace(moments.m2)
    n_groups = int(moments.mean.shape[0])
    _check_positive(n_pools, name="n_pools")
    member = host_labels(np.asarray(labels, dtype=np.int64), n_groups, n_pools, name="labels")
    pooled = [
        _union(moments, xp.asarray(np.flatnonzero(member == p), device=moments.m2.device)) for p in range(n_pools)
    ]
    return Moments(
        count=xp.stack([one.count for one in pooled]),
        mean=xp.stack([one.mean for one in pooled]),
        m2=xp.stack([one.m2 for one in pooled]),
    )


def _union(moments: Moments, groups: Array) -> Moments:
    """Moments of one union of groups, without the leading axis."""
    xp = array_namespace(moments.m2)
    count = xp.take(moments.count, groups, axis=0)
    weight = xp.astype(count, xp.float64)[:, None]
    means = xp.take(moments.mean, groups, axis=0)
    n_rows = xp.sum(weight)
    mean = xp.sum(weight * means, axis=0) / xp.where(n_rows > 0, n_rows, 1.0)
    scaled = xp.sqrt(weight) * (means - mean)
    within = xp.sum(xp.take(moments.m2, groups, axis=0), axis=0)
    return Moments(count=xp.sum(count), mean=mean, m2=within + scaled.T @ scaled)


def covariance(m2: Array, count: Array | int, *, correction: int) -> Array:
    """Covariance m2 / (count - correction).

    Parameters
    ----------
    m2 : array of shape (..., D, D)
        Centred second moments.
    count : array of shape (...,), or int
        Rows behind each of them.
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


def _check_positive(count: int, *, name: str) -> None:
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")


def matrix_shape(features: Array, *, name: str) -> tuple[int, int]:
    """Shape (N, D) of a real floating matrix; ValueError, naming it, when it is something else."""
    xp = array_namespace(features)
    if len(features.shape) != 2 or not xp.isdtype(features.dtype, "real floating"):
        raise ValueError(
            f"{name} must be a floating-point matrix of shape (N, D), "
            f"got shape {tuple(features.shape)} and dtype {features.dtype}"
        )
    return int(features.shape[0]), int(features.shape[1])
