"""Accuracies, calibration and loss of a split, by group and by named mask."""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, host_classes_and_groups, to_host
from penult_kernels.finite import are_weights
from penult_kernels.metrics.scores import ECE_BINS, ProbabilityScores, probability_scores, wilson_interval
from penult_kernels.moments.moments import matrix_shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupMetrics:
    """Metrics of one split, NumPy on the host. Metrics without examples are NaN, never 0."""

    correct: NDArray[np.int64]
    """(G,) examples classified correctly."""
    count: NDArray[np.int64]
    """(G,) examples."""
    group_accuracy: NDArray[np.float64]
    """(G,) correct / count; NaN where the group is empty."""
    group_interval: NDArray[np.float64]
    """(G, 2) Wilson score interval of each group's accuracy, 95 %; NaN where the group is empty."""
    confusion: NDArray[np.int64]
    """(G, C) predictions of each class in each group; rows whose logits hold a NaN are in none."""
    average_accuracy: float
    """Fraction of all examples that are correct."""
    weighted_average_accuracy: float
    """sum_g average_weights[g] * group_accuracy[g]; NaN without weights, and when a group with a weight is empty."""
    worst_group_accuracy: float
    """Smallest accuracy of a non-empty group."""
    worst_group: int
    """Index of that group, the first of equals; -1 when every group is empty."""
    worst_class_accuracy: float
    """Smallest accuracy of a class that has examples."""
    balanced_accuracy: float
    """Mean accuracy of the classes that have examples."""
    mean_group_accuracy: float
    """Mean accuracy of the groups that have examples ("adjusted accuracy")."""
    average_weights: NDArray[np.float64]
    """(G,) weights of the weighted average, sum 1; (0,) when there are none."""
    mask_count: NDArray[np.int64]
    """(M,) examples under each mask; masks may overlap. (0,) without masks."""
    mask_correct: NDArray[np.int64]
    """(M,) examples under each mask that are classified correctly."""
    mask_accuracy: NDArray[np.float64]
    """(M,) mask_correct / mask_count; NaN under an empty mask."""
    worst_mask_accuracy: float
    """Smallest accuracy under a non-empty mask; NaN without one."""
    worst_mask: int
    """Index of that mask, the first of equals; -1 without one."""
    probabilities: ProbabilityScores
    """Loss, Brier score, calibration error and AUROC."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy over the examples, nats."""
        return self.probabilities.loss


