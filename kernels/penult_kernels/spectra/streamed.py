"""Spectra of rows that do not fit in memory, which are read in several passes.

The smallest symmetric matrix with the same non-zero eigenvalues is built when it fits: Z^T Z (D, D) in one pass, or
Z Z^T (N, N) in one pass for each panel of rows that memory holds. If neither fits, block Lanczos iteration multiplies
by Z^T Z without forming it, in one pass for each block.

Shapes: N rows, D features, P rows of a panel, Z the rows minus their mean (or not).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array
from penult_kernels.finite import check_finite
from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.moments.moments import check_correction
from penult_kernels.products import product
from penult_kernels.spectra.eigen import TOLERANCE, Method
from penult_kernels.spectra.lanczos import largest_eigenpairs
from penult_kernels.spectra.spectrum import Spectrum, kept, spectrum_of, undefined, with_rounding, with_zeros

Passes: TypeAlias = Callable[[], Iterable[Array]]
"""Starts a pass that yields all rows in the same order, any number (n, D) at a time."""

COPIES = 4
"""Matrices of the product's size that a decomposition works with."""
LARGEST_BASIS = 1024
"""Columns of a Krylov basis at which iteration without a matrix stops, converged or not."""


class TooManyEigenvaluesError(ValueError):
    """The eigenvalues asked for are too many for iteration, and their matrix does not fit in memory."""


