"""Rows of two groups, and the resamples that a comparison of their covariances needs."""

import math
from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks
from penult_kernels.rows import RowSource, is_source
from penult_kernels.spectra.resampling import Resample, bootstrap_counts, subsample
from penult_kernels.spectra.spectrum import as_rows, mean_of, outer_product
from penult_kernels.spectra.top_eigenvalue import TopEigenvalues, leading_direction, top_eigenvalues

KINDS = 5
"""Resamplings of a comparison, each with its own replicates: matches, two bootstraps, two sides of the permutations."""


class ResampledPair:
    """The rows of two groups one below the other, each centered about its own mean, in float32 at unit size.

    The residuals of group g are multiplied by sqrt(n_g / (n_g - 1)): then the rows of both groups have the covariance
    of their populations, whatever n_g, and may be exchanged under the null. lambda_1 has the divisor n here;
    `log_factor` changes it to n - 1 for rows drawn from both groups, which are centered again.
    """

    def __init__(
        self,
        minority: Array | RowSource,
        majority: Array | RowSource,
        replicates: int,
        *,
        seed: int,
        stream: int,
        center: bool,
        check: Callable[[], None],
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        few, many = (rows if is_source(rows) else as_rows(rows) for rows in (minority, majority))
        self._sizes = (few.shape[0], many.shape[0])
        self._rows = _in_span(_unit_residuals(few, many, center=center))
        self._replicates = replicates
        self._seed, self._stream = seed, stream
        self._center, self._check = center, check
        self._report, self._n_resampled = report, 0
        self._start = leading_direction(self._rows)

    def of_group(self, which: int) -> TopEigenvalues:
        """lambda_1 of the whole minority (0) or majority (1)."""
        size = self._sizes[which]
        rows = self._rows[self._part(which), :]
        return top_eigenvalues(
            rows,
            lambda r: np.ones((len(r), size), dtype=np.int64),
            1,
            center=self._center,
            start=self._start,
            check=self._check,
        )

    def matches(self) -> TopEigenvalues:
        """lambda_1 of subsamples of the majority that have the minority's size."""
        n_a, n_b = self._sizes
        stream = (self._stream, Resample.MATCH)
        return self._solve(
            self._rows[self._part(1), :],
            lambda r: _members(subsample(n_b, n_a, r, seed=self._seed, stream=stream), n_b),
        )

    def bootstrap(self, which: int) -> TopEigenvalues:
        """lambda_1 of bootstrap samples of one group, at its own size."""
        size = self._sizes[which]
        stream = (self._stream, (Resample.BOOTSTRAP_MINORITY, Resample.BOOTSTRAP_MAJORITY)[which])
        return self._solve(
            self._rows[self._part(which), :],
            lambda r: bootstrap_counts(size, r, seed=self._seed, stream=stream),
        )

    def permutation(self, which: int) -> TopEigenvalues:
        """lambda_1 of the minority (0) or majority (1) after random exchanges of rows between the groups."""
        n_a, n = self._sizes[0], sum(self._sizes)
        stream = (self._stream, Resample.PERMUTATION)

        def weights(r: range) -> NDArray[np.int64]:
            drawn = _members(subsample(n, n_a, r, seed=self._seed, stream=stream), n)
            return 1 - drawn if which else drawn

        return self._solve(self._rows, weights)

    @property
    def log_factor(self) -> float:
        """log of the ratio minority / majority of the factors n / (n - 1); 0 for second moments about zero."""
        n_a, n_b = self._sizes
        return math.log(_unbiased(n_a) / _unbiased(n_b)) if self._center else 0.0

    def _part(self, which: int) -> slice:
        n_a, n_b = self._sizes
        return slice(n_a, n_a + n_b) if which else slice(0, n_a)

    def _solve(self, rows: Array, weights: Callable[[range], NDArray[np.int64]]) -> TopEigenvalues:
        before = self._n_resampled
        solved = top_eigenvalues(
            rows,
            weights,
            self._replicates,
            center=self._center,
            start=self._start,
            check=self._check,
            report=lambda found: self._report(before + found, KINDS * self._replicates),
        )
        self._n_resampled += self._replicates
        return solved


def _unit_residuals(minority: RowSource, majority: RowSource, *, center: bool) -> Array:
    """Both groups' residuals (N_a + N_b, D), scaled to exchangeable size and to at most 1, float32."""
    like = minority.like
    xp = array_namespace(like)
    (n_a, n_features), (n_b, _) = minority.shape, majority.shape
    residuals = xp.empty((n_a + n_b, n_features), dtype=xp.float32, device=like.device)
    sizes: list[float] = []
    for rows, first, name in ((minority, 0, "minority"), (majority, n_a, "majority")):
        n_rows = rows.shape[0]
        about = mean_of(rows, name=f"rows of the {name}") if center else 0.0
        factor = math.sqrt(_unbiased(n_rows)) if center else 1.0
        largest: list[Array] = []
        for block in blocks(n_rows, budget.DEFAULT.rows_of_pass(n_features)):
            z = xp.astype((xp.astype(rows.block(block), xp.float64) - about) * factor, xp.float32)
            residuals[first + block.start : first + block.stop, :] = z
            largest.append(xp.max(xp.abs(z)))
        sizes.append(float(xp.max(xp.stack(largest))))
        if not math.isfinite(sizes[-1]):
            raise ValueError(f"rows of the {name} must be finite in float32, got NaN, infinity or larger numbers")
    if max(sizes) > 0:
        residuals /= max(sizes)
    return residuals


def _in_span(rows: Array) -> Array:
    """Coordinates (N, N) of rows (N, D) in a basis of their span if 2 N <= D, else the rows.

    Rotating the rows changes no eigenvalue, whatever rows are drawn. With the decomposition K = U L U^T of the
    Gram matrix the coordinates are U sqrt(L).
    """
    xp = array_namespace(rows)
    n_rows, n_features = (int(length) for length in rows.shape)
    if 2 * n_rows > n_features:
        return rows
    values, vectors = xp.linalg.eigh(outer_product(rows))
    coordinates = vectors * xp.sqrt(xp.where(values > 0, values, 0.0))
    size = float(xp.max(xp.abs(coordinates)))
    return xp.astype(coordinates / size if size > 0 else coordinates, xp.float32)


def _unbiased(n_rows: int) -> float:
    """n / (n - 1)."""
    return n_rows / (n_rows - 1)


def _members(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Indices (R, M) as weights (R, N): 1 where a row is a member."""
    weights = np.zeros((rows.shape[0], n_rows), dtype=np.int64)
    np.put_along_axis(weights, rows, 1, axis=1)
    return weights
