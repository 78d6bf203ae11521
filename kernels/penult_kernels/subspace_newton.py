"""Newton's method in a growing subspace, for L2 problems in the space of their rows.

In the manner of iterated subspace minimisation (Conn, Gould, Sartenaer & Toint 1996).

A problem keeps an orthonormal basis of heads V and their logits U. Every evaluation adds what the gradient has outside
the span of V, whose logits take one product with the Gram matrix, and then goes a Newton step within the span:

    (U^T H U + l2 I) d = -V^T gradient,         H the curvature of the rows where they are now.

On a quadratic that is the method of conjugate gradients. On others nothing that was learnt of a direction grows old,
for its curvature is taken anew: half as many products as L-BFGS. A bias is a direction from the start. A basis that is
full is turned and cut: what stays spans the head, the last step and the latest directions.

Objectives are convex, so that slopes along a step say all that a line search needs: it is taken unless it has gone far
beyond the minimum, and is cut by the secant if it has. No objective is computed. What comes out is not proven
here: `batch_newton` certifies it, and goes on where it is not good enough.

Shapes: B problems, q columns, n rows, m directions, the first q of them the biases.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.row_space import RowSpace

MOST_EVALUATIONS = 300
PATIENCE = 15
"""Evaluations without a smaller gap after which a problem is left to Newton's method (float32 can do no more)."""
PROGRESS = 0.9
FARTHEST_SLOPE = 0.5
"""Of the slope at the start of a step: a larger one beyond the minimum is too far."""
SHORTEST_CUT, LONGEST_CUT = 0.1, 0.5
MOST_CUTS = 20
LEAST_DIRECTIONS, MOST_DIRECTIONS = 40, 160
"""Beside the biases, that a basis should have room for: in fewer it takes longer, more are seldom needed."""
LATEST_KEPT = 20
WORTH_LEAVING = 0.75
"""Of the problems: those that are done leave when no more than these stay, for that copies the bases of all."""
SMALLEST_NEW = 1e-10
"""Of the square of the gradient: less than this outside the span is rounding."""
TINY_CURVATURE = 1e-14


@dataclass(slots=True, eq=False)
class _Walk:
    """Iterates of the problems that are still solved."""

    space: RowSpace
    positions: NDArray[np.int64]
    alpha: Array
    """(B, q n) coefficients of the heads."""
    bias: Array
    """(B, q)."""
    logits: Array
    """(B, q n), with bias and offset."""
    p: Array
    """(B, q n)."""
    heads: Array
    """(B, most, q n) coefficients of V; of the biases 0."""
    images: Array
    """(B, most, q n) U."""
    place: Array
    """(B, most) the head in V."""
    step: Array
    """(B, most) the last step in V."""
    size: int
    """m."""
    best: NDArray[np.float64]
    since: NDArray[np.int64]


