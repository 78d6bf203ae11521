"""Refits: heads, certificates, what was asked with every preset filled in, and what was chosen."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult.coerce import listed, names
from penult.coerce_arrays import numbers
from penult.errors import invalid, shown
from penult.frames import frame
from penult.notes import Notes, lines
from penult.records import short
from penult.references import FeatureSetLike, wrong_sort
from penult.refit_settings import RefitSettings
from penult.results import Metrics
from penult.types import HeadChoice, Scaling, SelectMetric
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Head:
    """A last layer: logits = features @ weight.T + bias.

    Made of arrays, lists or tensors. Raises `InvalidRequest` unless these are numbers whose shapes fit each other.
    """

    weight: NDArray[np.float64]
    """(C, D)"""
    bias: NDArray[np.float64]
    """(C,)"""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the rows: labels of other names, or in another order, are then met by name.
    None: the rows go by their index."""
    checkpoint: str = ""
    """Digest of the checkpoint whose features it reads; empty where that is not known."""

    def __post_init__(self) -> None:
        weight, bias = numbers("weight", self.weight), numbers("bias", self.bias)
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise invalid(
                f"a head has weight (C, D) and bias (C,); got {weight.shape} and {bias.shape}", ErrorKind.WRONG_SHAPE
            )
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    def logits(self, features: ArrayLike) -> NDArray[np.float64]:
        """(N, C) logits in float64 of features (N, D). Raises `InvalidRequest` on another width."""
        rows, n_features = numbers("features", features), self.weight.shape[1]
        if rows.ndim != 2 or rows.shape[1] != n_features:
            raise invalid(f"features must have shape (N, {n_features}); got {rows.shape}", ErrorKind.WRONG_SHAPE)
        with np.errstate(all="ignore"):
            return rows @ self.weight.T + self.bias

    def __repr__(self) -> str:
        n_classes, n_features = self.weight.shape
        return f"Head({n_classes} classes, {n_features} features)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How close to the optimum the solver came, in float64, on the problem as it was solved; the worst over the draws.

    A path has no optimum: then `converged` is False, `iterations` the step that was kept, and the rest NaN or 0.
    """

    converged: bool
    gap: float
    """Bound on objective - optimum: a duality gap."""
    gradient_norm: float
    iterations: int
    """Newton steps; of a robust risk, rounds of weights."""
    passes: int
    """Passes over the rows, all draws together."""
    objective: float
    """Mean over the draws."""
    head_error: float
    """Bound on |V - V*|, V the head (C, D) in the space solved: sqrt(2 gap / l2), since the objective is l2-strongly
    convex. Logits of two rows that lie r apart there differ from the optimum's by at most r times it. NaN without an
    l2, and of a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One combination of a grid's values."""

    values: Mapping[str, float]
    score: float
    """Of the metric that was selected by."""
    worst_group_accuracy: float
    average_accuracy: float
    converged: bool
    step: int
    """Of a path, the step that was kept; else 0."""
    failure: str = ""
    """Why it could not be fitted: its numbers are NaN then, and it was not chosen. Empty where it could."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Selection:
    """How the candidates of a grid did on the rows that choose."""

    metric: SelectMetric
    candidates: tuple[Candidate, ...]
    """In the order of the grid, the last of its numbers fastest."""
    chosen: Candidate

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate. Raises ImportError when pandas is missing."""
        names = list(self.chosen.values)
        return frame(
            {
                **{name: [one.values[name] for one in self.candidates] for name in names},
                "score": [one.score for one in self.candidates],
                "worst_group_accuracy": [one.worst_group_accuracy for one in self.candidates],
                "average_accuracy": [one.average_accuracy for one in self.candidates],
                "converged": [one.converged for one in self.candidates],
                "step": [one.step for one in self.candidates],
                "failure": [one.failure for one in self.candidates],
                "chosen": [one is self.chosen for one in self.candidates],
            }
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:g}" for name, value in self.chosen.values.items())
        return f"Selection({len(self.candidates)} candidates; {values} by {self.metric} {self.chosen.score:.3f})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Rows of the draws, by their ids."""

    row_ids: NDArray[np.uint64]
    """(R, n)"""
    weights: NDArray[np.float64]
    """(R, n) weight of each row, before they are scaled to sum 1."""


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
    selection: Selection | None
    """Where something was selected."""
    plan: Plan | None
    """With ``plan=True``."""
    n_rows: int
    """Rows used per draw."""
    reused: bool
    """Whether the answer was stored already."""
    notes: Notes = ()
    """What its numbers alone do not say, such as that the head predicts one class for every row."""

    def to_frame(self) -> pd.DataFrame:
        """One row per evaluated set and group. Raises ImportError when pandas is missing."""
        rows = [
            (name, *row)
            for name, metrics in self.metrics.items()
            for row in zip(
                metrics.groups,
                metrics.correct,
                metrics.group_accuracy,
                metrics.group_low,
                metrics.group_high,
                strict=True,
            )
        ]
        return frame(
            {
                "evaluated_on": [row[0] for row in rows],
                "group": [row[1].name for row in rows],
                "n": [row[1].count for row in rows],
                "correct": [int(row[2]) for row in rows],
                "accuracy": [float(row[3]) for row in rows],
                "low": [float(row[4]) for row in rows],
                "high": [float(row[5]) for row in rows],
            },
            self.notes,
        )

    def plot(self) -> Figure:
        """Group accuracies with their intervals, and the curve of the selection where there is one.

        Raises ImportError when matplotlib is missing.
        """
        from penult.plots import plot_refit

        return plot_refit(self)

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{name}: average {metrics.average_accuracy:.3f} worst group {metrics.worst_group_accuracy:.3f}"
            for name, metrics in self.metrics.items()
        )
        settings = self.settings
        label = settings.preset or settings.balance
        if settings.path is not None:
            ended = f", step {self.certificate.iterations}"
        else:
            ended = "" if self.certificate.converged else ", NOT CONVERGED"
        strengths = "".join(
            f", {name} {value:g}" for name, value in (("l1", settings.l1), ("l2", settings.l2)) if value
        )
        return (
            f"Refit({short(self.digest)}, {label}{strengths}{ended}{'; ' if scores else ''}{scores}){lines(self.notes)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Interpolation:
    """Metrics along the line from one head to another: head(t) = (1 - t) first + t second."""

    t: NDArray[np.float64]
    """(M,)"""
    metrics: tuple[Metrics, ...]
    """One for each t."""
    notes: Notes = ()
    """How the heads' classes were matched where that is not plain."""

    @property
    def worst_group_accuracy(self) -> NDArray[np.float64]:
        """(M,)"""
        return np.array([one.worst_group_accuracy for one in self.metrics])

    @property
    def average_accuracy(self) -> NDArray[np.float64]:
        """(M,)"""
        return np.array([one.average_accuracy for one in self.metrics])

    def to_frame(self) -> pd.DataFrame:
        """One row per t. Raises ImportError when pandas is missing."""
        return frame(
            {
                "t": self.t.tolist(),
                "average_accuracy": self.average_accuracy.tolist(),
                "worst_group_accuracy": self.worst_group_accuracy.tolist(),
                "loss": [one.loss for one in self.metrics],
            },
            self.notes,
        )

    def plot(self) -> Figure:
        """Average and worst group over t. Raises ImportError when matplotlib is missing."""
        from penult.plots import plot_interpolation

        return plot_interpolation(self)

    def __repr__(self) -> str:
        worst = self.worst_group_accuracy
        best = int(np.argmax(worst))
        return (
            f"Interpolation({len(self.t)} heads; worst group {worst[0]:.3f} .. {worst[-1]:.3f}, "
            f"best {worst[best]:.3f} at t = {self.t[best]:.2f}){lines(self.notes)}"
        )


HeadArrays: TypeAlias = tuple[ArrayLike, ArrayLike]
"""Weight (C, D) and bias (C,) of a head."""
HeadLike: TypeAlias = HeadChoice | Head | Refit | HeadArrays
"""A head to be pulled to, or to start from."""
ScalingLike: TypeAlias = bool | Scaling | FeatureSetLike
"""What features are standardised by: False or "none", True or "rows", "all", or another feature set."""


def may_be_head(value: object) -> bool:
    """Whether `as_head` would try: a head, a pair, or a layer with a weight and a bias, such as torch's Linear."""
    if isinstance(value, tuple | list):
        return len(cast("list[Any]", value)) == 2
    return isinstance(value, Head | Refit) or (hasattr(value, "weight") and hasattr(value, "bias"))


def as_head(value: object, argument: str = "head", expected: str = "a Head, a Refit or (weight, bias)") -> Head:
    """A head, a refit's, or the one that a weight and a bias make. Raises `InvalidRequest`."""
    if isinstance(value, Head):
        return value
    if isinstance(value, Refit):
        return value.head
    if not may_be_head(value) or any(isinstance(part, Head | Refit) for part in _parts(value)):
        raise wrong_sort(argument, "head", value, expected)
    weight, bias = _parts(value)
    return Head(weight, bias)


def _parts(value: Any) -> tuple[Any, Any]:
    """Weight and bias of what may be a head."""
    if isinstance(value, tuple | list):
        first, second = cast("list[Any]", value)
        return first, second
    return value.weight, value.bias


def class_names(head: Head) -> list[str]:
    """Names of a head's rows, none where it has none. Raises `InvalidRequest` unless there is one for each row."""
    given = names("Head.classes", head.classes)
    if given and len(given) != head.weight.shape[0]:
        raise invalid(f"a head of {head.weight.shape[0]} rows has as many classes; got {given}", ErrorKind.WRONG_SHAPE)
    return given


def soup(
    heads: Sequence[Head | Refit | HeadArrays], weights: ArrayLike | None = None, *, across_checkpoints: bool = False
) -> Head:
    """The mean of several heads, or their mixture with `weights` (scaled to sum 1).

    Classes are in the order of the first head's. Heads of the features of several checkpoints are mixed only with
    `across_checkpoints`; the mixture then is of none. Raises `InvalidRequest` when they do not fit each other.
    """
    given = [as_head(one, f"heads[{i}]") for i, one in enumerate(listed("heads", heads, "[refit_a, refit_b]"))]
    members = [_in_order(one, given[0]) for one in given]
    checkpoints = {one.checkpoint for one in members if one.checkpoint}
    if len(checkpoints) > 1 and not across_checkpoints:
        raise invalid(
            f"the heads read features of several checkpoints, {', '.join(sorted(map(short, checkpoints)))}; mix heads "
            "of one, or give across_checkpoints=True if that is meant",
            ErrorKind.OTHER_CHECKPOINT,
        )
    shares = np.ones(len(members)) if weights is None else numbers("weights", weights)
    if not members or len({one.weight.shape for one in members}) > 1:
        raise invalid(
            f"a soup takes heads of one shape; got {[one.weight.shape for one in members]}", ErrorKind.WRONG_SHAPE
        )
    with np.errstate(all="ignore"):
        total = shares.sum() if shares.shape == (len(members),) else 0.0
    if not np.isfinite(shares).all() or not np.isfinite(total) or total == 0:
        raise invalid(f"weights must be {len(members)} finite numbers with a sum other than 0; got {shown(weights)}")
    with np.errstate(all="ignore"):
        return Head(
            np.average([one.weight for one in members], axis=0, weights=shares),
            np.average([one.bias for one in members], axis=0, weights=shares),
            classes=next((one.classes for one in members if one.classes is not None), None),
            checkpoint=checkpoints.pop() if len(checkpoints) == 1 else "",
        )


def _in_order(head: Head, first: Head) -> Head:
    """A head with its rows in the order of the classes of another; one without names goes by their index."""
    if head.classes is None or first.classes is None or head.classes == first.classes:
        return head
    if sorted(head.classes) != sorted(first.classes):
        raise invalid(
            f"heads must be of the same classes; got {', '.join(first.classes)} and {', '.join(head.classes)}",
            ErrorKind.OTHER_CLASSES,
        )
    order = [head.classes.index(name) for name in first.classes]
    return replace(head, weight=head.weight[order], bias=head.bias[order], classes=first.classes)
