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

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.elements import new_direction, trial
from penult_kernels.linear.intercept import regularize_intercepts
from penult_kernels.linear.l2.quick_loop import Reached, SideBySide, looks, minimize
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
LEAST_LENGTH = 2.0**-8
"""On a device all lengths 1, 1/2, 1/4, ... to this one are tried at once, and no step is taken where none will do."""
TAKEN = ("alpha", "bias", "logits", "residuals", "curvature", "place", "moved", "gradient", "square", "penalty")
"""Arrays of a state that have a row for each problem, apart from the basis."""


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
    """Iterates of the problems that are still solved.

    On the host products are with the directions that there are; on a device, where a launch costs more than its
    arithmetic and a part of an array would be copied first, with all that the basis may have: the others are 0.
    """

    space: RowSpace
    alpha: Array
    """(B, q n) coefficients of the current heads."""
    bias: Array
    """(B, q)."""
    logits: Array
    """(B, q n), with bias and offset."""
    residuals: Array
    """(B, q n) s (p - t)."""
    curvature: Array
    """(B, q n) s p (1 - p), with several columns p."""
    heads: Array
    """(B, most, q n) coefficients of V; 0 for the biases."""
    images: Array
    """(B, most, q n) U."""
    place: Array
    """(B, most) coordinates of the current head in V."""
    moved: Array
    """(B, most) coordinates of the last step in V."""
    gradient: Array
    """(B, m) coordinates of the gradient in V; on a device (B, most)."""
    square: Array
    """(B,) square of its part in the weights."""
    penalty: Array
    """(B, most) second derivative of the penalty in each direction."""
    size: int
    """m."""
    lengths: Array | None = None
    """(1, K) lengths of steps to try; None on the host, where they are tried one by one."""

    @property
    def x(self) -> Array:
        """Coefficients and biases (B, q n + q)."""
        return array_namespace(self.alpha).concat([self.alpha, self.bias], axis=1)

    def used(self, values: Array) -> Array:
        """The part of values (B, most, ...) of the basis that products are with."""
        return values[:, : self.size, ...] if self.lengths is None else values

    def prepare(self) -> None:
        """Compute the gradient and add its new direction to V."""
        of_rows, of_bias = self.space.gradient(self.residuals, self.alpha, self.bias)
        self.square = _extend(self, of_rows, of_bias)

    def gaps(self) -> tuple[Array, Array | None]:
        """The gaps of the space where `prepare` was called."""
        of_bias = self.gradient[:, : int(self.bias.shape[1])]
        return self.space.gaps(self.curvature, self.square, of_bias), None

    def saw(self, gaps: NDArray[np.float64], floors: NDArray[np.float64]) -> None:
        """Nothing depends on the gaps here."""

    def take(self, kept: NDArray[np.int64]) -> None:
        """Keep the problems at these positions only."""
        self.space = self.space.take(kept)
        self.choose(asarray_like(kept, self.logits))

    def choose(self, at: Array) -> None:
        """Replace the problems by those at positions `at`, which may repeat."""
        xp = array_namespace(self.logits)
        for name in TAKEN:
            setattr(self, name, xp.take(getattr(self, name), at, axis=0))
        for name in ("heads", "images"):
            old = getattr(self, name)
            if self.lengths is not None:
                setattr(self, name, xp.take(old, at, axis=0))
                continue
            # Memory of directions that are still to come is left untouched.
            new = xp.zeros((at.shape[0], *old.shape[1:]), dtype=old.dtype, device=old.device)
            new[:, : self.size, :] = xp.take(old[:, : self.size, :], at, axis=0)
            setattr(self, name, new)

    def step(self) -> None:
        """The Newton step in the span, cut where it is too long."""
        images, heads, penalty = (self.used(one) for one in (self.images, self.heads, self.penalty))
        n_columns, m = int(self.bias.shape[1]), int(penalty.shape[1])
        direction, derivative = _direction(self, images, penalty)
        change = _combined(direction, images)
        stiffness = _inner(penalty * direction, direction)
        descend = _descend if self.lengths is None else _descend_at_once
        moved = descend(self, change, derivative, stiffness)[:, None] * direction
        self.alpha = self.alpha + _combined(moved, heads)
        self.bias = self.bias + moved[:, :n_columns]
        if m < int(self.moved.shape[1]):
            xp = array_namespace(moved)
            self.moved = xp.concat([moved, xp.zeros_like(self.moved[:, m:])], axis=1)
        else:
            self.moved = moved
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
    logits, residuals, curvature = space.moved(_flat(space.offset), _flat(zero), zero[:, 0, :1])
    penalty = space.penalty(directions)
    halvings = np.arange(1 - round(math.log2(LEAST_LENGTH)))
    lengths = None if is_numpy_array(zero) else asarray_like(0.5 ** halvings[None, :], zero)
    return _State(
        space=space,
        alpha=_flat(zero),
        bias=zero[:, :, 0],
        logits=logits,
        residuals=residuals,
        curvature=curvature,
        heads=empty,
        images=images,
        place=empty[:, :, 0],
        moved=empty[:, :, 0],
        gradient=empty[:, :, 0],
        square=zero[:, 0, 0],
        penalty=penalty,
        size=n_columns,
        lengths=None if lengths is None else xp.astype(lengths, zero.dtype),
    )


