"""The largest eigenpairs of a symmetric operator by block Lanczos iteration.

Golub & Underwood (1977), "The block Lanczos method for computing eigenvalues"; every new block is orthogonalised
twice against all earlier ones, so that no spurious copies of eigenvalues appear. Order of steps: multiply the newest
block, project it on the basis (which gives a block column of the projected matrix), orthogonalise the rest to get the
next block, and from time to time solve the projected eigenproblem (Rayleigh-Ritz) to test the wanted values for
convergence.

Shapes: n the size of the operator, m of the basis, b of a block, k pairs wanted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host

Operator: TypeAlias = Callable[[Array], Array]
"""A symmetric linear map: (n, b) float64 to (n, b) float64."""

CHECK_GROWTH = 1.4
"""The projected problem is solved each time that the basis has grown by this factor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Eigenpairs:
    """Approximate eigenpairs, the largest first."""

    values: Array
    """(k,) float64, descending."""
    vectors: Array
    """(n, k) orthonormal columns."""
    residuals: Array
    """(k,) norms |A v - lambda v|: each value lies within this distance of an exact eigenvalue."""
    converged: bool
    """Whether every residual is within the tolerance."""
    n_products: int
    """Columns to which the operator was applied."""


def largest_eigenpairs(
    apply: Operator, like: Array, n: int, k: int, *, block: int, max_basis: int, tolerance: float
) -> Eigenpairs:
    """The k largest eigenpairs of a positive semidefinite operator.

    Small residuals certify that each value is near an eigenvalue, not that no larger one was missed: for that see
    `penult_kernels.spectra.eigen`.

    Parameters
    ----------
    apply : the operator.
    like : array
        Whose library and device are used.
    n, k : int
        Size of the operator and pairs wanted, k <= n.
    block : int
        Columns per product, b. Fewer need fewer products in all, more make each of them cheaper.
    max_basis : int
        Columns of the basis at which to stop, converged or not; at least k.
    tolerance : float
        Residuals asked for: at most tolerance * lambda_1, and at most sqrt(tolerance) * lambda, because the error of
        an eigenvalue is about the square of its residual over its distance from the others.
    """
    basis = _Basis(like, n, min(max_basis, n), block)
    check_at = min(k + block, basis.limit)
    while True:
        basis.extend(apply)
        if basis.size >= check_at:
            values, combinations, residuals = basis.ritz(k)
            if basis.full or bool(np.all(residuals <= _allowed(values, n, tolerance))):
                return _measured(apply, basis, values, combinations, tolerance)
            check_at = min(int(basis.size * CHECK_GROWTH) + 1, basis.limit)
        basis.grow()


def _measured(
    apply: Operator, basis: "_Basis", values: NDArray[np.float64], combinations: NDArray[np.float64], tolerance: float
) -> Eigenpairs:
    """The pairs with their computed residuals instead of those of the recurrence."""
    xp = array_namespace(basis.columns)
    vectors = basis.columns @ asarray_like(combinations, basis.columns)
    on_device = asarray_like(values, vectors)
    residuals = xp.linalg.vector_norm(apply(vectors) - vectors * on_device, axis=0)
    return Eigenpairs(
        values=on_device,
        vectors=vectors,
        residuals=residuals,
        converged=bool(np.all(to_host(residuals) <= _allowed(values, int(vectors.shape[0]), tolerance))),
        n_products=basis.size + len(values),
    )


def _allowed(values: NDArray[np.float64], n: int, tolerance: float) -> NDArray[np.float64]:
    """Largest residuals that count as converged, at least the rounding of a product."""
    largest = abs(values[0])
    rounding = 4 * n * np.finfo(np.float64).eps * largest
    return np.maximum(np.minimum(tolerance * largest, math.sqrt(tolerance) * np.abs(values)), rounding)


class _Basis:
    """An orthonormal basis of a block Krylov space and the operator projected on it."""

    def __init__(self, like: Array, n: int, limit: int, block: int) -> None:
        xp = array_namespace(like)
        self.limit = limit
        self.size = 0
        """Columns whose image under the operator is known."""
        self._like = like
        self._rng = np.random.default_rng(0)
        self._store = xp.empty((limit, n), dtype=xp.float64, device=like.device)
        """Columns of the basis as rows, so that those there are lie in one piece: cuBLAS would copy others first."""
        self._projected = np.zeros((limit, limit))
        self._block = block
        self._triangle = np.zeros((0, 0))
        self._rest, _ = xp.linalg.qr(self._random(n, min(block, limit)))
        """Orthonormal columns; times the triangle they are the newest image minus its part in the basis."""
        self._append(self._rest)

    @property
    def columns(self) -> Array:
        """(n, size)."""
        return self._store[: self.size, :].T

    @property
    def full(self) -> bool:
        """Whether the basis has reached its limit."""
        return self.size == self.limit

    def extend(self, apply: Operator) -> None:
        """Apply the operator to the newest block and project its image."""
        xp = array_namespace(self._store)
        newest = slice(self.size, self._end)
        image = apply(self._store[newest, :].T)
        self.size = self._end
        within = self.columns.T @ image
        rest = image - self.columns @ within
        again = self.columns.T @ rest
        self._rest, triangle = xp.linalg.qr(rest - self.columns @ again)
        # Together, so that a device is waited for once.
        found = to_host(xp.concat([within + again, triangle], axis=0))
        block, self._triangle = found[: self.size, :], found[self.size :, :]
        self._projected[: self.size, newest] = block
        self._projected[newest, : self.size] = block.T

    def ritz(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The k largest Ritz values, their combinations of the columns and the norms of their residuals."""
        values, vectors = np.linalg.eigh(self._projected[: self.size, : self.size])
        values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
        residuals = np.linalg.norm(self._triangle @ vectors[-self._triangle.shape[1] :], axis=0)
        return values, vectors, residuals

    def grow(self) -> None:
        """Append the next block: the rest of the newest image, made orthonormal."""
        width = min(self._block, self.limit - self.size)
        self._append(self._rest[:, :width])

    def _append(self, candidates: Array) -> None:
        """Append the orthonormal `candidates`, made orthogonal to the basis; random columns replace dependent ones."""
        xp = array_namespace(candidates)
        block = candidates
        while True:
            block, triangle = xp.linalg.qr(block - self.columns @ (self.columns.T @ block))
            lost = np.abs(np.diagonal(to_host(triangle))) < 0.5
            if not lost.any():
                break
            fresh = self._random(int(block.shape[0]), int(block.shape[1]))
            block = xp.where(asarray_like(lost, block)[None, :], fresh, block)
            block, _ = xp.linalg.qr(block - self.columns @ (self.columns.T @ block))
        self._end = self.size + int(block.shape[1])
        self._store[self.size : self._end, :] = block.T

    def _random(self, n: int, width: int) -> Array:
        return asarray_like(self._rng.standard_normal((n, width)), self._like)
