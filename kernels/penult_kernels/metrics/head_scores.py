"""Many heads over one set of features at once: their logits, and how they rank."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.linear.problem import Head
from penult_kernels.products import product
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
    tiles = [
        product(xp.astype(features[tile, :], xp.float64), stacked) + shift
        for tile in blocks(features.shape[0], budget.DEFAULT.rows_per_single_pass)
    ]  # fmt: skip
    together = xp.concat(tiles, axis=0) if tiles else xp.zeros((0, shift.shape[0]), dtype=xp.float64)
    ends = np.cumsum([len(head.bias) for head in heads]).tolist()
    return [together[:, begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


class SelectionMetric(StrEnum):
    """The metric by which heads are ranked; groups and classes without rows do not count."""

    WORST_GROUP = "worst_group"
    WORST_CLASS = "worst_class"
    AVERAGE = "average"
    MEAN_GROUP = "mean_group"


class HeadScorer:
    """Scores heads on one set of rows, which are gathered once.

    Parameters
    ----------
    features : array of shape (N, D)
    y, g : host arrays of shape (N,)
        Class and group, g = y * (n_groups / n_classes) + a.
    rows : host array of positions, optional
        The rows to score on; all when left out.
    """

    def __init__(
        self,
        features: Array,
        y: NDArray[np.int64],
        g: NDArray[np.int64],
        n_classes: int,
        n_groups: int,
        *,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        xp = array_namespace(features)
        used = features if rows is None else xp.take(features, asarray_like(rows, features), axis=0)
        self._features = used
        self._y = y if rows is None else y[rows]
        groups = g if rows is None else g[rows]
        self._n_classes = n_classes
        member = np.arange(n_groups)[:, None] == groups
        self._count = member.sum(axis=1).astype(np.float64)
        # Counts below 2^24 are whole numbers in float32, too.
        counting = xp.float32 if groups.size < 1 << 24 else xp.float64
        self._member = xp.astype(asarray_like(member, features), counting)
        self._classes = asarray_like(self._y[:, None], features)
        self._is_second = asarray_like(self._y[:, None] == 1, features)

    def group_accuracies(self, weights: Array, biases: Array) -> NDArray[np.float64]:
        """(P, G) accuracies of heads (P, C, D), (P, C) on the device of the features; NaN where a group is empty."""
        xp = array_namespace(self._features)
        n_heads, n_classes, n_features = weights.shape
        features = xp.astype(self._features, xp.float64)
        if n_classes == 2:
            margins = product(features, (weights[:, 1, :] - weights[:, 0, :]).T) + (biases[:, 1] - biases[:, 0])
            return self.accuracies_of_outputs(margins)
        flat = xp.reshape(weights, (n_heads * n_classes, n_features))
        logits = product(features, flat.T) + xp.reshape(biases, (n_heads * n_classes,))
        return self.accuracies_of_outputs(xp.reshape(logits, (-1, n_heads, n_classes)))

    def accuracies_of_outputs(self, outputs: Array) -> NDArray[np.float64]:
        """(P, G) accuracies from the outputs of heads: margins (M, P) of two classes, else logits (M, P, C).

        The first of equal logits is predicted.
        """
        xp = array_namespace(outputs)
        is_margin = outputs.ndim == 2
        right = (outputs > 0) == self._is_second if is_margin else xp.argmax(outputs, axis=2) == self._classes
        correct = to_host(self._member @ xp.astype(right, self._member.dtype)).astype(np.float64)
        return (correct / np.where(self._count > 0, self._count, np.nan)[:, None]).T

    def watch(self, metric: SelectionMetric) -> Watch:
        """A watch that scores the iterates of trajectories by `metric` on the rows."""
        return Watch(
            features=self._features,
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
