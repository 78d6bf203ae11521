"""Newton's method in a growing subspace, for L2 problems in the space of their rows.

In the manner of iterated subspace minimisation (Conn, Gould, Sartenaer & Toint 1996).

A problem keeps an orthonormal basis of heads V and their logits U. Every evaluation adds what the gradient has outside
the span of V, whose logits take one product with the Gram matrix, and then goes a Newton step within the span:

    (U^T H U + l2 I) d = -V^T gradient,         H the curvature of the rows where they are now.

On a quadratic this is the method of conjugate gradients. On other functions the curvature of every direction is
computed anew in each step, so that none is out of date: half as many products as L-BFGS. Biases are the first
directions. A full basis is restarted with the span of the head, the last step and the latest directions. Steps follow
the secant rule of `line_search`: no objective is computed.

Problems that differ in their l2 alone have nearly the same gradients at first. So one of them is solved roughly, and
the others branch off with its head and its basis: a product of a Gram matrix with one vector takes a third of the time
of seven, and everything else is a seventh.

Shapes: B problems, q columns, n rows, m directions, the first q of them the biases.
"""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.intercept import regularize_intercepts
from penult_kernels.linear.l2.quick_loop import Reached, SideBySide, minimize
from penult_kernels.linear.l2.row_space import RowSpace
from penult_kernels.linear.line_search import is_near_enough, secant_cut
from penult_kernels.products import on_threads

MOST_CUTS = 20
"""A step that is still too long after so many cuts is not taken."""
LEAST_DIRECTIONS = 40
"""Directions of a basis, without the biases, at the least: with fewer a solve takes longer."""
MOST_DIRECTIONS = 160
"""Directions of a basis, without the biases, at the most: more are seldom needed."""
LATEST_KEPT = 20
"""Latest directions that a basis keeps when it is restarted."""
ROUGH_GAP = 3e-3
"""A gap, nats, to which a problem is solved before others branch off."""
TAKEN = (
    "alpha",
    "bias",
    "logits",
    "p",
    "residuals",
    "curvature",
    "place",
    "moved",
    "gradient",
)
"""Arrays of a state that have a row for each problem, apart from the basis."""
SMALLEST_NEW = 1e-10
"""A part of the gradient outside the span below this fraction of its square is rounding."""


def subspace_newton(
    space: RowSpace, stop: StopRule, *, directions: int, sources: NDArray[np.int64] | None = None
) -> Reached:
    """Minimise from zero heads, the only ones with known logits; an evaluation is one product with the Gram matrix.

    `directions`, more than LATEST_KEPT + 2, limits the basis without the biases. Where there are `sources`, (B,)
    positions of problems that differ from those at 0 ... B - 1 in their l2 alone, equally many of each set, these are
    solved roughly first and all others branch off from them.
    """
    parts = space.parts()
    ends = np.cumsum([part.n_blocks for part in parts])

    def starting(place: int) -> _State:
        end = int(ends[place])
        first = end - parts[place].n_blocks
        if sources is None:
            return _at_zero(parts[place], directions)
        return _branched(parts[place], sources[first:end] - first, directions, stop)

    states = on_threads(starting, range(len(parts)))
    before = [state.size for state in states]
    reached = minimize(states[0] if len(states) == 1 else SideBySide([*states]), stop)
    if sources is not None:
        n_columns = int(space.target.shape[1])
        of_problem = np.repeat(before, [part.n_blocks for part in parts]) - n_columns
        first = np.unique(sources)
        reached.evaluations[first] += of_problem[first]
    return reached


