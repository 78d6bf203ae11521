"""Covariances of weighted rows by inner products of the rows: the space in which lambda_1 of replicates is cheaper.

With Z the rows, w the weights of a replicate and Sigma = Z^T diag(w) Z / W (about the mean), the matrix
sqrt(w_i) z_i^T z_j sqrt(w_j) / W has the same non-zero eigenvalues; u of it stands for v = Z^T (sqrt(w) u). About the
weighted mean it is projected off p = sqrt(w / W). A product with it takes 2 N^2 operations instead of 4 N D, and 2 m^2
where only m rows have a weight.

Shapes: N rows, D features, R replicates, m rows with a weight.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks
from penult_kernels.products import gram, product

STEPS = 16
"""Steps that an iteration takes at least, about, by which the cost of the inner products is judged."""
STEPS_OF_OWN = 32
"""The same for inner products of each replicate's own rows, which are small products."""


def inner_products(rows: Array, replicates: int) -> Array | None:
    """Inner products (N, N) of all rows, or None where products with the rows themselves are cheaper."""
    n_rows, n_features = (int(length) for length in rows.shape)
    saved = replicates * STEPS * (4 * n_features - 2 * n_rows)
    return gram(rows) if saved > n_rows * n_features else None


def own_members(weights: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64] | None:
    """(R, m) rows with a weight, padded with rows that have none; None where these are too many to look at alone."""
    used = weights != 0
    n_used, n_rows = int(used.sum(axis=1).max(initial=0)), weights.shape[1]
    is_small = 0 < 2 * n_used <= n_rows and n_used**2 <= STEPS_OF_OWN * n_rows
    if not is_small or 4 * n_used**2 * len(used) > budget.DEFAULT.replicates_bytes:
        return None
    return np.argsort(~used, axis=1, kind="stable")[:, :n_used]


@dataclass(frozen=True, slots=True, eq=False)
class GramSpace:
    """sqrt(w) Z Z^T sqrt(w) / W of every replicate, projected off p, in float32."""

    rows: Array
    members: Array | None
    """(R, m) on the device; None where all N rows take part."""
    products: Array
    """(N, N) shared; with members (R, m, m), which weights and projection are part of already."""
    roots: Array
    """(R, m) square roots of the weights over sqrt(W): the p of the replicates."""
    center: bool

    def apply(self, vectors: Array) -> Array:
        """(R, m) to (R, m)."""
        if self.members is not None:
            return (self.products @ vectors[:, :, None])[:, :, 0]
        return self._projected(self.roots * product(self.roots * self._projected(vectors), self.products))

    def kept(self, places: NDArray[np.int64]) -> "GramSpace":
        """The same for some of the replicates."""
        xp, chosen = array_namespace(self.rows), asarray_like(places, self.rows)
        roots = xp.take(self.roots, chosen, axis=0)
        if self.members is None:
            return GramSpace(self.rows, None, self.products, roots, self.center)
        members = xp.take(self.members, chosen, axis=0)
        return GramSpace(self.rows, members, xp.take(self.products, chosen, axis=0), roots, self.center)

    def start(self, direction: Array) -> Array:
        """(R, m) of a direction (D,)."""
        xp = array_namespace(self.rows)
        along = self.rows @ xp.astype(direction, self.rows.dtype)
        return self._projected(self.roots * (along if self.members is None else _taken(along, self.members)))

    def back(self, vectors: Array) -> Array:
        """(R, D), of any length: eigenvectors of the covariances."""
        xp = array_namespace(self.rows)
        weighted = self.roots * vectors
        if self.members is None:
            return product(weighted, self.rows)
        found = [
            (weighted[block, None, :] @ _taken(self.rows, self.members[block, :]))[:, 0, :]
            for block in _replicate_blocks(self.rows, self.members)
        ]
        return xp.concat(found)

    def _projected(self, vectors: Array) -> Array:
        if not self.center:
            return vectors
        return vectors - array_namespace(vectors).sum(self.roots * vectors, axis=1, keepdims=True) * self.roots


def gram_space(
    rows: Array, weights: NDArray[np.int64] | NDArray[np.float64], shared: Array | None, *, center: bool
) -> GramSpace | None:
    """The space for replicates with these weights (R, N), or None where it is not cheaper.

    `shared` are the `inner_products` of all rows, where there are any.
    """
    members = own_members(weights)
    roots = np.sqrt(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1))
    if members is None:
        if shared is None:
            return None
        return GramSpace(rows, None, shared, _float32(roots, rows), center)
    chosen = asarray_like(members, rows)
    own_roots = _float32(np.take_along_axis(roots, members, axis=1), rows)
    own = _own_products(rows, chosen, shared, own_roots, center=center)
    return GramSpace(rows, chosen, own, own_roots, center)


def _own_products(rows: Array, members: Array, shared: Array | None, roots: Array, *, center: bool) -> Array:
    """(R, m, m) inner products of each replicate's rows, weighted and projected, a few replicates at a time."""
    xp = array_namespace(rows)
    n_replicates, m = (int(length) for length in members.shape)
    found = xp.empty((n_replicates, m, m), dtype=rows.dtype, device=rows.device)
    for block in _replicate_blocks(rows, members):
        chosen, p = members[block, :], roots[block, :]
        if shared is None:
            own = _taken(rows, chosen)
            each = own @ xp.matrix_transpose(own)
        else:
            places = chosen[:, :, None] * int(rows.shape[0]) + chosen[:, None, :]
            each = _taken(xp.reshape(shared, (-1,)), places)
        each = each * (p[:, :, None] * p[:, None, :])
        if center:
            along = (each @ p[:, :, None])[:, :, 0]
            half = along - 0.5 * xp.sum(along * p, axis=1, keepdims=True) * p
            each = each - half[:, :, None] * p[:, None, :] - p[:, :, None] * half[:, None, :]
        found[block, :, :] = each
    return found


def _replicate_blocks(rows: Array, members: Array) -> Iterator[slice]:
    """Slices of replicates of which the own rows, or their products, fit into a block."""
    n_replicates, m = (int(length) for length in members.shape)
    step = budget.DEFAULT.product_rows_bytes // (8 * m * max(m, int(rows.shape[1])))
    return blocks(n_replicates, max(1, step))


def _taken(values: Array, places: Array) -> Array:
    """values[places]: (..., D) of `values` (N, D), or (...) of `values` (N,)."""
    xp = array_namespace(values)
    return xp.reshape(xp.take(values, xp.reshape(places, (-1,)), axis=0), (*places.shape, *values.shape[1:]))


def _float32(values: NDArray[np.float64], like: Array) -> Array:
    return asarray_like(values.astype(np.float32), like)
