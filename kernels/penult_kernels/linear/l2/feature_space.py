"""L2 problems in the space of their features: gradients a tile of rows at a time, an eigenbasis for a first Hessian.

No array with numbers for every row is kept, so that memory does not grow with the number of rows. A tile is multiplied
with the heads, and then with the residuals: each evaluation reads the features once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array
from penult_kernels.linear.blocks.batch import Batch
from penult_kernels.linear.elements import binary_derivatives
from penult_kernels.linear.l2.curvature import Slow, curved
from penult_kernels.linear.l2.eigenbasis import Preconditioner
from penult_kernels.loss import probabilities

ROUNDING = 2.0**-25
"""Relative error of a number that is rounded to float32, on average."""


@dataclass(frozen=True, slots=True, eq=False)
class Derivatives:
    """The gradient (B, M) at a point, and the mean curvature there, sum_i s_i p_i (1 - p_i) (B, q)."""

    gradient: Array
    curvature: Array


@dataclass(frozen=True, slots=True, eq=False)
class PrimalSpace:
    """Vectors are thetas (B, q, D + 1) made flat: (B, M), M = q (D + 1)."""

    batch: Batch
    preconditioner: Preconditioner

    @property
    def n_blocks(self) -> int:
        """B."""
        return self.batch.n_blocks

    def flat(self, theta: Array) -> Array:
        """Heads (B, q, D + 1) as vectors (B, M)."""
        return array_namespace(theta).reshape(theta, (theta.shape[0], -1))

    def theta(self, x: Array) -> Array:
        """Vectors (B, M) as heads (B, q, D + 1)."""
        return array_namespace(x).reshape(x, (x.shape[0], -1, self.batch.n_features + 1))

    def evaluate(self, x: Array, fine: Sequence[int] = ()) -> Derivatives:
        """Gradient and curvature at x (B, M): two products; the heads of the `fine` problems are not rounded."""
        xp = array_namespace(x)
        theta = self.theta(x)
        logits_of_tile = self.batch.logits_with_offset(theta, fine)

        def of_tile(tile: slice, z: Array) -> tuple[Array, Array]:
            s = self.batch.sample_weight[tile, :, None]
            if theta.shape[1] == 1:
                residual, curvature = binary_derivatives(logits_of_tile(tile, z), s, self.batch.target[tile, ...])
                return residual, xp.astype(xp.sum(curvature, axis=0), xp.float64)
            p = probabilities(logits_of_tile(tile, z))
            curvature = xp.sum(s * p * (1.0 - p), axis=0)
            return s * (p - self.batch.target[tile, ...]), xp.astype(curvature, xp.float64)

        gradient, curvature = self.batch.gathered(of_tile, theta.shape[1], fine=bool(fine))
        return Derivatives(self.flat(gradient + self.batch.l2_weights(theta) * theta), curvature)

    def gaps(self, here: Derivatives) -> Array:
        """Estimated gaps (B,): |gradient|^2 / (2 l2); for a free bias, its curvature replaces l2."""
        xp = array_namespace(here.gradient)
        squares = self.theta(here.gradient) ** 2
        of_bias = self.batch.bias_stiffness()
        stiffness = xp.where(of_bias[:, None] > 0, of_bias[:, None], here.curvature + 1e-12)
        of_weights = xp.sum(squares[:, :, :-1], axis=(1, 2)) / self.batch.l2
        return 0.5 * (of_weights + xp.sum(squares[:, :, -1] / stiffness, axis=1))

    def floors(self, x: Array, here: Derivatives) -> Array:
        """Gaps (B,) that rounding heads to float32 leaves: the gradient of isotropic errors of their weights."""
        xp = array_namespace(x)
        if not self.batch.in_float32:
            return xp.zeros_like(self.batch.l2)
        stiffness = self.preconditioner.of_weights(self.batch, here.curvature)
        error = ROUNDING * self.theta(x)[:, :, :-1]
        squares = xp.sum(error * error, axis=2) * xp.mean(stiffness * stiffness, axis=2)
        return 0.5 * xp.sum(squares, axis=1) / self.batch.l2

    def stiffness(self, theta: Array) -> Array:
        """(B, M) second derivatives of the penalties."""
        xp = array_namespace(theta)
        return self.flat(xp.broadcast_to(self.batch.l2_weights(theta), theta.shape))

    def precondition(self, residual: Array, here: Derivatives) -> Array:
        """Approximate inverse Hessians, by the eigenbasis, times vectors (B, M)."""
        return self.flat(self.preconditioner.inverse(self.batch, here.curvature, self.theta(residual)))

    def curved(self, x: Array, slow: Slow) -> "PrimalSpace":
        """The space with the curvature that the slowest of some problems has at x (B, M), for these."""
        theta = self.theta(x)[slow.place, :, :]
        return replace(self, preconditioner=curved(self.batch, self.preconditioner, theta, slow))

    def kept(self, active: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The active problems, and no others."""
        return np.flatnonzero(active)

    def take(self, kept: NDArray[np.int64]) -> "PrimalSpace":
        """The space of some of its problems."""
        return PrimalSpace(self.batch.take(kept), self.preconditioner.take(kept))
