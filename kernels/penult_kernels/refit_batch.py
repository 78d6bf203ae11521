"""A batch: blocks over the same rows and in the same scaling, whose products with the features are one GEMM.

Heads are theta (B, q, D + 1) = [V, c] in the space solved. The scaling is folded into the head on the way to
the rows and into the gradient on the way back, so the features are never copied:

    logits    X W^T + 1 b^T + o,        W = V / scale,  b = c - W mean
    adjoint   [(R^T X - (R^T 1) mean^T) / scale,  R^T 1]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside
from penult_kernels.logit_loss import curve, entropies, losses, probabilities
from penult_kernels.refit_blocks import Block, Scaling, tiles_of
from penult_kernels.refit_problem import Intercept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """B blocks of q columns; arrays beside the features, float64."""

    features: Array
    rows: NDArray[np.int64] | None
    scaling: Scaling
    share: Array
    """(n, B)."""
    target: Array
    """(n, B, q)."""
    offset: Array
    """(n, B, q)."""
    l1: Array
    """(B,)."""
    l2: Array
    """(B,)."""
    is_free: Array
    """(B,) 1.0 where the intercept is free."""
    is_fitted: Array
    """(B,) 1.0 where there is an intercept."""
    bias_penalty: Array
    """(B,) 1 / intercept_scale where the intercept is penalised, else 0: what |c| counts beside |V|."""
    dense: Array | None = None
    """(n, D) float64 rows used, when they are kept; in the space solved, with a `scaling` that changes nothing."""

    def logits(self, theta: Array) -> Array:
        """X W^T + b (n, B, q) without the offset: one pass over the rows."""
        xp = array_namespace(theta)
        n_blocks, n_columns, _ = theta.shape
        flat = xp.reshape(theta, (n_blocks * n_columns, theta.shape[2]))
        weight = flat[:, :-1] / self.scaling.scale
        bias = flat[:, -1] - weight @ self.scaling.mean
        parts = [z @ weight.T + bias for _, z in self._tiles()]
        return xp.reshape(xp.concat(parts, axis=0), (-1, n_blocks, n_columns))

    def adjoint(self, residuals: Array) -> Array:
        """Gradient in theta (B, q, D + 1) of <residuals, logits>: one pass over the rows."""
        xp = array_namespace(residuals)
        n_used, n_blocks, n_columns = residuals.shape
        flat = xp.reshape(residuals, (n_used, n_blocks * n_columns))
        of_weight = None
        for tile, z in self._tiles():
            part = flat[tile, :].T @ z
            of_weight = part if of_weight is None else of_weight + part
        of_bias = xp.sum(flat, axis=0)[:, None]
        of_weight = (of_weight - of_bias * self.scaling.mean) / self.scaling.scale
        gradient = xp.concat([of_weight, of_bias], axis=1)
        return self.mask(xp.reshape(gradient, (n_blocks, n_columns, gradient.shape[1])))

    def _tiles(self) -> Iterable[tuple[slice, Array]]:
        if self.dense is not None:
            return [(slice(0, self.dense.shape[0]), self.dense)]
        return tiles_of(self.features, self.rows)

    def columns(self, features: NDArray[np.int64]) -> Array:
        """(n, k) columns in the space solved; the one at D is all ones."""
        xp = array_namespace(self.share)
        n_features = self.scaling.mean.shape[0]
        is_bias = beside(features == n_features, self.share)
        at = beside(np.minimum(features, n_features - 1), self.share)
        if self.dense is not None:
            return xp.where(is_bias, 1.0, xp.take(self.dense, at, axis=1))
        raw = xp.concat([xp.take(z, at, axis=1) for _, z in tiles_of(self.features, self.rows)], axis=0)
        scaled = (raw - xp.take(self.scaling.mean, at, axis=0)) / xp.take(self.scaling.scale, at, axis=0)
        return xp.where(is_bias, 1.0, scaled)

    def mask(self, theta: Array) -> Array:
        """`theta` with the bias set to zero where there is no intercept."""
        xp = array_namespace(theta)
        return xp.concat([theta[:, :, :-1], theta[:, :, -1:] * self.is_fitted[:, None, None]], axis=2)

    def data_value(self, logits: Array) -> Array:
        """Weighted mean loss (B,) of full logits."""
        return array_namespace(logits).sum(self.share * losses(logits, self.target), axis=0)

    def residuals(self, logits: Array) -> Array:
        """s (p - t) (n, B, q)."""
        return self.share[:, :, None] * (probabilities(logits) - self.target)

    def l2_weights(self, theta: Array) -> Array:
        """l2 of every entry, broadcastable to theta: the weights', and the bias' own."""
        xp = array_namespace(theta)
        of_weight = xp.broadcast_to(self.l2[:, None, None], (*theta.shape[:1], 1, theta.shape[2] - 1))
        of_bias = (self.l2 * self.bias_penalty**2)[:, None, None]
        return xp.concat([of_weight, of_bias], axis=2)

    def smooth_penalty(self, theta: Array) -> Array:
        """l2 / 2 (|V|^2 + |c|^2 where penalised) (B,)."""
        xp = array_namespace(theta)
        squares = xp.sum(theta * theta, axis=1)
        penalised = xp.sum(squares[:, :-1], axis=1) + self.bias_penalty**2 * squares[:, -1]
        return 0.5 * self.l2 * penalised

    def gradient(self, theta: Array, logits: Array) -> Array:
        """Gradient of the smooth part (B, q, D + 1): one pass."""
        return self.adjoint(self.residuals(logits)) + self.l2_weights(theta) * theta

    def hessian_product(self, p: Array, direction: Array) -> Array:
        """Hessian of the smooth part times a direction (B, q, D + 1): two passes."""
        change = curve(p, self.logits(direction))
        return self.adjoint(self.share[:, :, None] * change) + self.l2_weights(direction) * direction

    def l1_weights(self, theta: Array) -> Array:
        """l1 of every entry, broadcastable to theta."""
        xp = array_namespace(theta)
        of_weight = xp.broadcast_to(self.l1[:, None, None], (*theta.shape[:1], 1, theta.shape[2] - 1))
        return xp.concat([of_weight, (self.l1 * self.bias_penalty)[:, None, None]], axis=2)

    def on_rows(self, drawn: NDArray[np.int64]) -> "Batch":
        """The batch on some of its rows, repeats allowed, with each row's weight n s_i / m."""
        xp = array_namespace(self.share)
        at = beside(drawn, self.share)
        n_used = self.share.shape[0]
        rows = drawn if self.rows is None else self.rows[drawn]
        at_rows = beside(rows, self.features)
        if self.dense is None:
            drawn_rows = xp.astype(xp.take(self.features, at_rows, axis=0), xp.float64)
            drawn_rows = (drawn_rows - self.scaling.mean) / self.scaling.scale
        else:
            drawn_rows = xp.take(self.dense, at, axis=0)
        return replace(
            self,
            dense=drawn_rows,
            scaling=Scaling(self.scaling.mean * 0.0, self.scaling.scale * 0.0 + 1.0),
            share=xp.take(self.share, at, axis=0) * (n_used / drawn.size),
            target=xp.take(self.target, at, axis=0),
            offset=xp.take(self.offset, at, axis=0),
        )

    def drawn_gradient(self, theta: Array) -> Array:
        """Gradient of the loss alone (B, q, D + 1)."""
        return self.adjoint(self.residuals(self.logits(theta) + self.offset))

    def take(self, kept: NDArray[np.int64]) -> "Batch":
        """The batch of some of its blocks."""
        xp = array_namespace(self.share)
        at = beside(kept, self.share)
        return replace(
            self,
            share=xp.take(self.share, at, axis=1),
            target=xp.take(self.target, at, axis=1),
            offset=xp.take(self.offset, at, axis=1),
            **{name: xp.take(getattr(self, name), at, axis=0) for name in _PER_BLOCK},
        )


