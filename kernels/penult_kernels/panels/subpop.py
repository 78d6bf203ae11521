"""The numbers of SubpopBench by class, attribute value and group, with what is undefined left undefined."""

import math
from collections.abc import Iterator

import numpy as np

from penult_kernels.metrics.scores import probability_scores
from penult_kernels.panels.areas import area, average_precision
from penult_kernels.panels.exact import against_the_rest
from penult_kernels.panels.panel import (
    ALL,
    Booleans,
    Panel,
    PanelDefinition,
    PanelValue,
    Part,
    PartKind,
    Scored,
    number,
    proportion,
)

SOURCE = "Yang et al. 2023 (SubpopBench), scikit-learn's definitions; NaN where undefined"
ONE_CLASS = "the part has rows of one class only"


def _defined(id: str, formula: str, direction: str = "higher") -> PanelDefinition:
    return PanelDefinition(id=id, panel="subpop", formula=formula, source=SOURCE, direction=direction)


DEFINITIONS = (
    _defined("accuracy", "share of rows predicted right; p: Fisher's exact test of a group against the other groups"),
    _defined("precision", "of rows predicted as the class, the share that is; mean over classes for a part"),
    _defined("recall", "of rows of the class, the share predicted so; mean over classes with rows for a part"),
    _defined("f1", "2 TP / (2 TP + FP + FN); mean over classes with rows or predictions for a part"),
    _defined("auroc", "area under the ROC curve, mean over classes against the rest where there are more than two"),
    _defined("auprc", "average precision of class 1, or mean over classes where there are more than two"),
    _defined("ece", "sum_b n_b / n |accuracy_b - mean confidence_b|, 15 bins of equal width", "lower"),
    _defined("brier", "mean of sum_c (p_c - 1[y = c])^2, halved for two classes", "lower"),
    _defined("adjusted_accuracy", "unweighted mean of the groups' accuracies, of those that have rows"),
    _defined("worst_group_accuracy", "least of the groups' accuracies, of those that have rows"),
)


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Over all rows, by class, attribute value and group."""
    kinds = (PartKind.ALL, PartKind.CLASS, PartKind.ATTRIBUTE, PartKind.GROUP)
    right, count = (np.bincount(g, minlength=rows.n_groups) for g in (rows.g[rows.predicted == rows.y], rows.g))
    p_values = against_the_rest(list(zip(right.tolist(), count.tolist(), strict=True)))
    for part, inside in rows.parts(*kinds):
        n = int(inside.sum())
        if not n:
            yield PanelValue(id="accuracy", part=part, note="the part is empty")
            continue
        p = float(p_values[part.index]) if part.kind is PartKind.GROUP else math.nan
        yield proportion("accuracy", part, int(np.sum(rows.predicted[inside] == rows.y[inside])), n, "", p)
        yield from _of_classes(rows, part, inside)
        scores = probability_scores(rows.logits[inside], rows.y[inside])
        yield number("ece", part, scores.ece, n, "")
        yield number("brier", part, scores.brier, n, "")
        if part.kind in (PartKind.ALL, PartKind.ATTRIBUTE):
            yield from _areas(rows, part, inside)
    accuracy = group_accuracies(rows)
    yield number("adjusted_accuracy", ALL, float(np.nanmean(accuracy)), rows.y.size, "")
    yield number("worst_group_accuracy", ALL, float(np.nanmin(accuracy)), rows.y.size, "")


def group_accuracies(rows: Scored) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(G,) NaN for empty groups.

    >>> import numpy as np
    >>> rows = Scored(logits=np.eye(2)[[0, 1, 1]], y=np.array([0, 1, 0]), g=np.array([0, 1, 0]), n_groups=2)
    >>> group_accuracies(rows).tolist()
    [0.5, 1.0]
    """
    right = np.bincount(rows.g[rows.predicted == rows.y], minlength=rows.n_groups)
    count = np.bincount(rows.g, minlength=rows.n_groups)
    return right / np.where(count > 0, count, np.nan)


def _of_classes(rows: Scored, part: Part, inside: Booleans) -> Iterator[PanelValue]:
    """Precision, recall and F1: of the class itself for a class, over all rows; else means over classes."""
    if part.kind is PartKind.GROUP:
        return  # a group has one class: its recall is its accuracy, and precision says nothing
    classes = [part.index] if part.kind is PartKind.CLASS else range(rows.n_classes)
    among = np.ones(rows.y.size, dtype=np.bool_) if part.kind is PartKind.CLASS else inside
    found = np.array([_counts(rows, c, among) for c in classes], dtype=np.float64)
    hits, predicted, actual = found.T
    if part.kind is PartKind.CLASS:
        yield proportion("precision", part, int(hits[0]), int(predicted[0]), "the class is never predicted")
        yield proportion("recall", part, int(hits[0]), int(actual[0]), "the class has no rows")
    else:
        yield number("precision", part, _mean(hits, predicted), int(inside.sum()), "no class is predicted")
        yield number("recall", part, _mean(hits, actual), int(inside.sum()), "no class has rows")
    yield number("f1", part, _mean(2 * hits, predicted + actual), int(among.sum()), "no rows, no predictions")


def _counts(rows: Scored, c: int, among: Booleans) -> tuple[int, int, int]:
    """Rows of the class predicted so, predicted so, and of the class."""
    is_predicted, is_class = rows.predicted[among] == c, rows.y[among] == c
    return int(np.sum(is_predicted & is_class)), int(is_predicted.sum()), int(is_class.sum())


def _mean(above: np.ndarray, below: np.ndarray) -> float:
    known = below > 0
    return float(np.mean(above[known] / below[known])) if known.any() else math.nan


def _areas(rows: Scored, part: Part, inside: Booleans) -> Iterator[PanelValue]:
    y, n = rows.y[inside], int(inside.sum())
    counts = np.bincount(y, minlength=rows.n_classes)
    if rows.n_classes == 2:
        margin = (rows.logits[:, 1] - rows.logits[:, 0])[inside]
        value, low, high = area(margin[y == 1], margin[y == 0])
        note = "" if math.isfinite(value) else ONE_CLASS
        yield PanelValue(id="auroc", part=part, value=value, low=low, high=high, n=n, note=note)
        precision = average_precision(margin, y == 1) if counts[0] else math.nan
        yield number("auprc", part, precision, n, ONE_CLASS)
        return
    is_whole = bool((counts > 0).all())
    scores = rows.log_p[inside]
    areas = [area(scores[y == c, c], scores[y != c, c])[0] for c in range(rows.n_classes)] if is_whole else [math.nan]
    yield number("auroc", part, float(np.mean(areas)), n, "a class has no rows here")
    each = [average_precision(scores[:, c], y == c) for c in range(rows.n_classes)] if is_whole else [math.nan]
    yield number("auprc", part, float(np.mean(each)), n, "a class has no rows here")


PANEL = Panel(name="subpop", definitions=DEFINITIONS, compute=compute)