def _branched(space: RowSpace, sources: NDArray[np.int64], directions: int, stop: StopRule) -> _State:
    """All problems where rough solutions of the sources have got, with the bases of these."""
    first, place = np.unique(sources, return_inverse=True)
    state = _at_zero(space.take(first), directions)
    limit = max(stop.limit, ROUGH_GAP)
    every = looks(state.logits)
    for number in range(1, directions // 2):
        stop.check()
        state.prepare()
        is_near = number % every == 0 and bool((to_host(state.gaps()[0]) <= limit).all())
        state.step()
        if is_near:
            break
    state.space = space
    state.choose(asarray_like(place, state.logits))
    state.penalty = space.penalty(directions)
    return state


def _flat(values: Array) -> Array:
    """(B, q, n) as (B, q n)."""
    return array_namespace(values).reshape(values, (values.shape[0], -1))


def _inner(left: Array, right: Array) -> Array:
    """(B,) products of vectors (B, M), each by one launch of a device."""
    return (left[:, None, :] @ right[:, :, None])[:, 0, 0]


def _combined(coefficients: Array, vectors: Array) -> Array:
    """(B, M) sums of vectors (B, m, M) with coefficients (B, m)."""
    return (coefficients[:, None, :] @ vectors)[:, 0, :]


def _extend(state: _State, gradient: Array, of_bias: Array) -> Array:
    """Add to V the part outside its span of a gradient with coefficients (B, q n); its square (B,).

    Makes the state's gradient: its coordinates in V, those of the biases (B, q) first.
    """
    xp = array_namespace(gradient)
    size, n_columns = state.size, int(of_bias.shape[1])
    heads, images = state.used(state.heads), state.used(state.images)
    rest = gradient
    parts: list[Array] = []
    # Twice is enough for the new direction to be orthogonal to the rounding (Giraud et al. 2005).
    for _ in range(2):
        part = (images @ rest[:, :, None])[:, :, 0]
        rest = rest - _combined(part, heads)
        parts.append(part)
    along = parts[0] + parts[1]
    # Biases are no heads: nothing of the gradient in the weights lies along them.
    along[:, :n_columns] = 0.0
    image = state.space.product(rest)
    norm, scale, whole = new_direction(_inner(rest, image), _inner(along, along))
    state.heads[:, size, :] = scale[:, None] * rest
    state.images[:, size, :] = scale[:, None] * image
    state.size = size + 1
    along[:, :n_columns] = of_bias
    if state.lengths is None:
        along = xp.concat([along, norm[:, None]], axis=1)
    else:
        along[:, size] = norm
    state.gradient = along
    return whole


def _direction(state: _State, images: Array, penalty: Array) -> tuple[Array, Array]:
    """The Newton step in V (B, m), zero where it does not go down, and the derivative along it (B,)."""
    xp = array_namespace(images)
    n_columns = int(state.bias.shape[1])
    hessian = state.space.hessian(state.curvature, images)
    if n_columns == 1:
        m = int(penalty.shape[1])
        flat = xp.reshape(hessian, (-1, m * m))
        flat[:, :: m + 1] = flat[:, :: m + 1] + penalty
        hessian = xp.reshape(flat, hessian.shape)
    else:
        hessian = regularize_intercepts(hessian, n_columns, penalty)
    direction = -xp.linalg.solve(hessian, state.gradient[:, :, None])[:, :, 0]
    derivative = _inner(state.gradient, direction)
    return xp.where((derivative < 0)[:, None], direction, 0.0), derivative


def _descend(state: _State, change: Array, derivative: Array, stiffness: Array) -> Array:
    """Move the logits by a length (B,) of the change (B, q n), along which the penalty has the second derivative
    (B,)."""
    xp = array_namespace(change)
    # The derivative is that of the loss plus that of the penalty, which is linear in the length.
    of_penalty = derivative - _inner(state.residuals, change)
    length = xp.ones_like(derivative)
    for number in range(MOST_CUTS):
        there = state.space.moved(state.logits, change, length[:, None])
        derivative_there = _inner(there[1], change) + of_penalty + length * stiffness
        is_good = is_near_enough(derivative, derivative_there) | (derivative >= 0)
        if bool(xp.all(is_good)):
            break
        cut = secant_cut(derivative, derivative_there) if number < MOST_CUTS - 1 else xp.zeros_like(length)
        length = xp.where(is_good, length, length * cut)
    else:
        there = state.space.moved(state.logits, change, length[:, None])
    state.logits, state.residuals, state.curvature = there
    return length


def _descend_at_once(state: _State, change: Array, derivative: Array, stiffness: Array) -> Array:
    """As `_descend`, without a wait for the host: of all lengths the longest that ends near enough to the minimum."""
    xp = array_namespace(change)
    lengths: Array = state.lengths
    _, residuals, _ = state.space.moved(state.logits[:, None, :], change[:, None, :], lengths[:, :, None])
    products = (residuals @ change[:, :, None])[:, :, 0]
    before = _inner(state.residuals, change)
    (accepted,) = trial(products, before[:, None], derivative[:, None], stiffness[:, None], lengths)
    length = xp.max(accepted, axis=1)
    state.logits, state.residuals, state.curvature = state.space.moved(state.logits, change, length[:, None])
    return length


def _restart(state: _State) -> None:
    """Replace a full basis by one that spans the biases, the head, the last step and the latest directions."""
    xp = array_namespace(state.logits)
    n_columns, size = int(state.bias.shape[1]), state.size
    identity = xp.eye(size - n_columns, dtype=state.logits.dtype, device=state.logits.device)[:, -LATEST_KEPT:]
    latest = xp.broadcast_to(identity, (state.logits.shape[0], *identity.shape))
    wanted = xp.stack([state.place[:, n_columns:], state.moved[:, n_columns:]], axis=2)
    basis = xp.matrix_transpose(xp.linalg.qr(xp.concat([latest, wanted], axis=2))[0])
    state.size = n_columns + int(basis.shape[1])
    for values in (state.heads, state.images):
        values[:, n_columns : state.size, :] = basis @ values[:, n_columns:, :]
        values[:, state.size :, :] = 0.0
    for name in ("place", "moved"):
        old = getattr(state, name)
        new = xp.zeros_like(old)
        new[:, :n_columns] = old[:, :n_columns]
        new[:, n_columns : state.size] = (basis @ old[:, n_columns:, None])[:, :, 0]
        setattr(state, name, new)
