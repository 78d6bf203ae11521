"""Spectrum of a weighted covariance, such as the error spectrum of a head.

    m = sum_i s_i z_i,    S = sum_i s_i (z_i - m)(z_i - m)^T,    s the weights scaled to sum 1

With weights that grow with a head's errors, the eigenvectors of S are the directions in which the rows that it gets
wrong vary most (LEIA, later MARLA: Gourabathina et al. 2026, arXiv 2602.06924).
"""

from typing import cast

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.finite import are_weights
from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.spectra.spectrum import Spectrum, spectrum_from_moments, spectrum_from_rows


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
    found = cast("Array", moments.m2)[0, :, :]
    return spectrum_from_moments(found, 1.0, mean=moments.mean[0, :], top_k=top_k, vectors=vectors)
