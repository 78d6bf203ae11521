"""The numbers of WILDS' leaderboards: identities that overlap by label, and the tails over regions or users."""

import math
from collections.abc import Iterator

import numpy as np

from penult_kernels.panels.panel import (
    ALL,
    Panel,
    PanelDefinition,
    PanelValue,
    Part,
    PartKind,
    Scored,
    number,
    proportion,
)

SOURCE = "Koh et al. 2021 (WILDS): CivilComments-wilds takes the worst of 8 identities x 2 labels, which overlap"
EMPTY = "no row has the mark and the class"


def _defined(id: str, formula: str) -> PanelDefinition:
    return PanelDefinition(id=id, panel="wilds", formula=formula, source=SOURCE, direction="higher")


DEFINITIONS = (
    _defined("marked_accuracy", "accuracy of rows with a mask and of a class: a row counts in each of its masks"),
    _defined("worst_marked_accuracy", "least of them, of those that have rows"),
    _defined("worst_value_accuracy", "least accuracy over attribute values, such as regions, of those that have rows"),
    _defined("tenth_percentile_accuracy", "10th percentile over attribute values, such as users, of the accuracy"),
    _defined("macro_f1", "mean over classes with rows or predictions of 2 TP / (2 TP + FP + FN)"),
)


def compute(rows: Scored) -> Iterator[PanelValue]:
    """By mask and class, and over all of these and all attribute values."""
    right, n = rows.predicted == rows.y, rows.y.size
    each: list[float] = []
    for part, mask in rows.parts(PartKind.MASK):
        for c in range(rows.n_classes):
            inside = mask & (rows.y == c)
            own = Part(PartKind.MASK_CLASS, part.index * rows.n_classes + c)
            yield proportion("marked_accuracy", own, int(right[inside].sum()), int(inside.sum()), EMPTY)
            each += [float(right[inside].mean())] if inside.any() else []
    if rows.masks is None:
        yield PanelValue(id="marked_accuracy", n=n, note="the set has no masks")
    yield number("worst_marked_accuracy", ALL, min(each, default=math.nan), n, "no mask has rows")
    of_values = [float(right[inside].mean()) for _, inside in rows.parts(PartKind.ATTRIBUTE) if inside.any()]
    why = "the set has no attribute"
    yield number("worst_value_accuracy", ALL, min(of_values, default=math.nan), n, why)
    tenth = float(np.percentile(of_values, 10)) if of_values else math.nan
    yield number("tenth_percentile_accuracy", ALL, tenth, n, why)
    yield number("macro_f1", ALL, macro_f1(rows), n, "no rows, no predictions")


def macro_f1(rows: Scored) -> float:
    """Mean over classes that have rows or predictions.

    >>> import numpy as np
    >>> rows = Scored(logits=np.eye(2)[[0, 1, 1]], y=np.array([0, 1, 0]), g=np.array([0, 1, 0]), n_groups=2)
    >>> macro_f1(rows) == (2 * 1 / (2 * 1 + 0 + 1) + 2 * 1 / (2 * 1 + 1 + 0)) / 2
    True
    """
    hits = np.bincount(rows.y[rows.predicted == rows.y], minlength=rows.n_classes)
    both = np.bincount(rows.y, minlength=rows.n_classes) + np.bincount(rows.predicted, minlength=rows.n_classes)
    known = both > 0
    return float(np.mean(2 * hits[known] / both[known])) if known.any() else math.nan


PANEL = Panel(name="wilds", definitions=DEFINITIONS, compute=compute)
