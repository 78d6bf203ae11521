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
from penult_kernels.arrays import Array, blocks
from penult_kernels.linear.blocks.scaling import Scaling, tiles_of


class TrajectorySpace:
    """Rows fitted and rows watched, one below the other, so that one product gives the logits of both.

    Parameters
    ----------
    features : array of shape (N, D)
    rows : positions of the rows fitted; all when left out.
    scaling : of the space solved.
    watched : array of shape (M, D), optional
    in_row_space : whether the trajectories stay in the span of the rows fitted.
    """

    def __init__(
        self,
        features: Array,
        rows: NDArray[np.int64] | None,
        scaling: Scaling,
        *,
        watched: Array | None,
        in_row_space: bool,
    ) -> None:
        xp = array_namespace(features)
        self._mean = scaling.mean
        self.n_fitted = features.shape[0] if rows is None else rows.size
        self.dtype: Any = xp.float32 if features.dtype == xp.float32 else xp.float64
        basis = None
        if in_row_space and self.n_fitted < features.shape[1]:
            solved = xp.concat([(z - scaling.mean) / scaling.scale for _, z in tiles_of(features, rows)], axis=0)
            basis = xp.linalg.qr(solved.T)[0]
        self._basis = basis
        width = features.shape[1] if basis is None else basis.shape[1]
        below = features[:0, :] if watched is None else watched
        n_watched = below.shape[0]
        self.rows: Array = xp.ones((self.n_fitted + n_watched, width + 1), dtype=self.dtype, device=features.device)
        """(n + M, W): features in the space of the trajectories, and a column of ones for the bias."""
        for tile, z in tiles_of(features, rows):
            self.rows[tile, :-1] = self._followed(z, scaling.scale)
        for tile in blocks(n_watched, budget.of(features).rows_per_tile):
            place = slice(self.n_fitted + tile.start, self.n_fitted + tile.stop)
            self.rows[place, :-1] = self._followed(xp.astype(below[tile, :], xp.float64), scaling.unit)

    @property
    def width(self) -> int:
        """W: columns of `rows`."""
        return int(self.rows.shape[1])

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