def group_metrics(
    logits: Array,
    y: Array,
    g: Array,
    n_groups: int,
    *,
    average_weights: Array | None = None,
    masks: Array | None = None,
) -> GroupMetrics:
    """Accuracies, calibration and loss of one split.

    The prediction is the largest logit, the first of equals. A row whose logits hold a NaN predicts
    nothing: it counts as wrong, and loss, Brier score, calibration error and AUROC are NaN.

    Parameters
    ----------
    logits : array of shape (N, C)
        Any real floating type.
    y, g : array of shape (N,)
        Class and group, g = y * n_attributes + a with n_attributes = n_groups // C; on the host or on the
        device of `logits`.
    n_groups : int
        G, a multiple of C.
    average_weights : array of shape (G,), optional
        Weights of the weighted average, at least 0, any positive sum: usually the training groups' counts
        (the average that Waterbirds' papers report). Without them there is no weighted average: NaN.
    masks : bool array of shape (M, N), optional
        Further groups of rows, which may overlap and need not cover all of them, such as the 16 evaluation groups
        of CivilComments; on the host or on the device of `logits`.

    Raises
    ------
    ValueError
        When shapes or labels do not fit each other, or the weights are no weights.
    """
    n_rows, n_classes = matrix_shape(logits, name="logits")
    classes, groups = host_classes_and_groups(y, g, n_rows, n_classes=n_classes, n_groups=n_groups)
    row_masks = _host_masks(masks, n_rows)
    predicted = _predictions(logits)
    is_correct: NDArray[np.bool_] = predicted == classes
    count = np.bincount(groups, minlength=n_groups)
    correct = np.bincount(groups[is_correct], minlength=n_groups)
    mask_count, mask_correct = row_masks.sum(axis=1), (row_masks & is_correct).sum(axis=1)
    group_accuracy, mask_accuracy = _share(correct, count), _share(mask_correct, mask_count)
    by_class = (n_classes, n_groups // n_classes)
    class_accuracy = _share(correct.reshape(by_class).sum(axis=1), count.reshape(by_class).sum(axis=1))
    weights = np.zeros(0) if average_weights is None else _normalised(average_weights, n_groups)
    worst_group, worst_mask = _worst(group_accuracy), _worst(mask_accuracy)
    return GroupMetrics(
        correct=correct,
        count=count,
        group_accuracy=group_accuracy,
        group_interval=wilson_interval(correct, count),
        confusion=_confusion(groups, predicted, n_groups, n_classes),
        average_accuracy=float(np.mean(is_correct)) if n_rows else math.nan,
        weighted_average_accuracy=_weighted(group_accuracy, weights),
        worst_group_accuracy=_at(group_accuracy, worst_group),
        worst_group=worst_group,
        worst_class_accuracy=_at(class_accuracy, _worst(class_accuracy)),
        balanced_accuracy=float(np.nanmean(class_accuracy)) if n_rows else math.nan,
        mean_group_accuracy=float(np.nanmean(group_accuracy)) if n_rows else math.nan,
        average_weights=weights,
        mask_count=mask_count,
        mask_correct=mask_correct,
        mask_accuracy=mask_accuracy,
        worst_mask_accuracy=_at(mask_accuracy, worst_mask),
        worst_mask=worst_mask,
        probabilities=probability_scores(logits, classes, bins=ECE_BINS),
    )


def _predictions(logits: Array) -> NDArray[np.int64]:
    """The class predicted for each row, -1 where the logits hold a NaN; on the host."""
    xp = array_namespace(logits)
    if not logits.shape[0]:
        return np.zeros(0, dtype=np.int64)
    has_nan = xp.any(xp.isnan(logits), axis=1)
    return to_host(xp.where(has_nan, -1, xp.argmax(logits, axis=1))).astype(np.int64)


def _confusion(
    groups: NDArray[np.int64], predicted: NDArray[np.int64], n_groups: int, n_classes: int
) -> NDArray[np.int64]:
    """(G, C) predictions of each class in each group."""
    cell = (groups * n_classes + predicted)[predicted >= 0]
    return np.bincount(cell, minlength=n_groups * n_classes).reshape(n_groups, n_classes)


def _host_masks(masks: Array | None, n_rows: int) -> NDArray[np.bool_]:
    """Masks on the host, (0, N) when there are none."""
    if masks is None:
        return np.zeros((0, n_rows), dtype=np.bool_)
    found = to_host(masks)
    if found.ndim != 2 or found.shape[1] != n_rows or found.dtype != np.bool_:
        raise ValueError(
            f"masks must be booleans, one row per mask, shape (M, {n_rows}), got {found.dtype} {found.shape}"
        )
    return found


def _worst(accuracy: NDArray[np.float64]) -> int:
    """Index of the smallest that is not NaN, the first of equals; -1 when all are."""
    return int(np.nanargmin(accuracy)) if np.any(~np.isnan(accuracy)) else -1


def _at(accuracy: NDArray[np.float64], index: int) -> float:
    return float(accuracy[index]) if index >= 0 else math.nan


def _weighted(accuracy: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Sum of weight times accuracy over the groups that have a weight; NaN when there are no weights."""
    return float(weights[weights != 0] @ accuracy[weights != 0]) if weights.size else math.nan


def _share(part: NDArray[np.int64], whole: NDArray[np.int64] | np.int64) -> NDArray[np.float64]:
    """part / whole, NaN where the whole is empty."""
    return part / np.where(whole > 0, whole, np.nan)


def _normalised(average_weights: Array, n_groups: int) -> NDArray[np.float64]:
    """The given weights scaled to sum 1."""
    values = to_host(average_weights).astype(np.float64)
    if values.shape != (n_groups,) or not are_weights(values):
        raise ValueError(
            f"average_weights must be {n_groups} finite numbers of at least 0 with a positive sum, got {values}"
        )
    return values / values.sum()
