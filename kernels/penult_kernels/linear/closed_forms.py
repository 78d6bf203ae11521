"""Heads in closed form from the moments of groups alone, for any weighting of the groups: no pass over rows.

A weighting gives every group g a share pi_g of the total weight (sum 1); within a group rows have equal weights, or
those of the moments. With mu_g, S_g the mean and covariance (divisor n_g, the group's weight) of group g,
class(g) = g // n_attributes and mu = sum pi_g mu_g:

    total covariance    S = sum_g pi_g (S_g + (mu_g - mu)(mu_g - mu)^T)
    class c             pi_c = sum of its groups' pi, mu_c = its groups' weighted mean, S_c likewise about mu_c

Shares of pi_g = n_g / N are plain fits; 1/G balances groups, 1 / (C groups of the class) classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.finite import are_weights
from penult_kernels.linear.blocks.scaling import CONSTANT
from penult_kernels.linear.problem import Head
from penult_kernels.moments.moments import Moments


@dataclass(frozen=True, slots=True, eq=False)
class _Pooled:
    """Weighted statistics: classes' shares (C,), means (C, D), mean (D,), covariances (D, D) within and in total."""

    class_share: NDArray[np.float64]
    class_mean: Array
    mean: Array
    within: Array
    total: Array


def ridge(
    moments: Moments,
    n_classes: int,
    *,
    l2: Sequence[float],
    group_share: Sequence[float] | None = None,
    standardize: bool = False,
) -> list[Head]:
    """Least squares on one-hot targets: minimise sum_i s_i |W z_i + b - e_{y_i}|^2 / 2 + l2/2 |W|^2, b free.

    W^T = (S + l2 I)^{-1} cov(z, e_y); one eigendecomposition of S serves every l2. In scikit-learn's
    terms alpha = l2 sum s.

    Parameters
    ----------
    moments : Moments
        Of G groups, a multiple of the classes.
    n_classes : int
        C.
    l2 : sequence of float
        Positive penalties, one head for each.
    group_share : sequence of float, optional
        (G,) share of each group, at least 0; scaled to sum 1. Proportional to its rows when left out.
    standardize : bool
        Whether the penalty acts on columns scaled by the weighted standard deviation; folded back.

    Raises
    ------
    ValueError
        When numbers or shapes are not as described, or a group without rows has a share.
    """
    if not all(math.isfinite(one) and one > 0 for one in l2):
        raise ValueError(f"every l2 must be a positive finite number, got {list(l2)}")
    xp = array_namespace(moments.m2)
    pooled = _pool(moments, n_classes, group_share)
    scale = _scale(pooled.total) if standardize else xp.ones_like(pooled.mean)
    share = asarray_like(pooled.class_share, pooled.mean)
    cross = (share[:, None] * (pooled.class_mean - pooled.mean)) / scale
    eigenvalues, vectors = xp.linalg.eigh(pooled.total / scale[:, None] / scale)
    rotated = cross @ vectors
    heads: list[Head] = []
    for one in l2:
        weight = (rotated / (eigenvalues + one)) @ vectors.T / scale
        heads.append(Head(weight=weight, bias=share - weight @ pooled.mean))
    return heads


def lda(
    moments: Moments,
    n_classes: int,
    *,
    shrinkage: float = 0.0,
    group_share: Sequence[float] | None = None,
    prior: Sequence[float] | None = None,
) -> Head:
    """Linear discriminant analysis: w_c = S_w^{-1} mu_c, b_c = log prior_c - mu_c^T S_w^{-1} mu_c / 2.

    S_w = (1 - shrinkage) sum_c pi_c S_c + shrinkage tr / D I, divisor N (scikit-learn's `lsqr` solver).
    The prior is the share of each class when left out. The common mean is subtracted before the products.

    Raises
    ------
    ValueError
        When numbers or shapes are not as described, or S_w is singular (raise the shrinkage).
    """
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must lie in [0, 1], got {shrinkage}")
    xp = array_namespace(moments.m2)
    pooled = _pool(moments, n_classes, group_share)
    n_features = pooled.mean.shape[0]
    identity = xp.eye(n_features, dtype=xp.float64, device=pooled.mean.device)
    spread = float(xp.linalg.trace(pooled.within)) / n_features
    within = (1 - shrinkage) * pooled.within + (shrinkage * spread) * identity
    eigenvalues = xp.linalg.eigvalsh(within)
    if not float(eigenvalues[0]) > n_features * 2.0**-52 * float(eigenvalues[-1]):
        raise ValueError("the covariance within the classes is singular: raise shrinkage above 0")
    centered = pooled.class_mean - pooled.mean
    weight = xp.linalg.solve(within, centered.T).T
    log_prior = asarray_like(np.log(_prior(pooled.class_share if prior is None else prior, n_classes)), pooled.mean)
    bias = log_prior - 0.5 * xp.sum(weight * centered, axis=1) - weight @ pooled.mean
    return Head(weight=weight, bias=bias)


