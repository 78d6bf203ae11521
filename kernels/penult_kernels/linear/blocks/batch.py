"""A batch: blocks over the same rows, whose products with the features are one GEMM.

Heads are theta (B, q, D + 1) = [V, c] in the space solved. Scalings, one for all blocks or one each, are folded into
the heads on the way to the rows and into the gradients on the way back, so the features are never copied:

    logits    X W^T + 1 b^T + o,        W = V / scale,  b = c - W mean
    adjoint   [(R^T X - (R^T 1) mean^T) / scale,  R^T 1]

Intermediate arrays with numbers for each row are made a tile of rows at a time; only logits and arrays of their size
are kept whole. Sample weights, targets and offsets that are equal for all blocks have a 1 in the place of B.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks
from penult_kernels.few_heads import logits_of, sums_of
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.blocks.scaling import Scaling, tile_of, tiles_of
from penult_kernels.linear.problem import Intercept
from penult_kernels.loss import bias_hessians, entropies, hessian_vector_product, losses, probabilities
from penult_kernels.products import is_spread, on_threads, summed

_PER_BLOCK = ("l1", "l2", "is_free", "is_fitted", "bias_penalty")
_PER_ROW = ("sample_weight", "target", "offset")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """B blocks of q columns; float64 arrays on the device of the features."""

    features: Array
    rows: NDArray[np.int64] | None
    scaling: Scaling
    """Mean and scale (D,), or (B, 1, D)."""
    sample_weight: Array
    """(n, B) or (n, 1): s, which sums to 1."""
    target: Array
    """(n, B, q) or (n, 1, q)."""
    offset: Array
    """(n, B, q) or (n, 1, q)."""
    l1: Array
    """(B,)."""
    l2: Array
    """(B,)."""
    is_free: Array
    """(B,) 1.0 where the intercept is free."""
    is_fitted: Array
    """(B,) 1.0 where there is an intercept."""
    bias_penalty: Array
    """(B,) 1 / intercept_scale where the intercept is penalised, else 0: the factor of c in the penalty."""
    dense: Array | None = None
    """(n, D) rows in the space solved, if they are kept; `scaling` (D,) is then the identity."""
    has_free: bool = True
    """Whether an intercept may be free, as the host knows."""
    in_float32: bool = False
    """Whether products with the rows are float32; everything else is float64."""

    @property
    def n_blocks(self) -> int:
        """B."""
        return int(self.l2.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.scaling.mean.shape[-1])

    def logits(self, theta: Array) -> Array:
        """X W^T + b (n, B, q) without the offset: one pass over the rows."""
        xp = array_namespace(theta)
        weight, bias = self._folded(theta)
        whole = xp.empty((self.sample_weight.shape[0], bias.shape[0]), dtype=xp.float64, device=theta.device)

        def of_tile(tile: slice) -> None:
            whole[tile, :] = xp.astype(logits_of(self.tile(tile), weight), xp.float64) + bias

        on_threads(of_tile, self.tiles())
        return xp.reshape(whole, (-1, theta.shape[0], theta.shape[1]))

    def logits_with_offset(self, theta: Array, fine: Sequence[int] = ()) -> Callable[[slice, Array], Array]:
        """A function of a tile and its rows: their logits with the offset (n, B, q), in the type of the products.

        In float32 the heads of the `fine` blocks are not rounded: what is lost of them has columns of its own.
        """
        xp = array_namespace(theta)
        weight, bias = self._folded(theta)
        bias = xp.astype(bias, weight.dtype, copy=False)
        n_columns = int(bias.shape[0])
        if fine:
            weight = xp.concat([weight, self._lost(theta, weight, fine)], axis=1)

        def of_tile(tile: slice, z: Array) -> Array:
            found = logits_of(z, weight)
            logits = xp.reshape(found[:, :n_columns] + bias, (-1, theta.shape[0], theta.shape[1]))
            for place, block in enumerate(fine):
                first = n_columns + place * int(theta.shape[1])
                logits[:, block, :] += found[:, first : first + int(theta.shape[1])]
            return logits + self.offset[tile, ...]

        return of_tile

    def _lost(self, theta: Array, rounded: Array, fine: Sequence[int]) -> Array:
        """What rounding took from the weights (D, F q) of some blocks, in the type of `rounded`, all weights."""
        xp = array_namespace(theta)
        at = asarray_like(np.asarray(fine, np.int64), theta)
        whole = xp.reshape((theta[:, :, :-1] / self.scaling.scale), (-1, self.n_features)).T - rounded
        of_blocks = xp.reshape(whole, (self.n_features, *theta.shape[:2]))
        return xp.astype(xp.reshape(xp.take(of_blocks, at, axis=1), (self.n_features, -1)), rounded.dtype)

    def adjoint(self, residuals: Array) -> Array:
        """Gradient in theta (B, q, D + 1) of <residuals, logits>: one pass over the rows."""
        return self.gathered(lambda tile, _: (residuals[tile, ...],), residuals.shape[2])[0]

    def gradient(self, theta: Array, logits: Array) -> Array:
        """Gradient of the smooth part (B, q, D + 1): one pass."""
        gradient, *_ = self.gathered(lambda tile, _: (self._residuals(logits, tile),), theta.shape[1])
        return gradient + self.l2_weights(theta) * theta

    def curvature(self, p: Array) -> Array:
        """What `hessian_product` needs at probabilities p: s p (1 - p) in a binary batch, else p."""
        xp = array_namespace(p)
        kept = self.sample_weight[:, :, None] * p * (1.0 - p) if p.shape[2] == 1 else p
        return xp.astype(kept, xp.float32) if self.in_float32 else kept

    def hessian_product(self, curvature: Array, direction: Array) -> Array:
        """Hessian of the smooth part times a direction (B, q, D + 1): two passes."""
        weight, bias = self._folded(direction)
        n_columns = direction.shape[1]
        if self.in_float32:
            bias = array_namespace(bias).astype(bias, weight.dtype)

        def of_tile(tile: slice, z: Array) -> tuple[Array]:
            xp = array_namespace(z)
            change = xp.reshape(logits_of(z, weight) + bias, (-1, direction.shape[0], n_columns))
            if n_columns == 1:
                return (curvature[tile, ...] * change,)
            return (self.sample_weight[tile, :, None] * hessian_vector_product(curvature[tile, ...], change),)

        return self.gathered(of_tile, n_columns)[0] + self.l2_weights(direction) * direction

    def data_value(self, logits: Array, change: Array | None = None, length: Array | None = None) -> Array:
        """Weighted mean loss (B,) at logits with the offset, or at logits + length (B,) times a change (n, B, q)."""
        xp = array_namespace(logits)

        def of_tile(tile: slice) -> tuple[Array]:
            here = logits[tile, ...]
            if change is not None and length is not None:
                here = here + length[:, None] * change[tile, ...]
            return (xp.sum(self.sample_weight[tile, :] * losses(here, self.target[tile, ...]), axis=0),)

        return summed(of_tile, self.tiles())[0]

    def bias_derivatives(self, logits: Array, shift: Array) -> tuple[Array, Array]:
        """Gradient (B, q) and Hessian (B, q, q) of the mean loss in a bias, at logits + shift (B, q)."""
        xp = array_namespace(logits)

        def of_tile(tile: slice) -> tuple[Array, Array]:
            p = probabilities(logits[tile, ...] + shift)
            s = self.sample_weight[tile, :]
            return xp.sum(s[:, :, None] * (p - self.target[tile, ...]), axis=0), bias_hessians(p, s)

        gradient, hessian = summed(of_tile, self.tiles())
        return gradient, hessian

    def smallest_loss(self) -> Array:
        """Lower bound (B,) of the loss: the weighted mean entropy of the targets (zero for labels)."""
        xp = array_namespace(self.sample_weight)

        def of_tile(tile: slice) -> tuple[Array]:
            return (xp.sum(self.sample_weight[tile, :] * entropies(self.target[tile, ...]), axis=0),)

        return xp.zeros_like(self.l2) + summed(of_tile, self.tiles())[0]

    def columns(self, features: NDArray[np.int64]) -> Array:
        """(n, k) of the given features in the space solved; feature D is the column of ones."""
        xp = array_namespace(self.sample_weight)
        n_features = self.n_features
        is_bias = asarray_like(features == n_features, self.sample_weight)
        at = asarray_like(np.minimum(features, n_features - 1), self.sample_weight)
        if self.dense is not None:
            return xp.where(is_bias, 1.0, xp.take(self.dense, at, axis=1))
        raw = xp.concat([xp.astype(xp.take(self.tile(tile), at, axis=1), xp.float64) for tile in self.tiles()], axis=0)
        scaled = (raw - xp.take(self.scaling.mean, at, axis=0)) / xp.take(self.scaling.scale, at, axis=0)
        return xp.where(is_bias, 1.0, scaled)

    def mask(self, theta: Array) -> Array:
        """`theta` with the bias set to zero where there is no intercept."""
        xp = array_namespace(theta)
        return xp.concat([theta[:, :, :-1], theta[:, :, -1:] * self.is_fitted[:, None, None]], axis=2)

    def bias_stiffness(self) -> Array:
        """(B,) second derivative of the penalty in a bias."""
        return self.l2 * self.bias_penalty**2

    def l2_weights(self, theta: Array) -> Array:
        """The l2 of every entry, broadcastable to theta: that of the weights, and that of the bias."""
        xp = array_namespace(theta)
        shape = (self.n_blocks, 1, theta.shape[2] - 1)
        of_weight = xp.broadcast_to(self.l2[:, None, None], shape)
        return xp.concat([of_weight, self.bias_stiffness()[:, None, None]], axis=2)

    def smooth_penalty(self, theta: Array) -> Array:
        """l2 / 2 (|V|^2 + |c|^2 where penalised) (B,)."""
        xp = array_namespace(theta)
        squares = xp.sum(theta * theta, axis=1)
        penalised = xp.sum(squares[:, :-1], axis=1) + self.bias_penalty**2 * squares[:, -1]
        return 0.5 * self.l2 * penalised

    def take(self, kept: NDArray[np.int64]) -> "Batch":
        """The batch of some of its blocks."""
        xp = array_namespace(self.sample_weight)
        at = asarray_like(kept, self.sample_weight)

        def of_rows(values: Array) -> Array:
            return values if values.shape[1] == 1 else xp.take(values, at, axis=1)

        changed = {name: of_rows(getattr(self, name)) for name in _PER_ROW}
        if self.scaling.mean.ndim > 1:
            changed["scaling"] = Scaling(
                *(xp.take(part, at, axis=0) for part in (self.scaling.mean, self.scaling.scale))
            )
        return replace(self, **changed, **{name: xp.take(getattr(self, name), at, axis=0) for name in _PER_BLOCK})

    def tiles(self) -> list[slice]:
        """The rows in tiles; smaller ones where they are done side by side."""
        n_rows, n_heads = int(self.sample_weight.shape[0]), self.n_blocks * int(self.target.shape[2])
        step = budget.of(self.sample_weight).rows_of_tile(self.n_features, n_heads)
        if is_spread() and is_numpy_array(self.sample_weight):
            # Of one size, so that no thread waits for the end of another's.
            n_tiles = -(-n_rows // max(1, step // 2))
            step = -(-n_rows // n_tiles)
        return list(blocks(n_rows, step))

    def tile(self, tile: slice) -> Array:
        """The rows of a tile in the type of the products."""
        if self.dense is not None:
            return self.dense[tile, :]
        return tile_of(self.features, self.rows, tile, in_float32=self.in_float32)

    def _folded(self, theta: Array) -> tuple[Array, Array]:
        """W^T (D, B q) in the type of the products and b (B q,)."""
        xp = array_namespace(theta)
        weight = theta[:, :, :-1] / self.scaling.scale
        bias = xp.reshape(theta[:, :, -1] - xp.sum(weight * self.scaling.mean, axis=2), (-1,))
        weight = xp.reshape(weight, (-1, self.n_features)).T
        return (xp.astype(weight, xp.float32) if self.in_float32 else weight), bias

    def _residuals(self, logits: Array, tile: slice) -> Array:
        """s (p - t) of a tile (n, B, q)."""
        return self.sample_weight[tile, :, None] * (probabilities(logits[tile, ...]) - self.target[tile, ...])

    def gathered(
        self, of_tile: Callable[[slice, Array], Sequence[Array]], n_columns: int, *, fine: bool = False
    ) -> list[Array]:
        """[(R^T X - (R^T 1) mean^T) / scale, R^T 1] (B, q, D + 1), and the sums of what else there is of each tile.

        `of_tile` makes R (n, B, q) of a tile from its rows, and perhaps other arrays. `fine` is that of `sums_of`.
        """
        xp = array_namespace(self.sample_weight)

        def parts(tile: slice) -> list[Array]:
            z = self.tile(tile)
            residuals, *others = of_tile(tile, z)
            flat = xp.reshape(residuals, (residuals.shape[0], residuals.shape[1] * n_columns))
            of_bias = xp.sum(xp.astype(flat, xp.float64), axis=0)[:, None]
            return [sums_of(z, xp.astype(flat, z.dtype), fine=fine), of_bias, *others]

        of_weight, of_bias, *others = summed(parts, self.tiles())
        of_weight, of_bias = (xp.reshape(part, (-1, n_columns, part.shape[1])) for part in (of_weight, of_bias))
        of_weight = (of_weight - of_bias * self.scaling.mean) / self.scaling.scale
        return [self.mask(xp.concat([of_weight, of_bias], axis=2)), *others]


def _unscaled(scaling: Scaling) -> Scaling:
    xp = array_namespace(scaling.mean)
    return Scaling(xp.zeros_like(scaling.mean), xp.ones_like(scaling.scale))


def as_float32(batch: Batch, *, dense: bool) -> Batch:
    """The batch with its products in float32; `dense` keeps its rows, standardised, if it does not already."""
    xp = array_namespace(batch.sample_weight)
    if batch.dense is not None:
        return replace(batch, in_float32=True, dense=xp.astype(batch.dense, xp.float32))
    if not dense:
        return replace(batch, in_float32=True)
    kept = _standardised(batch.features, batch.rows, batch.scaling, xp.float32)
    return replace(batch, in_float32=True, dense=kept, scaling=_unscaled(batch.scaling))


def make_batch(features: Array, members: Sequence[Block], *, dense: bool = False, in_float32: bool = False) -> Batch:
    """The batch of blocks over the same rows with equally many columns.

    `dense` keeps the standardised rows, for blocks of one scaling. `in_float32` makes arrays with numbers for each row
    float32, and products with them.
    """
    xp = array_namespace(features)
    first = members[0]
    dtype = xp.float32 if in_float32 else xp.float64

    def numbers(values: list[float]) -> Array:
        return asarray_like(np.asarray(values, np.float64), features)

    def of_rows(content_ids: set[int], value: Callable[[Block], NDArray[np.float64]]) -> Array:
        """Numbers of the rows, kept once if they are equal for all blocks."""
        kept = members[:1] if len(content_ids) == 1 else members
        return xp.astype(asarray_like(np.stack([value(block) for block in kept], axis=1), features), dtype, copy=False)

    return Batch(
        features=features,
        rows=first.rows,
        dense=_standardised(features, first.rows, first.scaling, dtype) if dense else None,
        scaling=_unscaled(first.scaling) if dense else _scaling_of(members),
        sample_weight=of_rows({block.weight_id for block in members}, Block.sample_weight),
        target=of_rows({block.target_id for block in members}, Block.target),
        offset=of_rows({block.offset_id for block in members}, Block.offset),
        l1=numbers([block.l1 for block in members]),
        l2=numbers([block.l2 for block in members]),
        is_free=numbers([float(block.intercept is Intercept.FREE) for block in members]),
        is_fitted=numbers([float(block.intercept is not Intercept.NONE) for block in members]),
        bias_penalty=numbers([block.bias_penalty for block in members]),
        has_free=any(block.intercept is Intercept.FREE for block in members),
        in_float32=in_float32,
    )


def _scaling_of(members: Sequence[Block]) -> Scaling:
    """One scaling for all blocks if theirs are equal, else theirs stacked."""
    if all(block.scaling_id == members[0].scaling_id for block in members):
        return members[0].scaling
    xp = array_namespace(members[0].scaling.mean)
    mean, scale = (xp.stack([getattr(block.scaling, name) for block in members]) for name in ("mean", "scale"))
    return Scaling(mean[:, None, :], scale[:, None, :])


def _standardised(features: Array, rows: NDArray[np.int64] | None, scaling: Scaling, dtype: Any) -> Array:
    xp = array_namespace(features)
    parts = [xp.astype((z - scaling.mean) / scaling.scale, dtype) for _, z in tiles_of(features, rows)]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def starting_point(features: Array, members: Sequence[Block]) -> Array:
    """First iterates theta (B, q, D + 1): the starts of the blocks, or zero."""
    xp = array_namespace(features)
    shape = (members[0].n_columns, features.shape[1] + 1)
    zero = xp.zeros(shape, dtype=xp.float64, device=features.device)
    return xp.stack([zero if block.start is None else block.start for block in members])
