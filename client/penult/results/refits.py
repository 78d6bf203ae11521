"""Refits: the head with its certificate, what was asked with every preset filled in, and what was chosen."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.display.names import and_more, in_usual_order, one_line
from penult.files.savable import Savable
from penult.results.frames import frame
from penult.results.heads import Head
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult.results.records import named, short
from penult.results.refit_settings import RefitSettings
from penult.results.used_grouping import UsedGrouping
from penult.types import SelectMetric

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STRENGTHS = (
    *("l1", "l2", "ratio", "group_ratio", "gamma", "up", "class_ratio", "detector_l1", "tau", "alpha", "top_k"),
    "subspace",
)
"""Settings that a grid may hold; None where they go with another method."""
MOST_SCORES = 3
"""Evaluated sets that one line has space for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(Shown):
    """How close to the optimum the solver came, in float64, on the problem as it was solved; the worst over the draws.

    A path is not solved to an optimum: `converged` is False, `iterations` the step that was kept, the rest NaN or 0.
    """

    converged: bool
    gap: float
    """Bound on objective - optimum: the duality gap."""
    gradient_norm: float
    iterations: int
    """Newton steps; for a robust risk, updates of the sample weights."""
    passes: int
    """Passes over the rows, all draws together."""
    objective: float
    """Value of the objective at the head, mean over the draws."""
    head_error: float
    """Bound on |V - V*|, V the head (C, D) in the space solved: sqrt(2 gap / l2), since the objective is l2-strongly
    convex. Logits of two rows that lie r apart there differ from the optimum's by at most r times it. NaN without an
    l2, and of a path."""

    def in_words(self, *, stopped_early: bool) -> str:
        """How it ended: the gap it was certified to, or the step at which a path was kept."""
        if stopped_early:
            return f"step {self.iterations}"
        return f"{'' if self.converged else 'NOT CONVERGED, '}gap {self.gap:.2g}"

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import certificate_html

        return certificate_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Shown):
    """One combination of a grid's values."""

    values: Mapping[str, float]
    score: float
    """Value of the metric that candidates are chosen by."""
    worst_group_accuracy: float
    average_accuracy: float
    converged: bool
    step: int
    """Step of a path that was kept; 0 without a path."""
    failure: str = ""
    """Why it could not be fitted: its numbers are NaN then, and it was not chosen. Empty where it could."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Selection(Shown, Savable):
    """How the candidates of a grid did on the rows that choose."""

    metric: SelectMetric
    candidates: tuple[Candidate, ...]
    """Candidates in the order of the grid, the last of its numbers running fastest."""
    chosen: Candidate

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate. Raises ImportError when pandas is missing.

        Columns: one for each number of the grid; `score`, the metric that candidates are chosen by;
        `worst_group_accuracy`, `average_accuracy`, `converged`, `step` of a path that was kept, `failure` (why it could
        not be fitted), and `chosen`.
        """
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

    def plot(self) -> Figure:
        """The score of every candidate, over the number of the grid with the most values.

        One line for each combination of the other numbers (of more than 8, the best ones have a colour); the chosen
        candidate stands in a circle. Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.selection import selection_figure

        return selection_figure(self)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import selection_html

        return selection_html(self)

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:g}" for name, value in self.chosen.values.items())
        return f"Selection({len(self.candidates)} candidates; {values} by {self.metric} {self.chosen.score:.3f})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan(Shown):
    """Rows of every draw, by their ids."""

    row_ids: NDArray[np.uint64]
    """(R, n)"""
    weights: NDArray[np.float64]
    """(R, n) sample weight of each row, before scaling to sum 1."""

    def to_frame(self) -> pd.DataFrame:
        """One row per draw and row: `draw` (from 0), `row_id`, `weight`. Raises ImportError when pandas is missing."""
        return frame(
            {
                "draw": np.repeat(np.arange(len(self.row_ids)), self.row_ids.shape[1]).tolist(),
                "row_id": self.row_ids.reshape(-1).tolist(),
                "weight": self.weights.reshape(-1).tolist(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Refit(Shown, Savable):
    """A retrained last layer."""

    digest: str
    settings: RefitSettings
    head: Head
    """The head on raw features, with the standardisation folded in; the mean over several draws."""
    certificate: Certificate
    metrics: Mapping[str, Metrics]
    """Metrics by the names given in ``evaluate=``."""
    selection: Selection | None
    """How the candidates did; None where nothing was selected."""
    plan: Plan | None
    """Rows of every draw, with ``plan=True``; else None."""
    n_rows: int
    """Rows used per draw."""
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups the rows that were fitted have; None for the stored groups."""
    select_grouping: UsedGrouping | None = None
    """The grouping by whose groups candidates were chosen; None for the stored groups. `metrics` are of the stored."""
    notes: Notes = ()
    """What the numbers of the refit alone do not say, such as that the head predicts one class for every row."""
    name: str = field(default="", compare=False)
    """The newest name that it was given; empty without one. A name moves to the newest thing it is given to."""
    tags: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    """Who asked first, as the client said; empty when not known."""
    created: datetime | None = field(default=None, compare=False)
    """When it was computed; None when not known."""

    def to_frame(self) -> pd.DataFrame:
        """One row per evaluated set and group. Raises ImportError when pandas is missing.

        Columns: `evaluated_on` (the name given in ``evaluate=``), `group` (name), `n`, `correct`, `accuracy`, `low` and
        `high` (ends of its 95 % Wilson score interval).
        """
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
        """Group accuracies with their intervals, and the scores of the candidates where there are any.

        One panel for each evaluated set, in the order train, val, test, then the others by name: every group with its
        95 % Wilson score interval and its number of examples, the worst one a triangle, the average a dashed line. The
        last panel is `Selection.plot`. Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.groups import refit_figure

        return refit_figure(self)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import refit_html

        return refit_html(self)

    def strengths(self) -> list[str]:
        """The numbers it was fitted with, as "gamma 5": those chosen from a grid first, then those of its settings."""
        selection = self.selection
        chosen = {} if selection is None else dict(selection.chosen.values)
        of = "" if selection is None else f" (chosen of {len(selection.candidates)})"
        rest = {name: getattr(self.settings, name) for name in STRENGTHS if name not in chosen}
        if rest.get("class_ratio") == 1:
            del rest["class_ratio"]
        first = ", ".join(f"{name} {value:.4g}" for name, value in chosen.items()) + of
        return [first] * bool(chosen) + [f"{name} {value:.4g}" for name, value in rest.items() if value]

    def __repr__(self) -> str:
        names = in_usual_order(self.metrics)
        scores = [f"{name}: {_scores(self.metrics[name])}" for name in names[:MOST_SCORES]]
        fitted = named(self.name) + ", ".join([self.settings.preset or self.settings.balance, *self.strengths()])
        ended = self.certificate.in_words(stopped_early=self.settings.path is not None)
        shown = and_more(scores, len(names) - len(scores))
        return f"Refit({short(self.digest)}, {fitted}, {ended}{'; ' if scores else ''}{shown}){lines(self.notes)}"


def _scores(metrics: Metrics) -> str:
    worst = one_line(metrics.worst_group.name)
    return f"average {metrics.average_accuracy:.3f} worst group {metrics.worst_group_accuracy:.3f} ({worst})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Interpolation(Shown, Savable):
    """Metrics along the line from one head to another: head(t) = (1 - t) first + t second."""

    t: NDArray[np.float64]
    """(M,)"""
    metrics: tuple[Metrics, ...]
    """One for each t."""
    notes: Notes = ()
    """How the heads' classes were matched, where that is not obvious."""

    @property
    def worst_group_accuracy(self) -> NDArray[np.float64]:
        """(M,)"""
        return np.array([one.worst_group_accuracy for one in self.metrics])

    @property
    def average_accuracy(self) -> NDArray[np.float64]:
        """(M,)"""
        return np.array([one.average_accuracy for one in self.metrics])

    def to_frame(self) -> pd.DataFrame:
        """One row per t: `t`, `average_accuracy`, `worst_group_accuracy`, `loss` in nats.

        Raises ImportError when pandas is missing.
        """
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
        """Average and worst group over t, with the 95 % interval of the worst group and its best t.

        Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.selection import interpolation_figure

        return interpolation_figure(self)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import interpolation_html

        return interpolation_html(self)

    def __repr__(self) -> str:
        worst = self.worst_group_accuracy
        best = int(np.argmax(worst))
        return (
            f"Interpolation({len(self.t)} heads; worst group {worst[0]:.3f} .. {worst[-1]:.3f}, "
            f"best {worst[best]:.3f} at t = {self.t[best]:.2f}){lines(self.notes)}"
        )
