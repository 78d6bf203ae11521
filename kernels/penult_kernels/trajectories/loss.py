"""The gradient of the weighted cross-entropy in the logits, for the columns of many trajectories over the same rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.linear.blocks.blocks import Block


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrajectoryLoss:
    """Weights, targets and offsets of the rows: (S, n, B, q), with a 1 for S and B where they are equal for all.

    With z the logits and t = P(class 1) of a binary column, s (p - t) = s/2 tanh(z/2) + s (1/2 - t): one
    transcendental function and nothing that overflows. That is exact to rounding beside s; normalised steps divide by
    the norm of the gradient, however small, and need every residual exact beside itself: `is_relative`.
    """

    weight: Array
    """(S, n, B, 1): s of the rows; half of it for binary columns."""
    target: Array
    """s (1/2 - t) of binary columns, else t."""
    offset: Array | None
    n_blocks: int
    """B of a stream."""
    n_columns: int
    """q."""
    is_relative: bool = False
    """Whether residuals of rows far on the right side keep their relative accuracy, at one more pass over them."""

    def residuals(self, logits: Array) -> Array:
        """s (p - t) (S, n, K) of the logits X theta (S, n, K), which are written to."""
        xp = array_namespace(logits)
        n_streams, n_rows, width = logits.shape
        z = xp.reshape(logits, (n_streams, n_rows, self.n_blocks, self.n_columns))
        if self.offset is not None:
            z += self.offset
        if self.is_relative:
            found = self._relative(z)
        elif self.n_columns == 1:
            z *= 0.5
            found = xp.tanh(z)
            found *= self.weight
            found += self.target
        else:
            found = xp.exp(z - xp.max(z, axis=3, keepdims=True))
            found /= xp.sum(found, axis=3, keepdims=True)
            found -= self.target
            found *= self.weight
        return xp.reshape(found, (n_streams, n_rows, width))

    def _relative(self, z: Array) -> Array:
        """s (p - t) of logits z (S, n, B, q), without differences of near numbers.

        A binary column is s (1 - t) sigma(z) - s t sigma(-z); of a class that is certain, p - 1 = -sum of the others.
        """
        xp = array_namespace(z)
        if self.n_columns == 1:
            small = xp.exp(-xp.abs(z))
            above, below = 1.0 / (1.0 + small), small / (1.0 + small)
            is_above = z >= 0
            up, down = xp.where(is_above, above, below), xp.where(is_above, below, above)
            return (self.weight + self.target) * up - (self.weight - self.target) * down
        p = xp.exp(z - xp.max(z, axis=3, keepdims=True))
        p = p / xp.sum(p, axis=3, keepdims=True)
        is_certain = self.target == 1.0
        others = xp.sum(xp.where(is_certain, xp.zeros_like(p), p), axis=3, keepdims=True)
        return xp.where(is_certain, -others, p - self.target) * self.weight

    def on_rows(self, drawn: NDArray[np.int64]) -> "TrajectoryLoss":
        """The loss on minibatches (S, m), one for each stream, with n s_i / m as the weight of a row."""
        scale = self.weight.shape[1] / drawn.shape[1]

        def of(values: Array) -> Array:
            xp = array_namespace(values)
            n_streams, n_rows = values.shape[:2]
            # Streams are stacked; an array that is equal for all of them is there once.
            above = n_rows * np.arange(drawn.shape[0], dtype=np.int64) if n_streams > 1 else np.zeros(1, np.int64)
            at: NDArray[np.int64] = drawn + above[:, None]
            flat = xp.reshape(values, (n_streams * n_rows, *values.shape[2:]))
            chosen = xp.take(flat, asarray_like(at.reshape(-1), values), axis=0)
            return xp.reshape(chosen, (*drawn.shape, *values.shape[2:]))

        target = of(self.target)
        return TrajectoryLoss(
            weight=of(self.weight) * scale,
            target=target * scale if self.n_columns == 1 else target,
            offset=None if self.offset is None else of(self.offset),
            n_blocks=self.n_blocks,
            n_columns=self.n_columns,
            is_relative=self.is_relative,
        )

    def take(self, streams: NDArray[np.int64], blocks: NDArray[np.int64]) -> "TrajectoryLoss":
        """The loss of some streams and, of these, some blocks."""

        def of(values: Array) -> Array:
            xp = array_namespace(values)
            if values.shape[0] > 1:
                values = xp.take(values, asarray_like(streams, values), axis=0)
            return values if values.shape[2] == 1 else xp.take(values, asarray_like(blocks, values), axis=2)

        return TrajectoryLoss(
            weight=of(self.weight),
            target=of(self.target),
            offset=None if self.offset is None else of(self.offset),
            n_blocks=blocks.size,
            n_columns=self.n_columns,
            is_relative=self.is_relative,
        )


def trajectory_loss(
    parts: Sequence[Block], n_streams: int, like: Array, dtype: Any, *, is_relative: bool = False
) -> TrajectoryLoss:
    """The loss of the blocks of all problems, stream by stream; arrays that are equal for all are kept once."""
    n_columns = parts[0].n_columns
    xp, n_blocks = array_namespace(like), len(parts) // n_streams
    in_memory = np.float32 if dtype == xp.float32 else np.float64

    def of_rows(key: Callable[[Block], object], value: Callable[[Block], NDArray[np.float64]]) -> Array:
        """(S, n, B, q), each block's made in float64 and kept in the type of the products."""
        if len({key(block) for block in parts}) == 1:
            first = value(parts[0])
            return xp.astype(asarray_like(first.reshape(1, len(first), 1, -1), like), dtype)
        found = np.empty((n_streams, parts[0].n_used, n_blocks, n_columns), in_memory)
        for place, block in enumerate(parts):
            found[place // n_blocks, :, place % n_blocks, :] = value(block).reshape(len(found[0]), -1)
        return asarray_like(found, like)

    if n_columns == 1:
        weight = of_rows(lambda block: block.weight_id, lambda block: 0.5 * Block.sample_weight(block))
        target = of_rows(lambda block: (block.weight_id, block.target_id), _pull)
    else:
        weight = of_rows(lambda block: block.weight_id, Block.sample_weight)
        target = of_rows(lambda block: block.target_id, Block.target)
    has_offset = any(block.full_offset is not None for block in parts)
    return TrajectoryLoss(
        weight=weight,
        target=target,
        offset=of_rows(lambda block: block.offset_id, Block.offset) if has_offset else None,
        n_blocks=n_blocks,
        n_columns=n_columns,
        is_relative=is_relative,
    )


def _pull(block: Block) -> NDArray[np.float64]:
    """(n,) s (1/2 - t) of a binary column."""
    return block.sample_weight() * (0.5 - block.target().reshape(-1))
