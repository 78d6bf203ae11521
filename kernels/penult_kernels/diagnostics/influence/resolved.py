"""Optima without single rows, to convergence: Newton's steps of the problem without a row, by the Hessian of the first.

Row i's problem is sum_(j != i) s_j l_j + (1 - s_i) penalty, or + penalty where that stands beside the sum. At the
optimum theta of all rows its gradient is -s_i ((p_i - t_i) (x) z_i + r), and after a move m

    sum_j s_j (p_j(m) - p_j) (x) z_j + R m - s_i ((p_i(m) - t_i) (x) z_i + r + R m),

R the penalty's Hessian; in the last bracket r + R m is left out where the penalty stands beside the sum. Every step
solves with H - s_i S_i (x) z_i z_i^T of the optimum (`removal`), so that the first is the influence's, and each leaves
of the error what the Hessian has changed by: mostly a tenth or less. Only changes are multiplied, so that float32 rows
lose no digits to cancellation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.influence.curvature import Curvature, logit_hessians
from penult_kernels.loss import probabilities
from penult_kernels.products import product

Integers = NDArray[np.int64]
MOST_STEPS = 30
ENOUGH = 1e-5
"""A fraction of the first step, in the norm of the Hessian: a step as short as this is the last."""
MOST_LOGIT = 500.0
"""Changes of logits are cut off here: no probability of float64 changes beyond."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moves:
    """How the optimum of a block moves without each of some rows."""

    theta: Array
    """(r, q, m)"""
    is_solved: NDArray[np.bool_]
    """(r,) whether steps became as short as ENOUGH."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """The rows that are removed one by one."""

    z: Array
    """(r, m)"""
    offset: Array
    """(r, q) logits that no unknown moves."""
    target: Array
    """(r, q)"""
    s: Array
    """(r, 1, 1)"""
    bent: Array
    """(r, q, q) s_i S_i."""
    between: Array
    """(r, q, q)"""


def moves_of(
    features: Array,
    curvature: Curvature,
    places: Integers,
    *,
    is_mean: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Moves:
    """Moves without each of the rows at `places` among those that the block uses. Of blocks without an l1."""
    assert curvature.space.block.l1 == 0
    rows = _rows(features, curvature, places)
    xp = array_namespace(rows.z)
    theta = xp.zeros((places.size, *curvature.space.theta.shape), dtype=xp.float64, device=rows.z.device)
    first, is_solved = np.zeros(places.size), np.zeros(places.size, np.bool_)
    is_going = np.ones(places.size, np.bool_)
    for step in range(MOST_STEPS):
        check()
        gradient = _gradient_of_rows(rows, curvature, theta, is_mean=is_mean)
        if step:
            gradient = gradient + _change(features, curvature, theta)
        taken = _downdated(curvature, rows, gradient)
        length = np.sqrt(np.maximum(to_host(xp.sum(taken * gradient, axis=(1, 2))), 0.0))
        first = first if step else length
        is_solved |= is_going & (length <= ENOUGH * first)
        is_going &= ~is_solved & np.isfinite(length) & (length <= first)
        theta = theta - taken * asarray_like((is_going | is_solved)[:, None, None].astype(np.float64), theta)
        if not is_going.any():
            break
    return Moves(theta=theta, is_solved=is_solved)


def _rows(features: Array, curvature: Curvature, places: Integers) -> _Rows:
    space, block = curvature.space, curvature.space.block
    xp = array_namespace(features)
    z = xp.concat([one for _, one in space.tiles(features, block.used()[places])], axis=0)
    s = asarray_like(block.sample_weight()[places], z)[:, None, None]
    p = xp.take(curvature.p, asarray_like(places, z), axis=0)
    return _Rows(
        z=z,
        offset=asarray_like(block.offset()[places], z),
        target=asarray_like(block.target()[places], z),
        s=s,
        bent=logit_hessians(p) * s,
        between=curvature.between(z),
    )


def _gradient_of_rows(rows: _Rows, curvature: Curvature, theta: Array, *, is_mean: bool) -> Array:
    """(r, q, m) R m less what the removed rows, and their part of a penalty beside the mean, have in the gradient."""
    space = curvature.space
    xp = array_namespace(theta)
    by_penalty = theta * asarray_like(space.penalty, theta)
    logits = xp.sum((space.theta[None, :, :] + theta) * rows.z[:, None, :], axis=2) + rows.offset
    p = probabilities(logits[:, None, :])[:, 0, :]
    own = (p - rows.target)[:, :, None] * rows.z[:, None, :]
    if is_mean:
        own = own + space.penalty_gradient()[None, :, :] + by_penalty
    return by_penalty - rows.s * own


def _change(features: Array, curvature: Curvature, theta: Array) -> Array:
    """(r, q, m) sum_j s_j (p_j(m) - p_j) (x) z_j over all rows of the block."""
    space, s = curvature.space, curvature.space.block.sample_weight()
    xp, shape = array_namespace(theta), theta.shape
    kind = xp.float32 if curvature.in_float32 else xp.float64
    flat = xp.astype(xp.reshape(theta, (-1, shape[2])), kind, copy=False)
    total = xp.zeros_like(theta)
    for tile, z in space.tiles(features):
        in_kind = xp.astype(z, kind, copy=False)
        moved = xp.reshape(xp.astype(product(in_kind, flat.T), xp.float64), (-1, *shape[:2]))
        change = _of_probabilities(curvature.p[tile, :], moved) * asarray_like(s[tile], z)[:, None, None]
        columns = xp.astype(xp.reshape(change, (change.shape[0], -1)), kind, copy=False)
        total = total + xp.reshape(xp.astype(product(columns.T, in_kind), xp.float64), shape)
    return total


def _of_probabilities(p: Array, moved: Array) -> Array:
    """(t, r, q) changes of probabilities (t, q) when logits change by (t, r, q)."""
    xp, p = array_namespace(p), p[:, None, :]
    if p.shape[2] == 1:
        grown = xp.expm1(xp.clip(moved, min=-MOST_LOGIT, max=MOST_LOGIT))
        return p * (1.0 - p) * grown / (1.0 + p * grown)
    grown = xp.expm1(xp.clip(moved, min=-MOST_LOGIT, max=MOST_LOGIT))
    mean = xp.sum(p * grown, axis=2, keepdims=True)
    return p * (grown - mean) / (1.0 + mean)


def _downdated(curvature: Curvature, rows: _Rows, right: Array) -> Array:
    """(r, q, m) inverse of H - s_i S_i (x) z_i z_i^T times a right side for each row, by Woodbury's identity."""
    xp, q = array_namespace(right), int(right.shape[1])
    solved = curvature.solve(right)
    onto = xp.sum(solved * rows.z[:, None, :], axis=2)[:, :, None]
    identity = xp.eye(q, dtype=right.dtype, device=right.device)
    back = xp.linalg.solve(identity - xp.matmul(rows.bent, rows.between), xp.matmul(rows.bent, onto))
    return solved + curvature.solve(back * rows.z[:, None, :])