def nearest_mean(
    moments: Moments, n_classes: int, *, group_share: Sequence[float] | None = None, standardize: bool = False
) -> Head:
    """Nearest class mean as a linear head: logits -|z - mu_c|^2 / 2, up to a term equal for all classes.

    `standardize` measures distance on columns divided by the weighted standard deviation within the classes.
    """
    xp = array_namespace(moments.m2)
    pooled = _pool(moments, n_classes, group_share)
    scale = _scale(pooled.within) if standardize else xp.ones_like(pooled.mean)
    centered = pooled.class_mean - pooled.mean
    weight = centered / scale**2
    return Head(weight=weight, bias=-0.5 * xp.sum(weight * centered, axis=1) - weight @ pooled.mean)


def _pool(moments: Moments, n_classes: int, group_share: Sequence[float] | None) -> _Pooled:
    """Weighted statistics of the classes and of everything; see the module for the formulas."""
    xp = array_namespace(moments.m2)
    counts = to_host(moments.weight).astype(np.float64)
    if n_classes < 2 or counts.size % n_classes:
        raise ValueError(f"the {counts.size} groups must be a multiple of the classes (at least 2), got {n_classes}")
    share = _group_shares(counts, group_share)
    n_attributes = counts.size // n_classes
    of_class = share.reshape(n_classes, n_attributes).sum(axis=1)
    if not (of_class > 0).all():
        raise ValueError(f"every class needs rows with a share, class {int(np.argmin(of_class))} has none")
    membership = np.zeros((n_classes, counts.size))
    for g in range(counts.size):
        membership[g // n_attributes, g] = share[g] / of_class[g // n_attributes]
    class_mean = asarray_like(membership, moments.mean) @ moments.mean
    mean = asarray_like(share, moments.mean) @ moments.mean
    within = xp.zeros_like(moments.m2[0, ...])
    for g in np.flatnonzero(share > 0):
        off = moments.mean[int(g), :] - class_mean[int(g) // n_attributes, :]
        within = within + float(share[g] / counts[g]) * moments.m2[int(g), ...]
        within = within + float(share[g]) * off[:, None] * off
    between = class_mean - mean
    total = within + (asarray_like(of_class, between)[:, None] * between).T @ between
    return _without_constants(_Pooled(of_class, class_mean, mean, within, total))


def _without_constants(pooled: _Pooled) -> _Pooled:
    """The statistics without constant columns (`blocks.scaling.CONSTANT`), of which only rounding is left."""
    xp = array_namespace(pooled.mean)
    deviation = xp.sqrt(xp.maximum(xp.linalg.diagonal(pooled.total), xp.zeros_like(pooled.mean)))
    varies = xp.astype(deviation > CONSTANT * xp.abs(pooled.mean), xp.float64)
    both = varies[:, None] * varies
    class_mean = pooled.mean + varies * (pooled.class_mean - pooled.mean)
    return _Pooled(pooled.class_share, class_mean, pooled.mean, pooled.within * both, pooled.total * both)


def _group_shares(counts: NDArray[np.float64], group_share: Sequence[float] | None) -> NDArray[np.float64]:
    share = counts if group_share is None else np.asarray(group_share, np.float64)
    if share.shape != counts.shape or not are_weights(share):
        raise ValueError(f"group_share must hold {counts.size} finite numbers of at least 0 with a positive sum")
    if bool(((share > 0) & (counts == 0)).any()):
        empty = int(np.argmax((share > 0) & (counts == 0)))
        raise ValueError(f"group {empty} has no row, so it cannot have a share")
    return share / share.sum()


def _scale(covariance: Array) -> Array:
    """Standard deviations, 1 for columns without any."""
    xp = array_namespace(covariance)
    variance = xp.linalg.diagonal(covariance)
    return xp.where(variance > 0, xp.sqrt(xp.where(variance > 0, variance, 1.0)), 1.0)


def _prior(prior: Sequence[float] | NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    found = np.asarray(prior, np.float64)
    if found.shape != (n_classes,) or not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError(f"prior must hold {n_classes} positive numbers")
    return found / found.sum()
