"""The space in which trajectories are computed: standardised rows with a column of ones, and heads there and back.

If there are fewer rows than features and every step is a combination of rows, a trajectory stays in the span of the
rows. It is then computed in an orthonormal basis of this span, which changes no norm.

With float32 features parameters and products are float32, as in the training loops that are reproduced; otherwise
float64.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks
from penult_kernels.linear.blocks.scaled_rows import ScaledRows, are_kept
from penult_kernels.linear.blocks.scaling import Scaling, tiles_of
from penult_kernels.rows import ArrayRows, RowSource, is_source


class TrajectorySpace:
    """Rows fitted and rows watched, one below the other, so that one product gives the logits of both.

    A copy of them that is large is not made: their products standardise them again (`linear.blocks.scaled_rows`), but
    for rows in a basis of their span, which is smaller, and rows watched that are not in memory.

    Parameters
    ----------
    features : array of shape (N, D)
    rows : positions of the rows fitted; all when left out.
    scaling : of the space solved.
    watched : array of shape (M, D) or a row source, optional
    in_row_space : whether the trajectories stay in the span of the rows fitted.
    """

    def __init__(
        self,
        features: Array,
        rows: NDArray[np.int64] | None,
        scaling: Scaling,
        *,
        watched: Array | RowSource | None,
        in_row_space: bool,
    ) -> None:
        xp = array_namespace(features)
        self._mean = scaling.mean
        fitted = ArrayRows(features, rows)
        below = watched if is_source(watched) else ArrayRows(features[:0, :] if watched is None else watched)
        self.n_fitted, self.n_watched = fitted.shape[0], below.shape[0]
        self.dtype: Any = xp.float32 if features.dtype == xp.float32 else xp.float64
        basis = None
        if in_row_space and self.n_fitted < features.shape[1]:
            solved = xp.concat([(z - scaling.mean) / scaling.scale for _, z in tiles_of(features, rows)], axis=0)
            basis = xp.linalg.qr(solved.T)[0]
        self._basis = basis
        self._width = (features.shape[1] if basis is None else basis.shape[1]) + 1
        n_rows = self.n_fitted + self.n_watched
        self._parts: tuple[ScaledRows, ScaledRows] | None = None
        self._rows: Array = None
        if basis is None and below.is_in_memory and not are_kept(n_rows, fitted.like):
            self._parts = (
                ScaledRows(fitted, scaling, self.dtype),
                ScaledRows(below, Scaling(scaling.mean, scaling.unit), self.dtype),
            )
            return
        self._rows = xp.ones((n_rows, self._width), dtype=self.dtype, device=features.device)
        for tile, z in tiles_of(features, rows):
            self._rows[tile, :-1] = self._followed(z, scaling.scale)
        for tile in blocks(self.n_watched, budget.of(features).rows_per_tile):
            place = slice(self.n_fitted + tile.start, self.n_fitted + tile.stop)
            self._rows[place, :-1] = self._followed(xp.astype(below.block(tile), xp.float64), scaling.unit)

    def times(self, columns: Array) -> Array:
        """(n + M, K) rows fitted and watched times columns (W, K)."""
        if self._parts is None:
            return self._rows @ columns
        return array_namespace(columns).concat([part.times(columns) for part in self._parts], axis=0)

    def watched_times(self, columns: Array) -> Array:
        """(M, K) rows watched times columns (W, K)."""
        return self._rows[self.n_fitted :, :] @ columns if self._parts is None else self._parts[1].times(columns)

    def transposed_times(self, residuals: Array) -> Array:
        """(W, K) rows fitted, transposed, times residuals (n, K)."""
        if self._parts is None:
            return self._rows[: self.n_fitted, :].T @ residuals
        return self._parts[0].transposed_times(residuals)

    def take(self, index: NDArray[np.int64]) -> Array:
        """(m, W) rows fitted by their numbers on the host."""
        if self._parts is None:
            return array_namespace(self._rows).take(self._rows, asarray_like(index, self._rows), axis=0)
        return self._parts[0].take(index)

    @property
    def width(self) -> int:
        """W: features in the space of the trajectories, and a column of ones for the bias."""
        return int(self._width)

    @property
    def is_in_row_space(self) -> bool:
        """Whether trajectories are computed in a basis of the span of the rows."""
        return self._basis is not None

    def unfolded(self, theta: Array) -> Array:
        """Columns (W, K) of parameters as rows [V, c] (K, D + 1) of the space solved."""
        xp = array_namespace(theta)
        weight = theta[:-1, :] if self._basis is None else self._basis @ theta[:-1, :]
        return xp.concat([weight.T, theta[-1:, :].T], axis=1)

    def _followed(self, z: Array, scale: Array) -> Array:
        """Rows in the space of the trajectories. A column that is constant on rows fitted may vary on rows watched."""
        xp = array_namespace(z)
        solved = (z - self._mean) / scale
        return xp.astype(solved if self._basis is None else solved @ self._basis, self.dtype)