def subspace_newton(
    space: RowSpace,
    *,
    limit: float,
    directions: int,
    check: Callable[[], None] | None = None,
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Go down from the zero heads until the gaps are at most `limit` or no smaller.

    A basis has at most so many `directions` beside the biases, more than LATEST_KEPT + 2. `check` is called before
    every evaluation and ends the solve by raising; problems that are `unwanted` (B,) leave.

    Returns
    -------
    arrays of shape (B, q, n) and (B, q)
        Coefficients and biases where each problem ended.
    array of shape (B,)
        Evaluations that each took part in: products with the Gram matrix.
    """
    xp = array_namespace(space.share)
    n_blocks, n_columns, n_used = space.target.shape
    walk = _at_zero(space, directions)
    found: list[tuple[Array, Array]] = [(walk.alpha[0, :], walk.bias[0, :])] * n_blocks
    evaluations = np.zeros(n_blocks, np.int64)
    is_done = np.zeros(n_blocks, bool)
    for number in range(1, MOST_EVALUATIONS + 1):
        if check is not None:
            check()
        evaluations[walk.positions[~is_done]] = number
        gradient, gaps = _look(walk)
        is_done = is_done | ~_is_active(walk, gaps, limit)
        if unwanted is not None:
            is_done = is_done | unwanted()[walk.positions]
        kept = walk.space.kept(~is_done) if number < MOST_EVALUATIONS else np.zeros(0, np.int64)
        if kept.size <= WORTH_LEAVING * walk.positions.size:
            for index in np.setdiff1d(np.arange(walk.positions.size), kept):
                found[int(walk.positions[index])] = (walk.alpha[int(index), :], walk.bias[int(index), :])
            if kept.size == 0:
                break
            _keep(walk, kept)
            gradient, is_done = xp.take(gradient, beside(kept, gradient), axis=0), is_done[kept]
        _step(walk, gradient)
        if walk.size == int(walk.images.shape[1]):
            _turn(walk)
    alpha = xp.stack([one for one, _ in found])
    return xp.reshape(alpha, (-1, n_columns, n_used)), xp.stack([one for _, one in found]), evaluations


def _at_zero(space: RowSpace, directions: int) -> _Walk:
    xp = array_namespace(space.share)
    n_blocks, n_columns, n_used = (int(size) for size in space.target.shape)
    zero = xp.zeros_like(space.target)
    empty = xp.zeros((n_blocks, n_columns + directions, n_columns * n_used), dtype=zero.dtype, device=zero.device)
    images = xp.zeros_like(empty)
    for column in range(n_columns):
        images[:, column, column * n_used : (column + 1) * n_used] = space.is_fitted[:, None]
    return _Walk(
        space=space,
        positions=np.arange(n_blocks, dtype=np.int64),
        alpha=_flat(zero),
        bias=zero[:, :, 0],
        logits=_flat(space.offset),
        p=_flat(space.probabilities(space.offset)),
        heads=empty,
        images=images,
        place=empty[:, :, 0],
        step=empty[:, :, 0],
        size=n_columns,
        best=np.full(n_blocks, np.inf),
        since=np.zeros(n_blocks, np.int64),
    )


def _flat(values: Array) -> Array:
    """(B, q, n) as (B, q n)."""
    return array_namespace(values).reshape(values, (values.shape[0], -1))


def _wide(walk: _Walk, values: Array) -> Array:
    """(B, q n) as (B, q, n)."""
    return array_namespace(values).reshape(values, walk.space.target.shape)


def _look(walk: _Walk) -> tuple[Array, Array]:
    """The gradient in V (B, m + 1), the last entry that of a new direction, which is added; and the gaps (B,)."""
    xp = array_namespace(walk.p)
    space, size = walk.space, walk.size
    n_columns = int(walk.bias.shape[1])
    of_rows, of_bias = space.gradient(_wide(walk, walk.p), _wide(walk, walk.alpha), walk.bias)
    rest = _flat(of_rows)
    heads, images = walk.heads[:, n_columns:size, :], walk.images[:, n_columns:size, :]
    along = 0.0
    # Twice is enough for the new direction to be orthogonal to the rounding (Giraud et al. 2005).
    for _ in range(2):
        part = images @ rest[:, :, None]
        rest = rest - (xp.matrix_transpose(part) @ heads)[:, 0, :]
        along = along + part[:, :, 0]
    image = _flat(space.product(_wide(walk, rest)))
    square = xp.sum(rest * image, axis=1)
    whole = square + xp.sum(along * along, axis=1)
    is_new = square > SMALLEST_NEW * whole
    norm = xp.where(is_new, xp.sqrt(xp.where(is_new, square, 1.0)), 0.0)
    scale = xp.where(is_new, 1.0 / xp.where(is_new, norm, 1.0), 0.0)[:, None]
    walk.heads[:, size, :] = scale * rest
    walk.images[:, size, :] = scale * image
    return xp.concat([of_bias, along, norm[:, None]], axis=1), space.gaps(_wide(walk, walk.p), whole, of_bias)


def _is_active(walk: _Walk, gaps: Array, limit: float) -> NDArray[np.bool_]:
    found = to_host(gaps).astype(np.float64)
    is_better = found < PROGRESS * walk.best
    walk.best = np.where(is_better, found, walk.best)
    walk.since = np.where(is_better, 0, walk.since + 1)
    return (found > limit) & (walk.since < PATIENCE)


def _keep(walk: _Walk, kept: NDArray[np.int64]) -> None:
    xp = array_namespace(walk.p)
    at = beside(kept, walk.p)
    walk.space = walk.space.take(kept)
    walk.positions, walk.best, walk.since = walk.positions[kept], walk.best[kept], walk.since[kept]
    for name in ("alpha", "bias", "logits", "p", "heads", "images", "place", "step"):
        setattr(walk, name, xp.take(getattr(walk, name), at, axis=0))


def _step(walk: _Walk, gradient: Array) -> None:
    """The Newton step in the span, as far as it goes down."""
    xp = array_namespace(gradient)
    space = walk.space
    walk.size = size = int(gradient.shape[1])
    images, heads = walk.images[:, :size, :], walk.heads[:, :size, :]
    n_columns = int(walk.bias.shape[1])
    weighted = space.curved(_wide(walk, walk.p), xp.reshape(images, (images.shape[0], size, n_columns, -1)))
    hessian = xp.reshape(weighted, images.shape) @ xp.matrix_transpose(images)
    penalty = _penalty(space, n_columns, size)
    direction = -xp.linalg.solve(_regular(hessian, penalty, n_columns), gradient[:, :, None])[:, :, 0]
    slope = xp.sum(gradient * direction, axis=1)
    # Also where it is no number.
    direction = xp.where((slope < 0)[:, None], direction, 0.0)
    slope = xp.where(slope < 0, slope, 0.0)
    change = (direction[:, None, :] @ images)[:, 0, :]
    length = _descend(walk, change, slope, xp.sum(penalty * direction * direction, axis=1))[:, None]
    moved = length * direction
    walk.alpha = walk.alpha + (moved[:, None, :] @ heads)[:, 0, :]
    walk.bias = walk.bias + moved[:, :n_columns]
    walk.step = xp.concat([moved, xp.zeros_like(walk.step[:, size:])], axis=1)
    walk.place = walk.place + walk.step


def _penalty(space: RowSpace, n_columns: int, size: int) -> Array:
    """(B, m) second derivative of the penalty in each direction; of a bias that is not there, anything positive."""
    xp = array_namespace(space.l2)
    of_bias = xp.where(space.is_fitted > 0, space.bias_stiffness(), space.l2)
    return xp.stack([of_bias] * n_columns + [space.l2] * (size - n_columns), axis=1)


def _regular(hessian: Array, penalty: Array, n_columns: int) -> Array:
    """The Hessian in V with the penalty, invertible even where all probabilities have saturated."""
    xp = array_namespace(hessian)
    size = int(hessian.shape[1])
    identity = xp.eye(size, dtype=hessian.dtype, device=hessian.device)
    whole = hessian + penalty[:, :, None] * identity
    is_bias = xp.astype(xp.sum(identity[:n_columns, :], axis=0), hessian.dtype)
    scale = xp.sum(whole * identity * is_bias, axis=(1, 2))[:, None, None] / n_columns
    # The softmax does not change along equal biases; 1/q there leaves the other directions alone.
    singular = scale / n_columns * is_bias[:, None] * is_bias if n_columns > 1 else 0.0
    return whole + singular + (xp.finfo(hessian.dtype).eps * scale + TINY_CURVATURE) * is_bias * identity


def _descend(walk: _Walk, change: Array, slope: Array, stiffness: Array) -> Array:
    """Move the logits by a length (B,) of the change (B, q n), along which the penalty has the second derivative
    (B,)."""
    xp = array_namespace(change)
    space = walk.space
    share = _flat(xp.broadcast_to(space.share[:, None, :], space.target.shape))
    target = _flat(space.target)
    # The slope is that of the loss and that of the penalty, which is linear in the length.
    of_penalty = slope - xp.sum(share * (walk.p - target) * change, axis=1)
    length = xp.ones_like(slope)
    for number in range(MOST_CUTS):
        p = _flat(space.probabilities(_wide(walk, walk.logits + length[:, None] * change)))
        there = xp.sum(share * (p - target) * change, axis=1) + of_penalty + length * stiffness
        # Not "too far": a NaN is to be cut, too.
        is_good = there <= FARTHEST_SLOPE * xp.abs(slope)
        if bool(xp.all(is_good)):
            break
        cut = _cut(slope, there) if number < MOST_CUTS - 1 else xp.zeros_like(length)
        length = xp.where(is_good, length, length * cut)
    walk.logits = walk.logits + length[:, None] * change
    walk.p = _flat(space.probabilities(_wide(walk, walk.logits)))
    return length


def _cut(slope: Array, slope_there: Array) -> Array:
    """Where the secant of the slopes crosses zero, as a share of the step; the shortest cut where that is no number."""
    xp = array_namespace(slope)
    down = xp.abs(slope)
    ratio = down / xp.where(slope_there > 0, down + slope_there, 2.0 * down + 1e-30)
    ratio = xp.where(ratio > SHORTEST_CUT, ratio, SHORTEST_CUT)
    return xp.where(ratio < LONGEST_CUT, ratio, LONGEST_CUT)


def _turn(walk: _Walk) -> None:
    """Replace a full basis by one of the biases, the head, the last step and the latest directions."""
    xp = array_namespace(walk.p)
    n_columns, size = int(walk.bias.shape[1]), walk.size
    identity = xp.eye(size - n_columns, dtype=walk.p.dtype, device=walk.p.device)[:, -LATEST_KEPT:]
    latest = xp.broadcast_to(identity, (walk.p.shape[0], *identity.shape))
    wanted = xp.stack([walk.place[:, n_columns:], walk.step[:, n_columns:]], axis=2)
    turned = xp.matrix_transpose(xp.linalg.qr(xp.concat([latest, wanted], axis=2))[0])
    walk.size = n_columns + int(turned.shape[1])
    for values in (walk.heads, walk.images):
        values[:, n_columns : walk.size, :] = turned @ values[:, n_columns:, :]
    for name in ("place", "step"):
        old = getattr(walk, name)
        new = xp.zeros_like(old)
        new[:, :n_columns] = old[:, :n_columns]
        new[:, n_columns : walk.size] = (turned @ old[:, n_columns:, None])[:, :, 0]
        setattr(walk, name, new)
