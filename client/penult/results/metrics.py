"""Metrics, with their conventions beside them."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.display.names import one_line
from penult.files.savable import Savable
from penult.results.diagnosis.panels import Panel
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines
from penult.results.records import Group
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Z_95 = 1.959963984540054
"""Quantile of the normal distribution that 95 % intervals reach to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMetrics(Shown):
    """Accuracy on a named set of examples, which may overlap with others."""

    name: str
    count: int
    """Examples in it."""
    correct: int
    accuracy: float
    """correct / count; NaN where there is no example."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the accuracy; NaN where there is no example."""
        if not self.count:
            return math.nan, math.nan
        n, z2 = self.count, Z_95**2
        middle = (self.correct + z2 / 2) / (n + z2)
        reach = Z_95 / (n + z2) * math.sqrt(self.correct * (n - self.correct) / n + z2 / 4)
        return max(0.0, middle - reach), min(1.0, middle + reach)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Metrics(Shown, Savable):
    """Accuracies, in [0, 1], of one head or model on one split; NaN where nothing was counted."""

    groups: tuple[Group, ...]
    correct: NDArray[np.int64]
    """(G,) correct predictions."""
    group_accuracy: NDArray[np.float64]
    """(G,) correct / n; NaN for an empty group, never 0."""
    group_low: NDArray[np.float64]
    """(G,) lower ends of the 95 % Wilson score intervals of the accuracies; NaN for an empty group."""
    group_high: NDArray[np.float64]
    """(G,) upper ends."""
    confusion: NDArray[np.int64]
    """(G, C) how often each class was predicted in each group."""
    average_accuracy: float
    """Over all examples."""
    weighted_average_accuracy: float
    """Group accuracies weighted by `average_weights`: the "average accuracy" of the Waterbirds papers. NaN where they
    are not known, and where a group that has a weight is empty."""
    worst_group_accuracy: float
    """Smallest accuracy of the groups that are not empty."""
    worst_group: Group
    worst_class_accuracy: float
    balanced_accuracy: float
    """Mean accuracy of the classes that are not empty."""
    mean_group_accuracy: float
    """Mean accuracy of the groups that are not empty ("adjusted accuracy")."""
    loss: float
    """Mean cross-entropy (log-loss) in nats."""
    brier: float
    """Mean of sum_c (p_c - 1[y = c])^2, halved for two classes (scikit-learn's convention)."""
    ece: float
    """Expected calibration error of the predicted class's probability, over `ece_bins` bins of equal width (Guo et al.
    2017), for two classes too; some libraries bin the probability of class 1 there and get another number."""
    ece_bins: int
    auroc: float
    """Area under the ROC curve of class 1 against class 0; for more classes the mean of each against the rest. NaN when
    a class is empty."""
    average_weights: NDArray[np.float64]
    """(G,) fraction of each group among the training examples, summing to 1; empty when not known."""
    masks: tuple[MaskMetrics, ...]
    """Metrics of overlapping sets of examples, where the dataset has some (CivilComments' 16 evaluation groups)."""
    worst_mask: MaskMetrics | None
    """The mask with the smallest accuracy; None when there is none."""
    worst_mask_accuracy: float
    """Accuracy of `worst_mask`; NaN when there is none."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups."""
    notes: Notes = ()
    """What the numbers alone do not say, such as that one class is predicted for every row."""
    panels: Mapping[str, Panel] = field(default_factory=dict[str, Panel])
    """Panels that were asked for, by their names."""

    @property
    def worst_group_interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the worst group's accuracy, which ignores that this group was selected."""
        position = [group.index for group in self.groups].index(self.worst_group.index)
        return float(self.group_low[position]), float(self.group_high[position])

    def to_frame(self) -> pd.DataFrame:
        """One row per group. Raises ImportError when pandas is missing.

        Columns: `group` (name), `n`, `correct`, `accuracy`, `low` and `high` (ends of its 95 % Wilson score interval),
        and `worst`, which is True for the worst group alone. An empty group has NaN for its accuracy.
        """
        return frame(
            {
                "group": [group.name for group in self.groups],
                "n": [group.count for group in self.groups],
                "correct": self.correct.tolist(),
                "accuracy": self.group_accuracy.tolist(),
                "low": self.group_low.tolist(),
                "high": self.group_high.tolist(),
                "worst": [group.index == self.worst_group.index for group in self.groups],
            },
            self.notes,
        )

    def masks_to_frame(self) -> pd.DataFrame:
        """One row per mask, with the columns of `to_frame`. Raises ImportError when pandas is missing."""
        return frame(
            {
                "mask": [mask.name for mask in self.masks],
                "n": [mask.count for mask in self.masks],
                "correct": [mask.correct for mask in self.masks],
                "accuracy": [mask.accuracy for mask in self.masks],
                "low": [mask.interval[0] for mask in self.masks],
                "high": [mask.interval[1] for mask in self.masks],
                "worst": [mask is self.worst_mask for mask in self.masks],
            },
            self.notes,
        )

    def plot(self) -> Figure:
        """The accuracy of every group with its 95 % Wilson score interval, and the average as a dashed line.

        The worst group is a triangle. Masks follow below the groups. Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.groups import metrics_figure

        return metrics_figure(self)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import metrics_html

        return metrics_html(self)

    def __repr__(self) -> str:
        weighted = f"weighted {self.weighted_average_accuracy:.3f}, " if self.average_weights.size else ""
        by = "" if self.grouping is None else f"by {one_line(self.grouping.attribute)}: "
        return (
            f"Metrics({by}average {self.average_accuracy:.3f}, {weighted}"
            f"worst group {self.worst_group_accuracy:.3f} ({one_line(self.worst_group.name)}))"
            f"{lines(self.notes)}"
        )

    def __str__(self) -> str:
        rows = [
            (group.name, str(group.count), f"{accuracy:.3f}" if group.count else "empty")
            for group, accuracy in zip(self.groups, self.group_accuracy, strict=True)
        ]
        rows += [(mask.name, str(mask.count), f"{mask.accuracy:.3f}" if mask.count else "empty") for mask in self.masks]
        low, high = self.worst_group_interval
        weighted = f", weighted by training shares {self.weighted_average_accuracy:.3f}"
        return "\n".join(
            [
                text_table(("group" if self.grouping is None else self.grouping.attribute, "n", "accuracy"), rows),
                f"average {self.average_accuracy:.3f}{weighted if self.average_weights.size else ''}",
                f"worst group {self.worst_group_accuracy:.3f} ({self.worst_group.name}, 95 % {low:.3f} .. {high:.3f}), "
                f"worst class {self.worst_class_accuracy:.3f}, loss {self.loss:.4f} nats",
                f"balanced {self.balanced_accuracy:.3f}, AUROC {self.auroc:.3f}, "
                f"calibration error {self.ece:.3f} ({self.ece_bins} bins), Brier {self.brier:.4f}{lines(self.notes)}",
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EpochMetrics(Shown):
    """Metrics of one split at one point of a run."""

    epoch: float
    """Epochs trained; a fraction within an epoch."""
    split: str
    metrics: Metrics
    step: int = 0
    """Optimiser steps taken."""

    def __repr__(self) -> str:
        return f"EpochMetrics(epoch {self.epoch:g}, {one_line(self.split)}: {self.metrics!r})"

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.groups import epoch_html

        return epoch_html(self)
