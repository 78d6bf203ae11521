"""Spectrum of a weighted covariance, such as the error spectrum of a head.

    m = sum_i s_i z_i,    S = sum_i s_i (z_i - m)(z_i - m)^T,    s the weights scaled to sum 1

With weights that grow with a head's errors, the eigenvectors of S are the directions in which the rows that it gets
wrong vary most (LEIA, later MARLA: Gourabathina et al. 2026, arXiv 2602.06924).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks
from penult_kernels.finite import are_weights
from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.resampling import Resample, bootstrap_counts
from penult_kernels.spectra.spectrum import Spectrum, as_rows, spectrum_from_moments, spectrum_from_rows
from penult_kernels.spectra.top_eigenvalue import leading_direction, top_eigenvalues


def weighted_spectrum(
    rows: Array | ArrayRows, weight: NDArray[np.float64], *, top_k: int = 0, vectors: bool = False
) -> Spectrum:
    """Spectrum of the covariance of weighted rows, with the divisor sum of the weights.

    Parameters
    ----------
    rows : array of shape (N, D), or such rows of an array
        Any real floating type; products are taken in float64.
    weight : host array of shape (N,)
        At least 0, in proportion; rows of weight 0 do not count.
    top_k : int
        Eigenvalues kept, the largest; 0 for all.
    vectors : bool
        Return the eigenvectors too.

    Raises
    ------
    ValueError
        When the weights are not one for each row, at least 0 and of a finite positive sum.
    """
    source = as_rows(rows)
    n_rows, n_features = source.shape
    if weight.shape != (n_rows,) or not are_weights(weight):
        raise ValueError(f"weight must be {n_rows} numbers of at least 0 with a finite positive sum")
    used = np.flatnonzero(weight)
    share = weight / weight.sum()
    if used.size < n_features:
        part = source.some(used)
        # The divisor of rows is their number.
        roots = asarray_like(np.sqrt(share[used] * used.size)[:, None], source.features)
        scaled = _Scaled(part.features, part.positions, _weighted_mean(part, share[used]), roots)
        return spectrum_from_rows(scaled, top_k=top_k, center=False, vectors=vectors)
    like = source.features
    sums = MomentAccumulator(1, n_features, dtype=like.dtype, xp=array_namespace(like), device=like.device)
    for tile in blocks(n_rows, budget.DEFAULT.rows_of_pass(n_features)):
        sums.add(source.block(tile), np.zeros(tile.stop - tile.start, np.int64), share[tile])
    moments = sums.finish()
    found = moments.m2[0, :, :]
    return spectrum_from_moments(found, 1.0, mean=moments.mean[0, :], top_k=top_k, vectors=vectors)


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled(ArrayRows):
    """(z_i - m) r_i in float64, made when they are read."""

    mean: Array = None
    """(D,)"""
    roots: Array = None
    """(N, 1)"""

    def block(self, rows: slice) -> Array:
        """(n, D) rows start .. stop - 1."""
        # Without `super()`, which a class with slots that a decorator makes anew does not know.
        return (_float64(ArrayRows.block(self, rows)) - self.mean) * self.roots[rows, :]

    def columns(self, part: slice) -> Array:
        """(N, n) features start .. stop - 1 of all rows."""
        return (_float64(ArrayRows.columns(self, part)) - self.mean[part]) * self.roots


def _float64(values: Array) -> Array:
    xp = array_namespace(values)
    return xp.astype(values, xp.float64)


def _weighted_mean(rows: ArrayRows, share: NDArray[np.float64]) -> Array:
    """(D,) sum of the rows, each times its share."""
    xp = array_namespace(rows.features)
    total = xp.zeros((rows.shape[1],), dtype=xp.float64, device=rows.features.device)
    for tile in blocks(rows.shape[0], budget.DEFAULT.rows_of_pass(rows.shape[1])):
        total += xp.sum(asarray_like(share[tile][:, None], total) * _float64(rows.block(tile)), axis=0)
    return total


def _unit_residuals(rows: ArrayRows, mean: Array) -> Array:
    """(N, D) rows less their mean, scaled to at most 1, in float32."""
    xp = array_namespace(mean)
    tiles, size = list(blocks(rows.shape[0], budget.DEFAULT.rows_of_pass(rows.shape[1]))), 0.0
    for tile in tiles:
        size = max(size, float(xp.max(xp.abs(_float64(rows.block(tile)) - mean))))
    found = xp.empty(rows.shape, dtype=xp.float32, device=mean.device)
    for tile in tiles:
        found[tile, :] = xp.astype((_float64(rows.block(tile)) - mean) / (size if size > 0 else 1.0), xp.float32)
    return found


def largest_interval(
    rows: Array | ArrayRows,
    weight: NDArray[np.float64],
    *,
    replicates: int,
    confidence: float = 0.95,
    seed: int = 0,
    stream: int = 0,
    check: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[float, float]:
    """Ends of an interval for the largest eigenvalue of the covariance of weighted rows, as factors of it.

    Rows are drawn with replacement, each with its weight. Drawn rows repeat, which biases lambda_1 upward, so that only
    the spread of log lambda_1 about the median of the R replicates is used (the basic bootstrap of the logarithm,
    Davison & Hinkley 1997, section 5.2): with q the quantiles of log lambda*_1 - median, the ends are
    exp(-q_high) and exp(-q_low).

    Returns
    -------
    (low, high)
        NaN without replicates, and with fewer than two rows of positive weight.
    """
    used = np.flatnonzero(weight)
    if not replicates or used.size < 2:
        return math.nan, math.nan
    share = weight[used] / weight[used].sum()
    part = as_rows(rows).some(used)
    residuals = _unit_residuals(part, _weighted_mean(part, share))
    drawn = (stream, Resample.BOOTSTRAP_MAJORITY)
    found = top_eigenvalues(
        residuals,
        lambda chosen: bootstrap_counts(used.size, chosen, seed=seed, stream=drawn) * (used.size * share),
        replicates,
        start=leading_direction(residuals),
        check=check,
        report=lambda done: report(done, replicates),
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logs = np.log(np.maximum(found.values, 0.0))
        spread = logs - np.median(logs)
        if np.isnan(spread).any():
            return math.nan, math.nan
        tail = (1 - confidence) / 2
        low, high = np.quantile(spread, [tail, 1 - tail], method="inverted_cdf")
        return float(np.exp(-high)), float(np.exp(-low))
