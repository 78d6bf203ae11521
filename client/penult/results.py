"""Answers: metrics and refits, with their conventions beside them."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from penult.choices import BalanceMethod, By
from penult.errors import invalid
from penult.frames import frame, text_table
from penult.records import Group, short
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMetrics:
    """Accuracy on a named set of examples, which may overlap with others."""

    name: str
    count: int
    """Examples in it."""
    correct: int
    accuracy: float
    """correct / count; NaN where there is no example."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Metrics:
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
    """Group accuracies weighted by `average_weights`: the "average accuracy" of the Waterbirds papers."""
    worst_group_accuracy: float
    """Smallest over the groups that are not empty."""
    worst_group: Group
    worst_class_accuracy: float
    balanced_accuracy: float
    """Mean over the classes that are not empty."""
    mean_group_accuracy: float
    """Mean over the groups that are not empty ("adjusted accuracy")."""
    loss: float
    """Mean cross-entropy (log-loss) in nats."""
    brier: float
    """Mean of sum_c (p_c - 1[y = c])^2, halved for two classes (scikit-learn's convention)."""
    ece: float
    """Expected calibration error over `ece_bins` bins of equal width (Guo et al. 2017)."""
    ece_bins: int
    auroc: float
    """Of class 1 against class 0; for more classes the mean of each against the rest. NaN when a class is empty."""
    average_weights: NDArray[np.float64]
    """(G,) shares of the groups in the training split where there is one; they sum to 1."""
    masks: tuple[MaskMetrics, ...]
    """Sets of examples that may overlap, where the dataset has some (CivilComments' 16 evaluation groups)."""
    worst_mask: MaskMetrics | None
    """The one with the smallest accuracy; None when there is none."""
    worst_mask_accuracy: float
    """Its accuracy, else NaN."""

    @property
    def worst_group_interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the worst group's accuracy; it leaves out that this group was picked."""
        position = [group.index for group in self.groups].index(self.worst_group.index)
        return float(self.group_low[position]), float(self.group_high[position])

    def __repr__(self) -> str:
        return (
            f"Metrics(average {self.average_accuracy:.3f}, weighted {self.weighted_average_accuracy:.3f}, "
            f"worst group {self.worst_group_accuracy:.3f} ({self.worst_group.name}))"
        )

    def __str__(self) -> str:
        rows = [
            (group.name, str(group.count), f"{accuracy:.3f}" if group.count else "empty")
            for group, accuracy in zip(self.groups, self.group_accuracy, strict=True)
        ]
        rows += [(mask.name, str(mask.count), f"{mask.accuracy:.3f}" if mask.count else "empty") for mask in self.masks]
        low, high = self.worst_group_interval
        return "\n".join(
            [
                text_table(("group", "n", "accuracy"), rows),
                f"average {self.average_accuracy:.3f}, "
                f"weighted by training shares {self.weighted_average_accuracy:.3f}",
                f"worst group {self.worst_group_accuracy:.3f} ({self.worst_group.name}, 95 % {low:.3f} .. {high:.3f}), "
                f"worst class {self.worst_class_accuracy:.3f}, loss {self.loss:.4f} nats",
                f"balanced {self.balanced_accuracy:.3f}, AUROC {self.auroc:.3f}, "
                f"calibration error {self.ece:.3f} ({self.ece_bins} bins), Brier {self.brier:.4f}",
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """Metrics of one split at one point of a run."""

    epoch: float
    """Epochs trained; a fraction within an epoch."""
    split: str
    metrics: Metrics
    step: int = 0
    """Optimiser steps taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Head:
    """A last layer: logits = features @ weight.T + bias."""

    weight: NDArray[np.float64]
    """(C, D)"""
    bias: NDArray[np.float64]
    """(C,)"""

    def logits(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """(N, C) logits in float64 of features (N, D). Raises `InvalidRequest` on another width."""
        n_features = self.weight.shape[1]
        if features.ndim != 2 or features.shape[1] != n_features:
            raise invalid(f"features must have shape (N, {n_features}); got {features.shape}", ErrorKind.WRONG_SHAPE)
        return features.astype(np.float64) @ self.weight.T + self.bias

    def __repr__(self) -> str:
        n_classes, n_features = self.weight.shape
        return f"Head({n_classes} classes, {n_features} features)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How close to the optimum the solver came, in float64; the worst over the draws."""

    converged: bool
    gap: float
    """Bound on objective - optimum: |gradient|^2 / (2 l2); infinite when l2 = 0."""
    gradient_norm: float
    iterations: int
    """Newton steps."""
    passes: int
    """Passes over the rows."""
    objective: float
    """Mean over the draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitSettings:
    """What was fitted, with every preset expanded; the fields are the arguments of `Client.refit`."""

    feature_set: str
    preset: str
    """Empty when none was named."""
    balance: BalanceMethod
    by: By
    ratio: float | None
    l2: float
    standardize: bool
    repeats: int
    seed: int
    tolerance: float
    max_iterations: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Refit:
    """A retrained last layer."""

    digest: str
    settings: RefitSettings
    head: Head
    """Acts on raw features: standardisation is folded in. Heads of several draws are averaged."""
    certificate: Certificate
    metrics: Mapping[str, Metrics]
    """By the names given in ``evaluate=``."""
    n_rows: int
    """Rows used per draw."""
    reused: bool
    """Whether the answer was stored already."""

    def to_frame(self) -> pd.DataFrame:
        """One row per evaluated set and group. Raises ImportError when pandas is missing."""
        rows = [
            (name, *row)
            for name, metrics in self.metrics.items()
            for row in zip(metrics.groups, metrics.correct, metrics.group_accuracy, strict=True)
        ]
        return frame(
            {
                "evaluated_on": [name for name, _, _, _ in rows],
                "group": [group.name for _, group, _, _ in rows],
                "n": [group.count for _, group, _, _ in rows],
                "correct": [int(correct) for _, _, correct, _ in rows],
                "accuracy": [float(accuracy) for _, _, _, accuracy in rows],
            }
        )

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{name}: average {metrics.average_accuracy:.3f} worst group {metrics.worst_group_accuracy:.3f}"
            for name, metrics in self.metrics.items()
        )
        settings = self.settings
        label = settings.preset or settings.balance
        ended = "" if self.certificate.converged else ", NOT CONVERGED"
        return f"Refit({short(self.digest)}, {label}, l2 {settings.l2:g}{ended}{'; ' if scores else ''}{scores})"
