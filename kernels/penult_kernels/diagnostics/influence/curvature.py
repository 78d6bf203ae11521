"""The Hessian of one convex block at its optimum, and its inverse factor."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, blocks, fits_float32, to_host
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.blocks.scaling import tiles_of
from penult_kernels.linear.problem import Intercept
from penult_kernels.loss import probabilities
from penult_kernels.products import gram, product

MOST_UNKNOWNS = 8192
"""Weights and biases of a block at most: its Hessian is dense (512 MiB)."""
STRIPS = 4
"""Into how many a triangular factor is cut for a product: of the multiplications by zeros a quarter is left."""
SMALL_TRIANGLE = 128
"""Up to this size a triangular factor is inverted by one solve."""
ZERO = 1e-9
"""A weight below this fraction of the largest is one that an l1 has set to zero, up to rounding."""


class FlatError(ValueError):
    """The objective has directions without curvature, or too many unknowns: one Newton step says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """The unknowns of a block that a removed row moves: m of [V, c] for each of its q columns, and their rows."""

    block: Block
    columns: NDArray[np.int64]
    """Features that are not constant and, with an l1, whose weight is not zero: the active set."""
    has_bias: bool
    theta: Array
    """(q, m) at the optimum, less the center."""

    @property
    def size(self) -> int:
        """m."""
        return self.columns.size + self.has_bias

    def tiles(self, features: Array, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[slice, Array]]:
        """(t, m) rows as they are solved with a column of ones for the bias, float64, a tile at a time.

        Of all rows of the block, in their order; or of those at some positions."""
        take, scaling = array_namespace(features).take, self.block.scaling
        at = asarray_like(self.columns, features)
        mean, factor = take(scaling.mean, at, axis=0), 1.0 / take(scaling.scale, at, axis=0)
        whole, used = self.columns.size == int(features.shape[1]), self.block.rows if rows is None else rows
        for tile, x in tiles_of(features, used, columns=None if whole else self.columns):
            xp = array_namespace(x)
            z = (x - mean) * factor
            if self.has_bias:
                z = xp.concat([z, xp.ones((z.shape[0], 1), dtype=z.dtype, device=z.device)], axis=1)
            yield tile, z

    def raised(self, moves: Array, n_features: int) -> tuple[Array, Array]:
        """(R, q, D) and (R, q): how a head on raw features moves with moves (R, q, m) of these unknowns."""
        xp, scaling = array_namespace(moves), self.block.scaling
        at = asarray_like(self.columns, moves)
        weight = moves[:, :, : self.columns.size] / xp.take(scaling.scale, at, axis=0)
        bias = -xp.sum(weight * xp.take(scaling.mean, at, axis=0), axis=2)
        if self.has_bias:
            bias = bias + moves[:, :, -1]
        if self.columns.size < n_features:
            place = np.full(n_features, self.columns.size, np.int64)
            place[self.columns] = np.arange(self.columns.size)
            nothing = xp.zeros((*weight.shape[:2], 1), dtype=weight.dtype, device=weight.device)
            weight = xp.take(xp.concat([weight, nothing], axis=2), asarray_like(place, moves), axis=2)
        return weight, bias

    def lowered(self, gradients: Array) -> Array:
        """(T, q, m) derivatives by these unknowns of derivatives (T, q, D + 1) by a head on raw features."""
        xp, scaling = array_namespace(gradients), self.block.scaling
        at = asarray_like(self.columns, gradients)
        mean, scale = xp.take(scaling.mean, at, axis=0), xp.take(scaling.scale, at, axis=0)
        weight, bias = xp.take(gradients[:, :, :-1], at, axis=2), gradients[:, :, -1:]
        moved = (weight - mean * bias) / scale
        return xp.concat([moved, bias], axis=2) if self.has_bias else moved

    @property
    def penalty(self) -> NDArray[np.float64]:
        """(m,) second derivative of the penalty by each unknown of a column."""
        own = np.full(self.size, self.block.l2)
        if self.has_bias:
            own[-1] *= self.block.bias_penalty**2
        return own

    def penalty_gradient(self) -> Array:
        """(q, m) derivative of the penalty at the optimum."""
        xp = array_namespace(self.theta)
        first = np.full(self.size, self.block.l1)
        if self.has_bias:
            first[-1] *= self.block.bias_penalty
        second = asarray_like(self.penalty, self.theta)
        return self.theta * second + xp.sign(self.theta) * asarray_like(first, self.theta)