def spectrum_from_passes(
    passes: Passes,
    n_rows: int,
    n_features: int,
    *,
    like: Array,
    memory: int,
    top_k: int = 0,
    correction: int = 0,
    center: bool = True,
) -> Spectrum:
    """Spectrum of the covariance of rows that come a block at a time.

    An answer by iteration is certified by its residuals alone. Its block has as many columns as eigenvalues are asked
    for, so that even equal ones are all found.

    Parameters
    ----------
    passes : starts a pass over the rows; each is (n, D) on the device of `like`.
    n_rows, n_features : N and D.
    like : array whose library and device are used.
    memory : bytes that may be used in addition to a block of rows.
    top_k, correction, center : as in `spectrum_from_rows`.

    Raises
    ------
    ValueError
        When a pass yields other than N rows, a row is not finite, or top_k or correction is negative.
    TooManyEigenvaluesError
        When no product fits in memory and top_k is above LARGEST_BASIS // 4, or 0.
    """
    n_kept = kept(top_k, n_features)
    check_correction(correction)
    if n_rows <= correction:
        return undefined(n_features, n_kept, like, vectors=False)
    divisor = n_rows - correction
    fits = COPIES * 8 * min(n_rows, n_features) ** 2 <= memory
    if fits and n_features <= n_rows:
        m2, mean = _inner(passes, n_rows, n_features, like, center=center)
        return with_rounding(spectrum_of(m2, n_kept, divisor, vectors=False), n_rows, mean, merged=True)
    about = _mean(passes, n_rows, n_features, like) * (1.0 if center else 0.0)
    rows = _Centered(passes, about, n_rows)
    if fits:
        panel = max(1, min(n_rows, (memory - COPIES * 8 * n_rows**2) // (8 * n_features)))
        found = spectrum_of(_outer(rows, panel), min(n_kept, n_rows), divisor, vectors=False)
        return with_zeros(with_rounding(found, n_features, about), n_kept)
    return _iterate(rows, n_kept, divisor, memory)


def _inner(passes: Passes, n_rows: int, n_features: int, like: Array, *, center: bool) -> tuple[Array, Array]:
    """Z^T Z (D, D) and the mean (D,) in one pass."""
    xp = array_namespace(like)
    accumulator: MomentAccumulator | None = None
    for block in passes():
        if accumulator is None:
            accumulator = MomentAccumulator(1, n_features, dtype=block.dtype, xp=xp, device=like.device)
        accumulator.add(block, np.zeros(block.shape[0], dtype=np.int64))
    if accumulator is None:
        raise ValueError(f"expected {n_rows} rows, got none")
    moments = accumulator.finish()
    _check_rows(int(moments.count[0]), n_rows)
    m2, mean = moments.m2[0, :, :], moments.mean[0, :]
    return (m2 if center else m2 + n_rows * mean[:, None] * mean[None, :]), mean


def _mean(passes: Passes, n_rows: int, n_features: int, like: Array) -> Array:
    """(D,) mean in float64; this pass also checks for NaN and infinity."""
    xp = array_namespace(like)
    total = xp.zeros((n_features,), dtype=xp.float64, device=like.device)
    seen = 0
    for block in passes():
        n = int(block.shape[0])
        check_finite(block, name="rows", numbers=np.arange(seen, seen + n))
        total += xp.sum(block, axis=0, dtype=xp.float64)
        seen += n
    _check_rows(seen, n_rows)
    return total / n_rows


class _Centered:
    """The rows minus their mean, in float64; iterating makes a pass over them."""

    def __init__(self, passes: Passes, about: Array, n_rows: int) -> None:
        self._passes = passes
        self.about = about
        self.n_rows = n_rows

    def __iter__(self) -> Iterator[tuple[slice, Array]]:
        xp = array_namespace(self.about)
        first = 0
        for block in self._passes():
            place = slice(first, first + int(block.shape[0]))
            yield place, xp.astype(block, xp.float64) - self.about
            first = place.stop
        _check_rows(first, self.n_rows)


def _outer(rows: _Centered, panel: int) -> Array:
    """Z Z^T (N, N): one pass for every `panel` rows, which are multiplied by themselves and all later ones."""
    xp = array_namespace(rows.about)
    n, d, device = rows.n_rows, int(rows.about.shape[0]), rows.about.device
    outer = xp.zeros((n, n), dtype=xp.float64, device=device)
    held = xp.empty((panel, d), dtype=xp.float64, device=device)
    for start in range(0, n, panel):
        stop = min(start + panel, n)
        for place, z in rows:
            if place.stop <= start:
                continue
            inside = slice(max(place.start, start), min(place.stop, stop))
            if inside.start < inside.stop:
                part = z[inside.start - place.start : inside.stop - place.start, :]
                held[inside.start - start : inside.stop - start, :] = part
            filled = min(place.stop, stop)
            later = z[max(start - place.start, 0) :, :]
            block = product(held[: filled - start, :], later.T)
            columns = slice(max(place.start, start), place.stop)
            outer[start:filled, columns] = block
            outer[columns, start:filled] = block.T
    return outer


def _iterate(rows: _Centered, n_kept: int, divisor: float, memory: int) -> Spectrum:
    """The largest eigenvalues of Z^T Z, which is never formed."""
    xp = array_namespace(rows.about)
    d = int(rows.about.shape[0])
    rank = min(rows.n_rows, d)
    if n_kept > LARGEST_BASIS // 4:
        raise TooManyEigenvaluesError(
            f"{n_kept} eigenvalues of {rows.n_rows} rows of {d} features need a matrix that does not fit in memory; "
            f"ask for top_k={LARGEST_BASIS // 4} or fewer"
        )
    trace = 0.0

    def apply(columns: Array) -> Array:
        nonlocal trace
        image, trace = xp.zeros_like(columns), 0.0
        for _, z in rows:
            image += product(z.T, product(z, columns))
            trace += float(xp.sum(z * z))
        return image

    wanted = min(n_kept, rank)
    basis = max(wanted, min(LARGEST_BASIS, rank, memory // (8 * d)))
    pairs = largest_eigenpairs(apply, rows.about, d, wanted, block=wanted, max_basis=basis, tolerance=TOLERANCE)
    found = Spectrum(
        eigenvalues=pairs.values / divisor,
        residuals=pairs.residuals / divisor,
        trace=trace / divisor,
        method=Method.LANCZOS,
        converged=pairs.converged,
    )
    rounded = with_rounding(found, max(rows.n_rows, d), rows.about)
    return replace(with_zeros(rounded, n_kept), converged=pairs.converged)


def _check_rows(got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(f"expected {expected} rows in a pass, got {got}")