_PER_BLOCK = ("l1", "l2", "is_free", "is_fitted", "bias_penalty")


def make_batch(features: Array, blocks: Sequence[Block], *, dense: bool = False) -> Batch:
    """The batch of blocks that share rows and scaling and have as many columns; `dense` keeps their rows widened."""
    first = blocks[0]

    def numbers(values: list[float]) -> Array:
        return beside(np.asarray(values, np.float64), features)

    scaling, kept = first.scaling, None
    if dense:
        kept = _standardised(features, first)
        scaling = Scaling(scaling.mean * 0.0, scaling.scale * 0.0 + 1.0)
    return Batch(
        dense=kept,
        features=features,
        rows=first.rows,
        scaling=scaling,
        share=beside(np.stack([block.share() for block in blocks], axis=1), features),
        target=beside(np.stack([block.target() for block in blocks], axis=1), features),
        offset=beside(np.stack([block.offset() for block in blocks], axis=1), features),
        l1=numbers([block.l1 for block in blocks]),
        l2=numbers([block.l2 for block in blocks]),
        is_free=numbers([float(block.intercept is Intercept.FREE) for block in blocks]),
        is_fitted=numbers([float(block.intercept is not Intercept.NONE) for block in blocks]),
        bias_penalty=numbers(
            [1 / block.intercept_scale if block.intercept is Intercept.PENALIZED else 0.0 for block in blocks]
        ),
    )


def _standardised(features: Array, block: Block) -> Array:
    parts = [(z - block.scaling.mean) / block.scaling.scale for _, z in tiles_of(features, block.rows)]
    return parts[0] if len(parts) == 1 else array_namespace(features).concat(parts, axis=0)


def starting_point(features: Array, blocks: Sequence[Block]) -> Array:
    """theta (B, q, D + 1) to begin at: the starts, else zero."""
    xp = array_namespace(features)
    shape = (blocks[0].n_columns, features.shape[1] + 1)
    zero = xp.zeros(shape, dtype=xp.float64, device=features.device)
    return xp.stack([zero if block.start is None else block.start for block in blocks])


def smallest_loss(batch: Batch) -> Array:
    """What no head can beat, (B,): the weighted mean entropy of the targets (zero for labels)."""
    return array_namespace(batch.share).sum(batch.share * entropies(batch.target), axis=0)