def space_of(block: Block) -> Space:
    """The space of a block whose `start` is its optimum. Raises FlatError where it is too large."""
    assert block.start is not None
    theta = to_host(block.start)
    is_varying = np.isfinite(to_host(block.scaling.scale))
    largest = float(np.abs(theta[:, :-1]).max(initial=0.0))
    is_active = np.abs(theta) > ZERO * largest if block.l1 > 0 else np.ones(theta.shape, np.bool_)
    if block.l1 > 0 and block.n_columns > 1:
        raise FlatError(
            "a softmax of three classes or more with an l1 has an active set for each class: use link='ovr'"
        )
    columns = np.flatnonzero(is_varying & is_active[0, :-1])
    is_free = block.intercept is Intercept.FREE or bool(is_active[0, -1])
    has_bias = block.intercept is not Intercept.NONE and is_free
    if block.n_columns * (columns.size + has_bias) > MOST_UNKNOWNS:
        raise FlatError(
            f"a head of {block.n_columns * (columns.size + has_bias):,} unknowns has too large a Hessian, at most "
            f"{MOST_UNKNOWNS:,}: use features of fewer columns, or link='ovr'"
        )
    kept = [*columns.tolist(), *([theta.shape[1] - 1] if has_bias else [])]
    chosen = asarray_like(np.ascontiguousarray(theta[:, kept]), block.start)
    return Space(block=block, columns=columns, has_bias=has_bias, theta=chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curvature:
    """The inverse of H = sum_i s_i S_i (x) z_i z_i^T + penalty at the optimum, S_i the loss's Hessian in the logits."""

    space: Space
    p: Array
    """(n, q) probabilities of the rows."""
    inverse_factor: Array
    """(q m, q m) lower triangular L^-1, H = L L^T."""
    in_float32: bool
    """Whether leverages are multiplied in float32, which holds the features: six digits, for they are sums of squares,
    where a product with H^-1 itself would lose as many as the condition number of H has."""

    def solve(self, right: Array) -> Array:
        """(T, q, m) H^-1 times each of T right sides."""
        xp, factor = array_namespace(right), self.inverse_factor
        flat = xp.reshape(right, (right.shape[0], -1))
        return xp.reshape(product(product(flat, factor.T), factor), right.shape)

    def between(self, z: Array) -> Array:
        """(t, q, q) (I (x) z)^T H^-1 (I (x) z) of each row (t, m)."""
        xp, m = array_namespace(z), self.space.size
        q, kind = int(self.p.shape[1]), xp.float32 if self.in_float32 else xp.float64
        rows, factor = xp.astype(z, kind, copy=False), xp.astype(self.inverse_factor, kind, copy=False)
        images = xp.stack([_image(rows, factor[:, c * m : (c + 1) * m], c * m) for c in range(q)], axis=1)
        return xp.astype(xp.matmul(images, xp.permute_dims(images, (0, 2, 1))), xp.float64)


def _image(z: Array, columns: Array, first: int) -> Array:
    """(t, q m) z times some columns of the factor, transposed, by strips: above the diagonal the factor is zero."""
    xp, m, parts = array_namespace(z), int(z.shape[1]), list[Array]()
    for strip in blocks(int(columns.shape[0]), max(1, -(-m // STRIPS))):
        used = min(max(strip.stop - first, 0), m)
        parts.append(product(z[:, :used], columns[strip, :used].T))
    return xp.concat(parts, axis=1)


def curvature_of(features: Array, block: Block, check: Callable[[], None] = lambda: None) -> Curvature:
    """The curvature of a block whose `start` is its optimum, in one pass over its rows. Raises FlatError."""
    space = space_of(block)
    xp, m, q = array_namespace(features), space.size, block.n_columns
    if m == 0:
        raise FlatError("the head has no weight that is not zero, so that no row moves it: use a smaller l1")
    s, offset = block.sample_weight(), block.offset()
    parts: list[Array] = []
    total: dict[tuple[int, int], Array] = {}
    for tile, z in space.tiles(features):
        check()
        p = probabilities((z @ space.theta.T + asarray_like(offset[tile], z))[:, None, :])[:, 0, :]
        weights = asarray_like(s[tile], z)
        for a in range(q):
            for b in range(a + 1):
                total[a, b] = _product(z, weights, p, a, b) + total.get((a, b), 0.0)
        parts.append(p)
    rows = [xp.concat([total[a, b] if b <= a else total[b, a].T for b in range(q)], axis=1) for a in range(q)]
    hessian = xp.concat(rows, axis=0) + asarray_like(_on_top(space, q, s.size), features)
    return Curvature(
        space=space,
        p=xp.concat(parts, axis=0),
        inverse_factor=_inverse_factor(hessian),
        in_float32=fits_float32(features),
    )


def _product(z: Array, s: Array, p: Array, a: int, b: int) -> Array:
    """(m, m) sum_i s_i S_i[a, b] z_i z_i^T."""
    xp = array_namespace(z)
    if a != b:
        return -product((z * (s * p[:, a] * p[:, b])[:, None]).T, z)
    half = z * xp.sqrt(s * p[:, a] * (1.0 - p[:, a]))[:, None]
    return gram(half.T)


def _on_top(space: Space, q: int, n: int) -> NDArray[np.float64]:
    """(q m, q m) the penalty's Hessian; and where equal biases change no loss, a curvature in that direction."""
    found = np.diag(np.tile(space.penalty, q))
    if q > 1 and space.has_bias and space.block.bias_penalty == 0:
        at = np.arange(q) * space.size + space.size - 1
        found[np.ix_(at, at)] += 1.0 / q
    return found


def _inverse_factor(hessian: Array) -> Array:
    xp = array_namespace(hessian)
    try:
        factor = xp.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        factor = None
    if factor is None or not bool(xp.all(xp.isfinite(factor))):
        raise FlatError("the loss is flat in some direction, so that no Newton step is defined: use an l2")
    return _inverse_of_triangle(factor)


def _inverse_of_triangle(factor: Array) -> Array:
    """L^-1 of a lower triangle by halves: [[A, 0], [B, C]]^-1 = [[A^-1, 0], [-C^-1 B A^-1, C^-1]]."""
    xp, n = array_namespace(factor), int(factor.shape[0])
    if n <= SMALL_TRIANGLE:
        return xp.linalg.solve(factor, xp.eye(n, dtype=factor.dtype, device=factor.device))
    at = n // 2
    above, below = _inverse_of_triangle(factor[:at, :at]), _inverse_of_triangle(factor[at:, at:])
    corner = -product(product(below, factor[at:, :at]), above)
    nothing = xp.zeros((at, n - at), dtype=factor.dtype, device=factor.device)
    return xp.concat([xp.concat([above, nothing], axis=1), xp.concat([corner, below], axis=1)], axis=0)


def logit_hessians(p: Array) -> Array:
    """(t, q, q) Hessian of each row's loss in its logits."""
    xp = array_namespace(p)
    if p.shape[1] == 1:
        return (p * (1.0 - p))[:, :, None]
    identity = xp.eye(p.shape[1], dtype=p.dtype, device=p.device)
    return p[:, :, None] * identity - p[:, :, None] * p[:, None, :]
