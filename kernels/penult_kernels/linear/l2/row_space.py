"""L2 problems with fewer rows than features: heads are combinations of rows, and one Gram matrix serves them all.

With Z (n, D) the rows of a problem in the space solved and G = Z Z^T, V = a Z has logits G a, and the gradient
r Z + l2 V has the coefficients r + l2 a: an evaluation is one product with G, n n instead of 2 n D. Sets of rows of
one size are stacked, each with the same number of problems, and G of all their rows together is made once where
they overlap. With a free bias, columns are centered first: the bias absorbs the shift.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.blocks.scaling import tiles_of
from penult_kernels.linear.elements import binary_step, gap, two_products
from penult_kernels.linear.intercept import TINY_CURVATURE
from penult_kernels.linear.problem import Intercept
from penult_kernels.products import gram, n_threads, on_threads, product

LARGEST_CURVATURE = 0.25
"""The second derivative of a mean loss in a bias is at most this."""
EVEN = 4
"""Vectors of a product are padded to a multiple: the BLAS takes longer for seven than for eight."""
WORTH_LEAVING = 0.75
"""Solved problems are removed once at most this fraction remains: removal copies the bases of those that remain."""

WORTH_A_THREAD = 2**14
"""Logits of a part of the problems at least that a thread takes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowUnion:
    """The union of sets of equally many rows, in the space solved."""

    z: Array
    """(U, D) float64, centered for blocks with a free bias."""
    mean: Array
    """(D,) mean that was subtracted; zero if the rows are not centered."""
    places: list[NDArray[np.int64]]
    """(n,) positions of each set's rows in the union."""

    def combined(self, coefficients: Array) -> Array:
        """Sums (S P, D) of the rows of S sets with coefficients (S, P, n)."""
        xp = array_namespace(coefficients)
        n_sets, n_problems, n_used = coefficients.shape
        # Rows of the union outside a set take the zero at the end.
        index = np.full((n_sets, int(self.z.shape[0])), n_used, np.int64)
        for of_set, own in zip(index, self.places, strict=True):
            of_set[own] = np.arange(n_used)
        padded = xp.concat([coefficients, xp.zeros_like(coefficients[:, :, :1])], axis=2)
        at = xp.broadcast_to(asarray_like(index, coefficients)[:, None, :], (n_sets, n_problems, index.shape[1]))
        spread = xp.take_along_axis(padded, at, axis=2)
        return product(xp.reshape(spread, (n_sets * n_problems, index.shape[1])), self.z)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowSpace:
    """S sets of n rows with P problems each, B = S P of q columns.

    Vectors are coefficients (B, q, n) made flat, and biases (B, q) behind them: (B, q n + q).
    """

    rows: RowUnion
    """The union of the rows of all sets, also when only some of the problems are left."""
    gram: Array
    """(S, n, n)."""
    sample_weight: Array
    """(B, n): s, which sums to 1."""
    target: Array
    """(B, q, n)."""
    offset: Array
    """(B, q, n)."""
    l2: Array
    """(B,)."""
    is_fitted: Array
    """(B,) 1.0 where there is an intercept."""
    bias_stiffness: Array
    """(B,) second derivative of the penalty in a bias."""

    @property
    def n_blocks(self) -> int:
        """B."""
        return int(self.l2.shape[0])

    def parts(self) -> list["RowSpace"]:
        """Spaces of some of the sets each, in order, that are worth a thread of their own; one without threads."""
        n_sets = int(self.gram.shape[0])
        n_parts = min(n_sets, math.prod(self.target.shape) // WORTH_A_THREAD) if n_threads() > 1 else 1
        if n_parts < 2 or not is_numpy_array(self.gram):
            return [self]
        ends = [n_sets * place // n_parts for place in range(n_parts + 1)]
        per_set = self.n_blocks // n_sets
        return [
            replace(
                self.take(np.arange(first * per_set, end * per_set)),
                gram=self.gram[first:end],
                rows=replace(self.rows, places=self.rows.places[first:end]),
            )
            for first, end in pairwise(ends)
        ]

    def moved(self, logits: Array, change: Array, length: Array) -> tuple[Array, Array, Array]:
        """Logits + length * change, and there the gradient s (p - t) of the mean loss and what `hessian` needs.

        Logits and change (B, ..., q n), lengths (B, ..., 1). The last is s p (1 - p), or with several columns p.
        """
        xp = array_namespace(logits)
        n_columns = int(self.target.shape[1])
        shape = (self.n_blocks,) + (1,) * (logits.ndim - 2)
        weight = xp.reshape(self.sample_weight, (*shape, -1))
        if n_columns == 1:
            return binary_step(logits, change, length, weight, xp.reshape(self.target, (*shape, -1)))
        there = logits + length * change
        by_column = xp.reshape(there, (*there.shape[:-1], n_columns, -1))
        shifted = xp.exp(by_column - xp.max(by_column, axis=-2, keepdims=True))
        p = shifted / xp.sum(shifted, axis=-2, keepdims=True)
        residual = weight[..., None, :] * (p - xp.reshape(self.target, (*shape, n_columns, -1)))
        return there, xp.reshape(residual, there.shape), xp.reshape(p, there.shape)

    def gradient(self, residuals: Array, alpha: Array, bias: Array) -> tuple[Array, Array]:
        """Coefficients (B, q n) of the gradient in the weights, and the gradient in the biases (B, q)."""
        xp = array_namespace(residuals)
        by_column = xp.reshape(residuals, self.target.shape)
        of_loss = xp.sum(by_column, axis=2)
        (of_bias,) = two_products(of_loss, self.is_fitted[:, None], self.bias_stiffness[:, None], bias)
        return residuals + self.l2[:, None] * alpha, of_bias

    def gaps(self, curvature: Array, of_weights: Array, of_bias: Array) -> Array:
        """|gradient|^2 / (2 l2) (B,), from the squared gradient in the weights (B,); a free bias by its curvature."""
        xp = array_namespace(curvature)
        if self.target.shape[1] == 1:
            own, norm = xp.sum(curvature, axis=1), of_bias[:, 0]
        else:
            p = xp.reshape(curvature, self.target.shape)
            own = xp.mean(xp.sum(self.sample_weight[:, None, :] * p * (1.0 - p), axis=2), axis=1)
            norm = xp.sqrt(xp.sum(of_bias * of_bias, axis=1))
        return gap(of_weights, norm, own, self.l2, self.bias_stiffness)[0]

    def hessian(self, curvature: Array, changes: Array) -> Array:
        """The Hessian (B, m, m) of the mean loss in m changes of the logits (B, m, q n), by what `moved` gives."""
        xp = array_namespace(curvature)
        if self.target.shape[1] == 1:
            # One array from both sides: NumPy computes half of such a product.
            weighted = xp.sqrt(curvature)[:, None, :] * changes
            return weighted @ xp.matrix_transpose(weighted)
        p = xp.reshape(curvature, self.target.shape)[:, None, :, :]
        by_column = xp.reshape(changes, (*changes.shape[:2], *self.target.shape[1:]))
        weighted = self.sample_weight[:, None, None, :] * (p * by_column)
        weighted = weighted - p * xp.sum(weighted, axis=2, keepdims=True)
        return xp.reshape(weighted, changes.shape) @ xp.matrix_transpose(changes)

    def kept(self, active: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Problems to keep: all sets with an active problem, and in each the positions active in any set; or all."""
        n_sets = int(self.gram.shape[0])
        grid = active.reshape(n_sets, -1)
        stays: NDArray[np.bool_] = np.logical_and.outer(np.any(grid, axis=1), np.any(grid, axis=0))
        n_staying = np.count_nonzero(stays)
        return np.flatnonzero(stays) if n_staying <= WORTH_LEAVING * stays.size else np.arange(stays.size)

    def take(self, kept: NDArray[np.int64]) -> "RowSpace":
        """The space of the problems that `kept` chose."""
        xp = array_namespace(self.sample_weight)
        n_sets = int(self.gram.shape[0])
        sets = np.unique(kept // (int(self.sample_weight.shape[0]) // n_sets))
        gram = self.gram if sets.size == n_sets else xp.take(self.gram, asarray_like(sets, self.gram), axis=0)
        at = asarray_like(kept, self.sample_weight)
        names = ("sample_weight", "target", "offset", "l2", "is_fitted", "bias_stiffness")
        return replace(self, gram=gram, **{name: xp.take(getattr(self, name), at, axis=0) for name in names})

    def theta(self, x: Array) -> Array:
        """Heads (B, q, D + 1) in float64, from vectors (B, q n + q) of all problems."""
        xp = array_namespace(x)
        x = xp.astype(x, xp.float64, copy=False)
        n_columns, n_used = (int(size) for size in self.target.shape[1:])
        coefficients = xp.reshape(x[:, : n_columns * n_used], (len(self.rows.places), -1, n_used))
        weight = self.rows.combined(coefficients)
        bias = xp.reshape(x[:, n_columns * n_used :], (-1,)) - weight @ self.rows.mean
        return xp.reshape(xp.concat([weight, bias[:, None]], axis=1), (x.shape[0], n_columns, -1))

    def penalty(self, directions: int) -> Array:
        """(B, q + directions) second derivative of the penalty in each bias and each normalised direction.

        Any positive number for a bias that is not fitted; rounding is added for one that is not penalised, so that
        Hessians stay invertible where all probabilities have saturated.
        """
        xp = array_namespace(self.l2)
        of_bias = xp.where(self.is_fitted > 0, self.bias_stiffness, self.l2)
        of_bias = of_bias + (xp.finfo(of_bias.dtype).eps * LARGEST_CURVATURE + TINY_CURVATURE)
        n_columns = int(self.target.shape[1])
        parts = [(of_bias, n_columns), (self.l2, directions)]
        return xp.concat([xp.broadcast_to(one[:, None], (self.n_blocks, n)) for one, n in parts], axis=1)

    def product(self, vectors: Array) -> Array:
        """Each vector (B, q n) times its set's Gram matrix."""
        xp = array_namespace(vectors)
        n_sets, n_used, _ = (int(size) for size in self.gram.shape)
        stacked = xp.reshape(vectors, (n_sets, -1, n_used))
        number = int(stacked.shape[1])
        missing = -number % EVEN if number > 1 and is_numpy_array(vectors) else 0
        if missing:
            stacked = xp.concat([stacked, xp.zeros_like(stacked[:, :missing, :])], axis=1)
        # From the left: what lies in rows needs no copy. Gram matrices are symmetric.
        return xp.reshape((stacked @ self.gram)[:, :number, :], vectors.shape)


def make_row_space(features: Array, members: Sequence[Sequence[Block]], *, is_float32: bool) -> RowSpace:
    """The space of problems over sets of rows, all of one size and scaling and with equally many problems."""
    xp = array_namespace(features)
    dtype = xp.float32 if is_float32 else xp.float64
    flat = [block for own in members for block in own]
    rows = _rows(features, [own[0] for own in members])
    z = xp.astype(rows.z, dtype, copy=False)
    whole = gram(z)

    def numbers(values: Sequence[float]) -> Array:
        return xp.astype(asarray_like(np.asarray(values, np.float64), rows.z), dtype, copy=False)

    def of_rows(values: Sequence[NDArray[np.float64]]) -> Array:
        return xp.astype(asarray_like(np.ascontiguousarray(np.stack(values)), rows.z), dtype, copy=False)

    return RowSpace(
        rows=rows,
        gram=_cut(whole, rows.places),
        sample_weight=of_rows([block.sample_weight() for block in flat]),
        target=of_rows([block.target().T for block in flat]),
        offset=of_rows([block.offset().T for block in flat]),
        l2=numbers([block.l2 for block in flat]),
        is_fitted=numbers([float(block.intercept is not Intercept.NONE) for block in flat]),
        bias_stiffness=numbers([block.l2 * block.bias_penalty**2 for block in flat]),
    )


def _cut(whole: Array, places: Sequence[NDArray[np.int64]]) -> Array:
    """(S, n, n) of a Gram matrix (U, U): that of each set of rows."""
    xp = array_namespace(whole)
    if not is_numpy_array(whole):
        at = [asarray_like(own, whole) for own in places]
        return xp.stack([xp.take(xp.take(whole, own, axis=0), own, axis=1) for own in at])
    found = np.empty((len(places), places[0].size, places[0].size), whole.dtype)

    def cut(place: int) -> None:
        own = places[place]
        whole.take(own, axis=0).take(own, axis=1, out=found[place], mode="clip")

    on_threads(cut, range(len(places)))
    return found


def _rows(features: Array, sets: Sequence[Block]) -> RowUnion:
    """The union of the rows of sets, given by one block of each."""
    xp = array_namespace(features)
    scaling, used = sets[0].scaling, union(sets)
    z = xp.concat([(part - scaling.mean) / scaling.scale for _, part in tiles_of(features, used)], axis=0)
    is_centered = sets[0].intercept is Intercept.FREE
    mean = xp.mean(z, axis=0) if is_centered else xp.zeros_like(z[0, :])
    places = [np.searchsorted(used, block.used()) for block in sets]
    return RowUnion(z=z - mean if is_centered else z, mean=mean, places=places)
