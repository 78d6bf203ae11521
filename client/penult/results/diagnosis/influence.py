"""What each row that a refit was fitted on does to losses elsewhere."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.arguments.coerce import text, whole
from penult.display.html import Shown, card, pairs, table
from penult.display.names import one_line
from penult.errors import invalid
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines
from penult.results.records import Group, short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counterfactual(Shown):
    """The refit without the rows that harm one group most, as predicted and as really fitted."""

    target: str
    """Name of the group."""
    groups: tuple[Group, ...]
    row_ids: NDArray[np.uint64]
    """(q,) rows that were left out, the most harmful first."""
    predicted: Floats
    """(G,) sum of the rows' influences on each group's mean loss, nats: of a set of rows, an approximation."""
    change: Floats
    """(G,) change of each group's mean loss by the real refit."""
    accuracy_before: Floats
    """(G,)"""
    accuracy_after: Floats
    converged: bool
    """Whether the real refit reached its optimum."""

    @property
    def worst_before(self) -> float:
        """The lowest accuracy of a group with the rows."""
        return float(np.nanmin(self.accuracy_before))

    @property
    def worst_after(self) -> float:
        """The lowest accuracy of a group without them."""
        return float(np.nanmin(self.accuracy_after))

    def __repr__(self) -> str:
        place = [one.name for one in self.groups].index(self.target)
        return (
            f"Counterfactual(without {self.row_ids.size} rows: loss of {one_line(self.target)} "
            f"{self.change[place]:+.4f}, predicted {self.predicted[place]:+.4f}; lowest accuracy "
            f"{self.worst_before:.3f} -> {self.worst_after:.3f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Influence(Shown, Savable):
    """Changes of groups' mean losses when single rows are removed; positive: the row helps the group."""

    digest: str
    refit: str
    feature_set: str
    """The rows whose losses these are."""
    fitted_feature_set: str
    """The set that was fitted."""
    by: str
    groups: tuple[Group, ...]
    """Whose losses, with the rows that were looked at."""
    fitted_groups: tuple[Group, ...]
    """Groups of the rows that were fitted."""
    row_ids: NDArray[np.uint64]
    """(n,) rows that were fitted, in any draw."""
    fitted_group: NDArray[np.int64]
    """(n,) index in `fitted_groups`."""
    n_draws: NDArray[np.int64]
    """(n,) draws that use the row."""
    change: Floats
    """(n, G) change of each group's mean loss when the row is removed, nats; NaN for a group without rows."""
    own_change: Floats
    """(n,) change of the row's own loss when it is removed: large for rows that the head fits alone, which may be
    wrong labels or a minority."""
    memorised: Floats
    """(n,) probability of the row's label, less that without the row."""
    leverage: Floats
    """(n,) near 1, the head passes through the row."""
    loss: Floats
    """(G,) mean losses of the refit as it is, nats."""
    accuracy: Floats
    """(G,)"""
    repeats: int
    """Draws whose heads are averaged."""
    seed: int
    reused: bool
    """Whether the answer was stored already."""
    is_exact: NDArray[np.bool_] | None = None
    """(n,) where the optimum without the row was found, and losses are those of its head; elsewhere one Newton step and
    losses to first order. The rows of the largest changes, all where there are few. None in answers of before."""
    counterfactual: Counterfactual | None = None
    """The real refit without the rows that harm a group most; None where no row harms it, or none was asked for."""
    verified_row_ids: NDArray[np.uint64] | None = None
    """(v,) rows that were removed one by one by real refits."""
    verified_change: Floats | None = None
    """(v, G) what that changed."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups."""
    notes: Notes = ()

    @property
    def verified(self) -> Floats | None:
        """(G, 3) of the rows that were really removed: correlation of predicted and real changes, coefficient of the
        real ones by the predicted, the largest error as a fraction of the largest change. None without such rows."""
        if self.verified_row_ids is None or self.verified_change is None:
            return None
        order = np.argsort(self.row_ids)
        places = order[np.searchsorted(self.row_ids, self.verified_row_ids, sorter=order)]
        return np.stack([_agreement(a, b) for a, b in zip(self.change[places].T, self.verified_change.T, strict=True)])

    def group_influence(self) -> Floats:
        """(G', G) mean influence of the rows of each fitted group on each group's loss; NaN without rows."""
        found = np.full((len(self.fitted_groups), len(self.groups)), np.nan)
        for index in np.unique(self.fitted_group).tolist():
            found[index] = self.change[self.fitted_group == index].mean(axis=0)
        return found

    def most_harmful(self, group: str, top_k: int = 10) -> NDArray[np.uint64]:
        """Ids of the rows without which the group's loss falls most, in order; only rows that harm it.

        Raises `InvalidRequest`, listing the groups.
        """
        return self._most(group, top_k, 1.0)

    def most_helpful(self, group: str, top_k: int = 10) -> NDArray[np.uint64]:
        """Ids of the rows without which the group's loss grows most, in order; only rows that help it.

        Raises `InvalidRequest`, listing the groups.
        """
        return self._most(group, top_k, -1.0)

    def _most(self, group: str, top_k: int, sign: float) -> NDArray[np.uint64]:
        names = [one.name for one in self.groups]
        if text("group", group) not in names:
            raise invalid(f"group must be one of {', '.join(map(repr, names))}; got {group!r}", argument="group")
        values = sign * self.change[:, names.index(group)]
        order = np.argsort(values, kind="stable")[: whole("top_k", top_k, 1)]
        return self.row_ids[order[values[order] < 0]]

    def to_frame(self) -> pd.DataFrame:
        """One row per row that was fitted. Raises ImportError when pandas is missing.

        Columns: `row_id`, `group` (name), `n_draws`, `own_change`, `memorised`, `leverage`, `is_exact`, and "on " with
        the name of each group for its change.
        """
        names = [one.name for one in self.fitted_groups]
        columns: dict[str, list[object]] = {
            "row_id": self.row_ids.tolist(),
            "group": [names[index] for index in self.fitted_group.tolist()],
            "n_draws": self.n_draws.tolist(),
            "own_change": self.own_change.tolist(),
            "memorised": self.memorised.tolist(),
            "leverage": self.leverage.tolist(),
            "is_exact": [False] * self.row_ids.size if self.is_exact is None else self.is_exact.tolist(),
        }
        for place, one in enumerate(self.groups):
            columns[f"on {one.name}"] = self.change[:, place].tolist()
        return frame(columns, self.notes)

    @property
    def _header(self) -> tuple[str, ...]:
        return ("rows of", "n", *(f"on {one_line(one.name)}" for one in self.groups))

    def _rows(self) -> list[tuple[str, ...]]:
        counts = np.bincount(self.fitted_group, minlength=len(self.fitted_groups))
        return [
            (one_line(one.name), str(counts[place]), *(f"{value:+.2e}" for value in row))
            for place, (one, row) in enumerate(zip(self.fitted_groups, self.group_influence(), strict=True))
        ]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {"refit": self.refit, "on": self.feature_set, "by": self.by, "rows": self.row_ids.size}
        caption = "mean change of a group's loss, nats, when one row is removed"
        shown = table(self._header, self._rows(), caption=caption, n_text=1)
        told = {} if self.counterfactual is None else {"counterfactual": repr(self.counterfactual)}
        return card("Influence", pairs(facts | told), shown, notes=self.notes)

    def __repr__(self) -> str:
        told = "" if self.counterfactual is None else f": {self.counterfactual!r}"
        return f"Influence({self.row_ids.size} rows of refit {short(self.refit)}{told}){lines(self.notes)}"

    def __str__(self) -> str:
        return text_table(self._header, self._rows()) + lines(self.notes)


def _agreement(predicted: Floats, real: Floats) -> Floats:
    largest, square = float(np.abs(real).max(initial=0.0)), float(predicted @ predicted)
    if real.size < 2 or not (largest > 0 and square > 0):
        return np.full(3, np.nan)
    a, b = predicted - predicted.mean(), real - real.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    error = float(np.abs(real - predicted).max()) / largest
    return np.array([float(a @ b) / scale if scale > 0 else np.nan, float(predicted @ real) / square, error])
