"""The largest eigenvalue of many covariances of the same rows at once, each with a certificate.

R replicates weigh the N rows z_i (D features) differently; replicate r asks for lambda_1 of

    Sigma_r = sum_i w_ri (z_i - m_r)(z_i - m_r)^T / W_r,    W_r = sum_i w_ri,  m_r = sum_i w_ri z_i / W_r.

Lanczos iterations (Golub & Van Loan, 4th ed., section 10.1) with full reorthogonalisation run on all
replicates in step, so that a step is two matrix products for all of them. For a unit vector v with Rayleigh
quotient theta and residual r = Sigma v - theta v there is an eigenvalue within |r| of theta, and, g being the
distance to the next one, lambda_1 - theta <= |r|^2 / g (Parlett, The Symmetric Eigenvalue Problem, 11.7). theta
itself never exceeds lambda_1.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.products import product
from penult_kernels.spectra.gram_spaces import gram_space, inner_products

TOLERANCE = 1e-7
"""Certified relative error of an eigenvalue at which its iteration stops: far below the noise of resampling."""
MOST_STEPS = 128
"""Steps of an iteration at most."""
CLOSE = 1e-8
"""The same where steps are cheap, and for replicates that leave a batch before the last is found: standard errors feel
the square root of it."""
LEAVING = 0.25
"""Share of the replicates in a batch that may leave it, at which they do."""
LOOKS_PER_DOUBLING = 8
"""Tests of the error per doubling of the number of steps; each decomposes a small matrix for every replicate."""


@dataclass(frozen=True, slots=True, eq=False)
class TopEigenvalues:
    """lambda_1 of R covariances, on the host."""

    values: NDArray[np.float64]
    """(R,) Rayleigh quotients in float64: lower bounds of lambda_1."""
    errors: NDArray[np.float64]
    """(R,) certified bound on lambda_1 - values: min(|r|, |r|^2 / gap), the gap taken from the Ritz values."""
    standard_errors: NDArray[np.float64]
    """(R,) standard error of lambda_1 by its influence function: sqrt(mean of ((v^T z)^2 - lambda_1)^2 / n), with v the
    eigenvector, z centered, n the total weight (Critchley 1985, "Influence in principal components analysis")."""


def top_eigenvalues(
    rows: Array,
    weights: Callable[[range], NDArray[np.int64] | NDArray[np.float64]],
    replicates: int,
    *,
    center: bool = True,
    start: Array,
    check: Callable[[], None] = lambda: None,
    report: Callable[[int], None] = lambda found: None,
) -> TopEigenvalues:
    """lambda_1 of every replicate.

    Batches of replicates are bounded in memory; how replicates are batched moves a value by no more than TOLERANCE
    of its size.

    Parameters
    ----------
    rows : array of shape (N, D)
        float32, of a size near 1 and, when `center`, centered near their mean: products are in float32.
    weights : callable
        From a range of replicates to their weights (R', N), not negative and of a sum of at least 1: how often each
        row was drawn, or with weights of its own that have the mean 1.
    replicates : int
        R.
    center : bool
        Covariances about the weighted mean; second moments about zero when False.
    start : array of shape (D,)
        Where every iteration begins, such as `leading_direction(rows)`.
    check : callable
        Called between steps; may raise, to stop.
    report : callable, optional
        Called now and then with the number of replicates whose eigenvalue has been found.
    """
    xp = array_namespace(rows)
    n_rows, n_features = (int(length) for length in rows.shape)
    step = max(1, budget.DEFAULT.replicates_bytes // (4 * MOST_STEPS * n_features + 20 * n_rows))
    shared = inner_products(rows, replicates)
    parts: list[TopEigenvalues] = []
    for batch in blocks(replicates, step):
        chosen = range(batch.start, batch.stop)
        drawn = weights(chosen)
        operator = _Weighted(rows, drawn, center=center)
        space = gram_space(rows, drawn, shared, center=center)

        def found(n_replicates: int, before: int = batch.start) -> None:
            report(before + n_replicates)

        if space is None:
            first = xp.broadcast_to(xp.astype(start, xp.float32), (len(chosen), n_features))
            pairs = _lanczos(operator, first, TOLERANCE, check, found)
        else:
            inside = _lanczos(space, space.start(start), CLOSE, check, found)
            pairs = _RitzPairs(vectors=space.back(inside.vectors), gaps=inside.gaps)
        parts.append(operator.certify(pairs, check))
        report(batch.stop)
    return _joined(parts)


def _joined(parts: list[TopEigenvalues]) -> TopEigenvalues:
    def join(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *arrays])

    return TopEigenvalues(
        values=join([part.values for part in parts]),
        errors=join([part.errors for part in parts]),
        standard_errors=join([part.standard_errors for part in parts]),
    )


def leading_direction(rows: Array, *, iterations: int = 6) -> Array:
    """A vector (D,) near the top eigenvector of rows^T rows: a few power iterations."""
    xp = array_namespace(rows)
    noise = np.random.default_rng(0).standard_normal(int(rows.shape[1]))
    v = xp.astype(asarray_like(noise, rows), rows.dtype)
    for _ in range(iterations):
        v = rows.T @ (rows @ v)
        length = xp.linalg.vector_norm(v)
        v = v / xp.where(length > 0, length, 1.0)
    return v


@dataclass(frozen=True, slots=True, eq=False)
class _RitzPairs:
    vectors: Array
    """(R, Q) of unit length."""
    gaps: NDArray[np.float64]
    """(R,) first less second Ritz value."""


class _Weighted:
    """v -> Sigma_r v for all replicates of a batch, in float32."""

    def __init__(self, rows: Array, weights: NDArray[np.int64] | NDArray[np.float64], *, center: bool) -> None:
        xp = array_namespace(rows)
        self._rows = rows
        self._totals = asarray_like(np.maximum(weights.sum(axis=1), 1).astype(np.float32), rows)[:, None]
        self._weights = asarray_like(weights.astype(np.float32), rows)
        mean = self._weights @ rows / self._totals
        self._mean = mean if center else xp.zeros_like(mean)
        # Norms are made by way of squares of the size of what they are of.
        tiles = blocks(int(rows.shape[0]), budget.DEFAULT.rows_of_pass(int(rows.shape[1])))
        lengths = xp.concat([xp.linalg.vector_norm(rows[tile, :], axis=1) for tile in tiles])
        rounding = (8 * float(xp.finfo(xp.float32).eps)) ** 2
        self._rounding = rounding * to_host((self._weights @ (lengths * lengths))[:, None] / self._totals)[:, 0]
        self._step = max(1, budget.DEFAULT.projections_bytes // 8 // max(1, weights.shape[0]))

    def apply(self, vectors: Array) -> Array:
        """(R, D) to (R, D)."""
        total = _zeros_like(vectors)
        for z, weights, y in self._projections(vectors, self._mean):
            weighted = weights * y
            # The weighted projections of a centered replicate sum to zero, so one side need not be centered
            # again; what rounding leaves of the sum is taken off all the same.
            total = total + product(weighted, z) - _row_sums(weighted) * self._mean
        return total / self._totals

    def kept(self, places: NDArray[np.int64]) -> "_Weighted":
        """The same for some of the replicates; only to be applied."""
        chosen, some = asarray_like(places, self._rows), copy(self)
        take = array_namespace(self._rows).take
        some._totals, some._mean = take(self._totals, chosen, axis=0), take(self._mean, chosen, axis=0)
        some._weights = take(self._weights, chosen, axis=0)
        return some

    def certify(self, pairs: _RitzPairs, check: Callable[[], None]) -> TopEigenvalues:
        """Rayleigh quotients, residuals and spreads in float64."""
        check()
        xp = array_namespace(self._rows)
        v = xp.astype(pairs.vectors, xp.float64)
        length = xp.linalg.vector_norm(v, axis=1, keepdims=True)
        # A Krylov space without variance ends in a zero vector.
        v = v / xp.where(length > 0, length, 1.0)
        mean, totals = xp.astype(self._mean, xp.float64), xp.astype(self._totals, xp.float64)
        image, fourth = _zeros_like(v), _zeros_like(totals)
        for z, weights, y in self._projections(v, mean):
            weighted = weights * y
            image = image + product(weighted, z) - _row_sums(weighted) * mean
            fourth = fourth + _row_sums(weighted * y * y * y)
        image = image / totals
        theta = _row_sums(v * image)
        residual = to_host(xp.linalg.vector_norm(image - theta * v, axis=1))
        variance = to_host(((fourth / totals - theta * theta) / totals)[:, 0])
        values = to_host(theta[:, 0])
        # lambda_1 is at least 1 / min(N, D) of the variance: a value below the rounding of the rows is zero.
        is_none = values <= self._rounding
        return TopEigenvalues(
            values=np.where(is_none, 0.0, values),
            errors=np.where(is_none, self._rounding, _error_bound(residual, pairs.gaps)),
            standard_errors=np.where(is_none, 0.0, np.sqrt(np.maximum(variance, 0.0))),
        )

    def _projections(self, vectors: Array, mean: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Blocks of rows (N', D), their weights (R, N') and projections (R, N') about the mean."""
        xp = array_namespace(vectors)
        about = _row_sums(vectors * mean)
        # Rows that are converted to float64 must not be all of them, however few the replicates are.
        is_converted = self._rows.dtype != vectors.dtype
        step = min(self._step, budget.DEFAULT.rows_of_pass(int(self._rows.shape[1]))) if is_converted else self._step
        for block in blocks(int(self._rows.shape[0]), step):
            z = xp.astype(self._rows[block, :], vectors.dtype, copy=False)
            yield z, xp.astype(self._weights[:, block], vectors.dtype, copy=False), product(vectors, z.T) - about


def _row_sums(values: Array) -> Array:
    return array_namespace(values).sum(values, axis=1, keepdims=True)


def _zeros_like(values: Array) -> Array:
    return array_namespace(values).zeros_like(values)


def _error_bound(residual: NDArray[np.float64], gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """min(|r|, |r|^2 / gap)."""
    return residual * np.minimum(1.0, residual / np.maximum(gap, np.finfo(np.float64).tiny))


class _Operator(Protocol):
    """Covariances of a batch of replicates."""

    def apply(self, vectors: Array) -> Array:
        """(R, Q) to (R, Q)."""
        ...

    def kept(self, places: NDArray[np.int64]) -> "_Operator":
        """The covariances of some of the replicates."""
        ...


def _lanczos(
    operator: _Operator, start: Array, tolerance: float, check: Callable[[], None], report: Callable[[int], None]
) -> _RitzPairs:
    """The largest Ritz pair of every replicate, each until its error bound is within `tolerance`.

    One step: apply the operator to the newest basis vector, orthogonalise the image against the last two (all that
    it has a part of in exact arithmetic) and then against all of them, normalise it to the next one. Where the
    Krylov space is exhausted zero vectors follow, which add eigenvalues 0 to the projected matrix; the operator is
    positive semidefinite, so they come last. Replicates that are found leave the batch, when they are many enough to
    be worth the copies.
    """
    xp = array_namespace(start)
    n_replicates, size = (int(length) for length in start.shape)
    most = min(MOST_STEPS, size)
    left, found = np.arange(n_replicates), _Found()
    basis = xp.zeros((n_replicates, most, size), dtype=start.dtype, device=start.device)
    projected = np.zeros((n_replicates, most, most))
    newest = _begin(start)
    for step in range(most):
        check()
        basis[:, step, :] = newest
        image = operator.apply(newest)
        scale = to_host(xp.linalg.vector_norm(image, axis=1))
        image, diagonal = _without(image, basis[:, max(0, step - 1) : step + 1, :])
        image, rest = _without(image, basis[:, : step + 1, :])
        diagonal += rest
        projected[:, step, step] = diagonal
        newest, length = _unit(image, scale)
        projected[:, step + 1 : step + 2, step] = projected[:, step, step + 1 : step + 2] = length[:, None]
        if step + 1 < most and not _is_look(step + 1):
            continue
        theta, ritz = np.linalg.eigh(projected[:, : step + 1, : step + 1])
        gaps = theta[:, -1] - (theta[:, -2] if step else 0.0)
        errors = _error_bound(length * np.abs(ritz[:, -1, -1]), gaps)
        is_found = (errors <= tolerance * theta[:, -1]) | (step + 1 == most)
        report(n_replicates - left.size + int(is_found.sum()))
        may_leave = is_found if is_found.all() else errors <= CLOSE * theta[:, -1]
        if may_leave.sum() < LEAVING * left.size:
            continue
        done, going = np.flatnonzero(may_leave), np.flatnonzero(~may_leave)
        coefficients = xp.astype(asarray_like(ritz[done, None, :, -1], start), start.dtype)
        own = xp.take(basis[:, : step + 1, :], asarray_like(done, start), axis=0)
        found.add(left[done], (coefficients @ own)[:, 0, :], gaps[done])
        if not going.size:
            return found.in_order()
        places = asarray_like(going, start)
        left, operator, projected = left[going], operator.kept(going), projected[going]
        basis, newest = xp.take(basis, places, axis=0), xp.take(newest, places, axis=0)
    raise AssertionError("the last step returns")


class _Found:
    """Ritz pairs of a batch, as they are found."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int64], Array, NDArray[np.float64]]] = []

    def add(self, places: NDArray[np.int64], vectors: Array, gaps: NDArray[np.float64]) -> None:
        self._parts.append((places, vectors, gaps))

    def in_order(self) -> _RitzPairs:
        """All of them, in the order of the batch."""
        places, vectors, gaps = zip(*self._parts, strict=True)
        order = np.argsort(np.concatenate(places))
        xp = array_namespace(vectors[0])
        every = xp.take(xp.concat(list(vectors)), asarray_like(order, vectors[0]), axis=0)
        return _RitzPairs(vectors=every, gaps=np.concatenate(gaps)[order])


def _is_look(n_steps: int) -> bool:
    """Whether the error is tested after so many steps: every second one up to 32, every fourth up to 64, ..."""
    spacing = max(2, 2 ** (n_steps - 1).bit_length() // (2 * LOOKS_PER_DOUBLING))
    return n_steps % spacing == 0


def _begin(start: Array) -> Array:
    """Unit vectors near `start` (R, Q), with a little of every direction."""
    xp = array_namespace(start)
    size = int(start.shape[1])
    noise = np.random.default_rng(0).standard_normal(size)
    noise /= np.linalg.norm(noise)
    length = xp.linalg.vector_norm(start, axis=1, keepdims=True)
    direction = start / xp.where(length > 0, length, 1.0)
    rough = direction + 1e-3 * xp.astype(asarray_like(noise, start), start.dtype)
    return rough / xp.linalg.vector_norm(rough, axis=1, keepdims=True)


def _without(image: Array, basis: Array) -> tuple[Array, NDArray[np.float64]]:
    """`image` (R, Q) less its part in the span of `basis` (R, S, Q), and its coefficients on the last vector."""
    xp = array_namespace(image)
    coefficients = basis @ image[:, :, None]
    part = (xp.matrix_transpose(coefficients) @ basis)[:, 0, :]
    return image - part, to_host(coefficients[:, -1, 0]).astype(np.float64)


def _unit(vectors: Array, scale: NDArray[np.float64]) -> tuple[Array, NDArray[np.float64]]:
    """`vectors` (R, Q) at unit length, and their lengths; zero where the length is rounding relative to `scale`."""
    xp = array_namespace(vectors)
    length = to_host(xp.linalg.vector_norm(vectors, axis=1)).astype(np.float64)
    length[length <= 10 * float(xp.finfo(vectors.dtype).eps) * scale] = 0.0
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return vectors * xp.astype(asarray_like(inverse, vectors), vectors.dtype)[:, None], length