@dataclass(slots=True, eq=False)
class _State:
    """Iterates of the problems that are still solved."""

    space: RowSpace
    alpha: Array
    """(B, q n) coefficients of the current heads."""
    bias: Array
    """(B, q)."""
    logits: Array
    """(B, q n), with bias and offset."""
    p: Array
    """(B, q n)."""
    residuals: Array
    """(B, q n) s (p - t)."""
    curvature: Array
    """(B, q, n) s p (1 - p)."""
    heads: Array
    """(B, most, q n) coefficients of V; 0 for the biases."""
    images: Array
    """(B, most, q n) U."""
    place: Array
    """(B, most) coordinates of the current head in V."""
    moved: Array
    """(B, most) coordinates of the last step in V."""
    gradient: Array
    """(B, m) coordinates of the gradient in V."""
    size: int
    """m."""

    @property
    def x(self) -> Array:
        """Coefficients and biases (B, q n + q)."""
        return array_namespace(self.alpha).concat([self.alpha, self.bias], axis=1)

    def gaps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The gaps of the space; computes the gradient and adds its new direction to V."""
        xp = array_namespace(self.p)
        p = _by_column(self, self.p)
        residuals, alpha = _by_column(self, self.residuals), _by_column(self, self.alpha)
        of_rows, of_bias = self.space.gradient(residuals, alpha, self.bias)
        in_span, square = _extend(self, _flat(of_rows))
        self.gradient = xp.concat([of_bias, in_span], axis=1)
        self.curvature = self.space.curvature(p)
        gaps = to_host(self.space.gaps(self.curvature, square, of_bias)).astype(np.float64)
        return gaps, np.zeros_like(gaps)

    def take(self, kept: NDArray[np.int64]) -> None:
        """Keep the problems at these positions only."""
        at = asarray_like(kept, self.p)
        self.space = self.space.take(kept)
        self.choose(at)

    def choose(self, at: Array) -> None:
        """Replace the problems by those at positions `at`, which may repeat."""
        xp = array_namespace(self.p)
        for name in TAKEN:
            setattr(self, name, xp.take(getattr(self, name), at, axis=0))
        for name in ("heads", "images"):
            old = getattr(self, name)
            # Memory of directions that are still to come is left untouched.
            new = xp.zeros((at.shape[0], *old.shape[1:]), dtype=old.dtype, device=old.device)
            new[:, : self.size, :] = xp.take(old[:, : self.size, :], at, axis=0)
            setattr(self, name, new)

    def step(self) -> None:
        """The Newton step in the span, cut by the secant rule."""
        xp = array_namespace(self.gradient)
        images, heads = self.images[:, : self.size, :], self.heads[:, : self.size, :]
        n_columns = int(self.bias.shape[1])
        penalty = _penalty(self.space, n_columns, self.size)
        direction, derivative = _direction(self, images, penalty)
        change = (direction[:, None, :] @ images)[:, 0, :]
        length = _descend(self, change, derivative, xp.sum(penalty * direction * direction, axis=1))[:, None]
        moved = length * direction
        self.alpha = self.alpha + (moved[:, None, :] @ heads)[:, 0, :]
        self.bias = self.bias + moved[:, :n_columns]
        self.moved = xp.concat([moved, xp.zeros_like(self.moved[:, self.size :])], axis=1)
        self.place = self.place + self.moved
        if self.size == int(self.images.shape[1]):
            _restart(self)


def _at_zero(space: RowSpace, directions: int) -> _State:
    xp = array_namespace(space.sample_weight)
    n_blocks, n_columns, n_used = (int(size) for size in space.target.shape)
    zero = xp.zeros_like(space.target)
    empty = xp.zeros((n_blocks, n_columns + directions, n_columns * n_used), dtype=zero.dtype, device=zero.device)
    images = xp.zeros_like(empty)
    for column in range(n_columns):
        images[:, column, column * n_used : (column + 1) * n_used] = space.is_fitted[:, None]
    p = space.probabilities(space.offset)
    return _State(
        space=space,
        alpha=_flat(zero),
        bias=zero[:, :, 0],
        logits=_flat(space.offset),
        p=_flat(p),
        residuals=_flat(space.residuals(p)),
        curvature=zero,
        heads=empty,
        images=images,
        place=empty[:, :, 0],
        moved=empty[:, :, 0],
        gradient=zero[:, :, 0],
        size=n_columns,
    )


def _branched(space: RowSpace, sources: NDArray[np.int64], directions: int, stop: StopRule) -> _State:
    """All problems where rough solutions of the sources have got, with the bases of these."""
    first, place = np.unique(sources, return_inverse=True)
    state = _at_zero(space.take(first), directions)
    limit = max(stop.limit, ROUGH_GAP)
    for _ in range(directions // 2):
        stop.check()
        gaps, _ = state.gaps()
        state.step()
        if bool((gaps <= limit).all()):
            break
    state.space = space
    state.choose(asarray_like(place, state.p))
    return state


def _flat(values: Array) -> Array:
    """(B, q, n) as (B, q n)."""
    return array_namespace(values).reshape(values, (values.shape[0], -1))


def _by_column(state: _State, values: Array) -> Array:
    """(B, q n) as (B, q, n)."""
    return array_namespace(values).reshape(values, state.space.target.shape)


def _extend(state: _State, gradient: Array) -> tuple[Array, Array]:
    """Add to V the part outside its span of a gradient with coefficients (B, q n).

    Returns its coordinates in V without the biases (B, m - q), and its square (B,).
    """
    xp = array_namespace(gradient)
    size, n_columns = state.size, int(state.bias.shape[1])
    heads, images = state.heads[:, n_columns:size, :], state.images[:, n_columns:size, :]
    rest, along = gradient, 0.0
    # Twice is enough for the new direction to be orthogonal to the rounding (Giraud et al. 2005).
    for _ in range(2):
        part = images @ rest[:, :, None]
        rest = rest - (xp.matrix_transpose(part) @ heads)[:, 0, :]
        along = along + part[:, :, 0]
    image = _flat(state.space.product(_by_column(state, rest)))
    square = xp.sum(rest * image, axis=1)
    whole = square + xp.sum(along * along, axis=1)
    is_new = square > SMALLEST_NEW * whole
    norm = xp.where(is_new, xp.sqrt(xp.where(is_new, square, 1.0)), 0.0)
    scale = xp.where(is_new, 1.0 / xp.where(is_new, norm, 1.0), 0.0)[:, None]
    state.heads[:, size, :] = scale * rest
    state.images[:, size, :] = scale * image
    state.size = size + 1
    return xp.concat([along, norm[:, None]], axis=1), whole


def _direction(state: _State, images: Array, penalty: Array) -> tuple[Array, Array]:
    """The Newton step in V (B, m) and the derivative along it (B,); zero where that is not negative."""
    xp = array_namespace(images)
    n_columns = int(state.bias.shape[1])
    hessian = state.space.hessian(_by_column(state, state.p), state.curvature, images)
    regular = regularize_intercepts(hessian, n_columns, penalty)
    direction = -xp.linalg.solve(regular, state.gradient[:, :, None])[:, :, 0]
    derivative = xp.sum(state.gradient * direction, axis=1)
    goes_down = derivative < 0
    return xp.where(goes_down[:, None], direction, 0.0), xp.where(goes_down, derivative, 0.0)


def _penalty(space: RowSpace, n_columns: int, size: int) -> Array:
    """(B, m) second derivative of the penalty in each direction; for a bias that is not fitted, any positive number."""
    xp = array_namespace(space.l2)
    of_bias = xp.where(space.is_fitted > 0, space.bias_stiffness, space.l2)
    return xp.stack([of_bias] * n_columns + [space.l2] * (size - n_columns), axis=1)


def _descend(state: _State, change: Array, derivative: Array, stiffness: Array) -> Array:
    """Move the logits by a length (B,) of the change (B, q n), along which the penalty has the second derivative
    (B,)."""
    xp = array_namespace(change)
    space = state.space
    # The derivative is that of the loss plus that of the penalty, which is linear in the length.
    of_penalty = derivative - xp.sum(state.residuals * change, axis=1)
    length = xp.ones_like(derivative)
    for number in range(MOST_CUTS):
        logits = state.logits + length[:, None] * change
        p = space.probabilities(_by_column(state, logits))
        residuals = _flat(space.residuals(p))
        there = xp.sum(residuals * change, axis=1) + of_penalty + length * stiffness
        is_good = is_near_enough(derivative, there)
        if bool(xp.all(is_good)):
            break
        cut = secant_cut(derivative, there) if number < MOST_CUTS - 1 else xp.zeros_like(length)
        length = xp.where(is_good, length, length * cut)
    else:
        logits = state.logits + length[:, None] * change
        p = space.probabilities(_by_column(state, logits))
        residuals = _flat(space.residuals(p))
    state.logits, state.p, state.residuals = logits, _flat(p), residuals
    return length


def _restart(state: _State) -> None:
    """Replace a full basis by one that spans the biases, the head, the last step and the latest directions."""
    xp = array_namespace(state.p)
    n_columns, size = int(state.bias.shape[1]), state.size
    identity = xp.eye(size - n_columns, dtype=state.p.dtype, device=state.p.device)[:, -LATEST_KEPT:]
    latest = xp.broadcast_to(identity, (state.p.shape[0], *identity.shape))
    wanted = xp.stack([state.place[:, n_columns:], state.moved[:, n_columns:]], axis=2)
    basis = xp.matrix_transpose(xp.linalg.qr(xp.concat([latest, wanted], axis=2))[0])
    state.size = n_columns + int(basis.shape[1])
    for values in (state.heads, state.images):
        values[:, n_columns : state.size, :] = basis @ values[:, n_columns:, :]
    for name in ("place", "moved"):
        old = getattr(state, name)
        new = xp.zeros_like(old)
        new[:, :n_columns] = old[:, :n_columns]
        new[:, n_columns : state.size] = (basis @ old[:, n_columns:, None])[:, :, 0]
        setattr(state, name, new)
