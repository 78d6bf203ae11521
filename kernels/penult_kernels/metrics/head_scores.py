"""Many heads over one set of features at once: their logits, and how they rank."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.few_heads import logits_of
from penult_kernels.linear.problem import Head
from penult_kernels.products import is_spread, on_threads, summed
from penult_kernels.rows import ArrayRows, RowSource, is_source
from penult_kernels.trajectories.settings import Watch


def logits_of_heads(features: Array, heads: Sequence[Head]) -> list[Array]:
    """Logits x W^T + b of every head: list of float64 arrays (N, C) on the device of the features.

    Logits are linear in the head: those of a mixture of heads are the same mixture of their logits.

    Parameters
    ----------
    features : array of shape (N, D)
        Any real floating type; converted to float64 a tile at a time.
    heads : sequence of Head
        On the host; C may differ from head to head.
    """
    xp = array_namespace(features)
    stacked = asarray_like(np.concatenate([head.weight for head in heads], axis=0, dtype=np.float64), features).T
    shift = asarray_like(np.concatenate([head.bias for head in heads], dtype=np.float64), features)
    shape = (int(features.shape[0]), int(shift.shape[0]))
    together = xp.empty(shape, dtype=xp.float64, device=features.device)

    def of_tile(tile: slice) -> None:
        together[tile, :] = logits_of(xp.astype(features[tile, :], xp.float64), stacked) + shift

    on_threads(of_tile, _tiles(features, shape[0]))
    ends = np.cumsum([len(head.bias) for head in heads]).tolist()
    return [together[:, begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _tiles(features: Array, n_rows: int) -> list[slice]:
    """The rows in tiles; a quarter as many in each where threads take them side by side."""
    step = budget.DEFAULT.rows_of_pass(int(features.shape[1]))
    is_side_by_side = is_spread() and is_numpy_array(features)
    return list(blocks(n_rows, max(1, step // 4) if is_side_by_side else step)) or [slice(0, 0)]


class SelectionMetric(StrEnum):
    """The metric by which heads are ranked; groups and classes without rows do not count."""

    WORST_GROUP = "worst_group"
    WORST_CLASS = "worst_class"
    AVERAGE = "average"
    MEAN_GROUP = "mean_group"


class HeadScorer:
    """Scores heads on one set of rows, of which no copy is made as a whole but for a `watch`.

    Parameters
    ----------
    features : array of shape (N, D), or a row source
        Rows that are read a block at a time; a source has the rows to score on alone.
    y, g : host arrays of shape (N,)
        Class and group, g = y * (n_groups / n_classes) + a.
    rows : host array of positions, optional
        The rows to score on; all when left out.
    """

    def __init__(
        self,
        features: Array | RowSource,
        y: NDArray[np.int64],
        g: NDArray[np.int64],
        n_classes: int,
        n_groups: int,
        *,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._rows: RowSource = features if is_source(features) else ArrayRows(features, rows)
        self.like = self._rows.like
        """(0, D) of the library and on the device of the rows."""
        xp = array_namespace(self.like)
        self._y = y if rows is None else y[rows]
        self._groups = g if rows is None else g[rows]
        self._n_classes = n_classes
        self._classes = asarray_like(self._y[:, None], self.like)
        self._is_second = asarray_like(self._y[:, None] == 1, self.like)
        self._count = np.bincount(self._groups, minlength=n_groups).astype(np.float64)
        # Counts below 2^24 are whole numbers in float32, too.
        self._counting = xp.float32 if self._groups.size < 1 << 24 else xp.float64
        self._step = max(1, budget.DEFAULT.batch_bytes // 8 // n_groups)
        every = slice(0, self._groups.size)
        self._member = self._members(every) if self._groups.size <= self._step else None

    def group_accuracies(self, weights: Array, biases: Array) -> NDArray[np.float64]:
        """(P, G) accuracies of heads (P, C, D), (P, C) on the device of the features; NaN where a group is empty."""
        xp = array_namespace(weights)
        n_heads, n_classes, n_features = weights.shape
        n_rows = self._rows.shape[0]
        if n_classes == 2:
            weights, biases = weights[:, 1, :] - weights[:, 0, :], biases[:, 1] - biases[:, 0]
        flat, shift = xp.reshape(weights, (-1, n_features)).T, xp.reshape(biases, (-1,))

        def of_tile(tile: slice) -> tuple[Array]:
            outputs = logits_of(xp.astype(self._rows.block(tile), xp.float64), flat) + shift
            if n_classes > 2:
                outputs = xp.reshape(outputs, (-1, n_heads, n_classes))
            return (self._correct(outputs, tile),)

        tiles = _tiles(self.like, n_rows)
        if self._rows.is_in_memory:
            return self._shares(summed(of_tile, tiles)[0])
        # Read in their order, by one thread.
        return self._shares(sum((of_tile(tile)[0] for tile in tiles[1:]), of_tile(tiles[0])[0]))

    def accuracies_of_outputs(self, outputs: Array) -> NDArray[np.float64]:
        """(P, G) accuracies from the outputs of heads: margins (M, P) of two classes, else logits (M, P, C).

        The first of equal logits is predicted.
        """
        return self._shares(self._correct(outputs, slice(0, self._rows.shape[0])))

    def _correct(self, outputs: Array, tile: slice) -> Array:
        """(G, P) rows of a tile that are predicted right, whole numbers in a floating type."""
        xp = array_namespace(outputs)
        if outputs.ndim == 2:
            right = (outputs > 0) == self._is_second[tile, :]
        else:
            right = xp.argmax(outputs, axis=2) == self._classes[tile, :]
        right = xp.astype(right, self._counting)
        if self._member is not None:
            return self._member[:, tile] @ right
        correct = xp.zeros((self._count.size, int(right.shape[1])), dtype=self._counting, device=right.device)
        for part in blocks(int(right.shape[0]), self._step):
            correct += self._members(slice(tile.start + part.start, tile.start + part.stop)) @ right[part, :]
        return correct

    def _members(self, tile: slice) -> Array:
        """(G, n) 1.0 where a row of the tile is in a group."""
        xp = array_namespace(self._classes)
        member = np.arange(self._count.size)[:, None] == self._groups[tile]
        return xp.astype(asarray_like(member, self._classes), self._counting)

    def _shares(self, correct: Array) -> NDArray[np.float64]:
        """(P, G) accuracies from (G, P) rows predicted right."""
        found = to_host(correct).astype(np.float64)
        return (found / np.where(self._count > 0, self._count, np.nan)[:, None]).T

    def watch(self, metric: SelectionMetric) -> Watch:
        """A watch that scores the iterates of trajectories by `metric` on the rows."""
        return Watch(
            features=self._rows,
            score=lambda _, outputs: self.scores(self.accuracies_of_outputs(outputs), metric),
        )

    def scores(self, accuracies: NDArray[np.float64], metric: SelectionMetric) -> NDArray[np.float64]:
        """Scores (P,) from group accuracies (P, G). Raises ValueError when there is no row to score on."""
        present = self._count > 0
        if not present.any():
            raise ValueError("there is no row to choose by")
        found, count = accuracies[:, present], self._count[present]
        if metric is SelectionMetric.WORST_GROUP:
            return found.min(axis=1)
        if metric is SelectionMetric.MEAN_GROUP:
            return found.mean(axis=1)
        if metric is SelectionMetric.AVERAGE:
            return found @ (count / count.sum())
        class_of = np.repeat(np.arange(self._n_classes), present.size // self._n_classes)[present]
        of_class = class_of == np.unique(class_of)[:, None]
        return ((found * count) @ of_class.T / (of_class @ count)).min(axis=1)
