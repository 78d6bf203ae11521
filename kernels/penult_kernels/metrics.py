"""Accuracies and loss of a split, by group."""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, host_classes_and_groups, to_host
from penult_kernels.moments import matrix_shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupMetrics:
    """Metrics of one split, host NumPy. What has no examples is NaN, never 0."""

    correct: NDArray[np.int64]
    """(G,) examples classified correctly."""
    count: NDArray[np.int64]
    """(G,) examples."""
    group_accuracy: NDArray[np.float64]
    """(G,) correct / count; NaN where the group is empty."""
    average_accuracy: float
    """Share of all examples that are correct."""
    weighted_average_accuracy: float
    """sum_g average_weights[g] * group_accuracy[g]; NaN when a group with a weight is empty."""
    worst_group_accuracy: float
    """Smallest accuracy of a non-empty group."""
    worst_group: int
    """Index of that group, the first of equals; -1 when every group is empty."""
    worst_class_accuracy: float
    """Smallest accuracy of a class that has examples."""
    loss: float
    """Mean cross-entropy over the examples, nats."""
    average_weights: NDArray[np.float64]
    """(G,) weights of the weighted average, sum 1."""


def group_metrics(
    logits: Array, y: Array, g: Array, n_groups: int, *, average_weights: Array | None = None
) -> GroupMetrics:
    """Accuracies and loss of one split.

    The prediction is the largest logit, the first of equals. A row whose logits hold a NaN predicts
    nothing: it counts as wrong, and the loss is NaN.

    Parameters
    ----------
    logits : array of shape (N, C)
        Any real floating type.
    y, g : array of shape (N,)
        Class and group, g = y * n_attributes + a with n_attributes = n_groups // C; on the host or beside
        `logits`.
    n_groups : int
        G, a multiple of C.
    average_weights : array of shape (G,), optional
        Weights of the weighted average, at least 0, any positive sum: usually the training groups' counts
        (the average that Waterbirds' papers report). The split's own counts when left out, which makes
        both averages the same.

    Raises
    ------
    ValueError
        When shapes or labels do not fit each other, or the weights are no weights.
    """
    n_rows, n_classes = matrix_shape(logits, name="logits")
    classes, groups = host_classes_and_groups(y, g, n_rows, n_classes=n_classes, n_groups=n_groups)
    by_class = (n_classes, n_groups // n_classes)
    is_correct, loss = _score(logits, classes)
    count = np.bincount(groups, minlength=n_groups)
    correct = np.bincount(groups[is_correct], minlength=n_groups)
    group_accuracy = _share(correct, count)
    weights = _share(count, count.sum()) if average_weights is None else _normalised(average_weights, n_groups)
    class_accuracy = _share(correct.reshape(by_class).sum(axis=1), count.reshape(by_class).sum(axis=1))
    worst_group = int(np.nanargmin(group_accuracy)) if n_rows else -1
    return GroupMetrics(
        correct=correct,
        count=count,
        group_accuracy=group_accuracy,
        average_accuracy=float(np.mean(is_correct)) if n_rows else math.nan,
        weighted_average_accuracy=float(weights[weights != 0] @ group_accuracy[weights != 0]),
        worst_group_accuracy=float(group_accuracy[worst_group]) if n_rows else math.nan,
        worst_group=worst_group,
        worst_class_accuracy=float(np.nanmin(class_accuracy)) if n_rows else math.nan,
        loss=loss,
        average_weights=weights,
    )


def _score(logits: Array, y: NDArray[np.int64]) -> tuple[NDArray[np.bool_], float]:
    """Which rows are classified correctly, and the mean cross-entropy -log softmax(logits)[y]."""
    xp = array_namespace(logits)
    if not y.size:
        return np.zeros(0, dtype=np.bool_), math.nan
    wide = xp.astype(logits, xp.float64)
    label = beside(y, logits)
    is_correct = (xp.argmax(wide, axis=1) == label) & ~xp.any(xp.isnan(wide), axis=1)
    # Shifting by the largest logit keeps every exponent at or below zero.
    shifted = wide - xp.max(wide, axis=1, keepdims=True)
    of_label = xp.take_along_axis(shifted, label[:, None], axis=1)[:, 0]
    losses = xp.log(xp.sum(xp.exp(shifted), axis=1)) - of_label
    return to_host(is_correct), float(xp.mean(losses))


def _share(part: NDArray[np.int64], whole: NDArray[np.int64] | np.int64) -> NDArray[np.float64]:
    """part / whole, NaN where the whole is empty."""
    return part / np.where(whole > 0, whole, np.nan)


def _normalised(average_weights: Array, n_groups: int) -> NDArray[np.float64]:
    """Given weights scaled to sum 1."""
    values = to_host(average_weights).astype(np.float64)
    total = float(values.sum())
    if values.shape != (n_groups,) or not (math.isfinite(total) and total > 0 and np.all(values >= 0)):
        raise ValueError(
            f"average_weights must be {n_groups} finite numbers of at least 0 with a positive sum, got {values}"
        )
    return values / total
