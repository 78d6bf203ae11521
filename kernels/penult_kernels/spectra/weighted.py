"""Spectrum of a weighted covariance, such as the error spectrum of a head.

    m = sum_i s_i z_i,    S = sum_i s_i (z_i - m)(z_i - m)^T,    s the weights scaled to sum 1

With weights that grow with a head's errors, the eigenvectors of S are the directions in which the rows that it gets
wrong vary most (LEIA, later MARLA: Gourabathina et al. 2026, arXiv 2602.06924).
"""

import math
from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.finite import are_weights
from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.spectra.resampling import Resample, bootstrap_counts
from penult_kernels.spectra.spectrum import Spectrum, spectrum_from_moments, spectrum_from_rows
from penult_kernels.spectra.top_eigenvalue import leading_direction, top_eigenvalues


def weighted_spectrum(
    features: Array, weight: NDArray[np.float64], *, top_k: int = 0, vectors: bool = False
) -> Spectrum:
    """Spectrum of the covariance of weighted rows, with the divisor sum of the weights.

    Parameters
    ----------
    features : array of shape (N, D)
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
    xp = array_namespace(features)
    n_rows, n_features = (int(length) for length in features.shape)
    if weight.shape != (n_rows,) or not are_weights(weight):
        raise ValueError(f"weight must be {n_rows} numbers of at least 0 with a finite positive sum")
    used = np.flatnonzero(weight)
    share = weight / weight.sum()
    if used.size < n_features:
        rows = xp.astype(xp.take(features, asarray_like(used, features), axis=0), xp.float64)
        own = asarray_like(share[used][:, None], features)
        # The divisor of rows is their number.
        scaled = (rows - xp.sum(own * rows, axis=0)) * xp.sqrt(own * used.size)
        return spectrum_from_rows(scaled, top_k=top_k, center=False, vectors=vectors)
    sums = MomentAccumulator(1, n_features, dtype=features.dtype, xp=xp, device=features.device)
    sums.add(features, np.zeros(n_rows, np.int64), share)
    moments = sums.finish()
    found = moments.m2[0, :, :]
    return spectrum_from_moments(found, 1.0, mean=moments.mean[0, :], top_k=top_k, vectors=vectors)


def largest_interval(
    features: Array,
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
    xp = array_namespace(features)
    used = np.flatnonzero(weight)
    if not replicates or used.size < 2:
        return math.nan, math.nan
    share = weight[used] / weight[used].sum()
    rows = xp.astype(xp.take(features, asarray_like(used, features), axis=0), xp.float64)
    rows = rows - xp.sum(asarray_like(share[:, None], features) * rows, axis=0)
    size = float(xp.max(xp.abs(rows)))
    rows = xp.astype(rows / size if size > 0 else rows, xp.float32)
    drawn = (stream, Resample.BOOTSTRAP_MAJORITY)
    found = top_eigenvalues(
        rows,
        lambda chosen: bootstrap_counts(used.size, chosen, seed=seed, stream=drawn) * (used.size * share),
        replicates,
        start=leading_direction(rows),
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
