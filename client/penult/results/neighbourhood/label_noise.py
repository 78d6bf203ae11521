"""Rows whose label their neighbours contradict."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown, card, pairs, table
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.neighbourhood.duplicates import GroupShare
from penult.results.notes import Notes, lines
from penult.results.records import short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd

MOST_SHOWN = 10
"""Rows that a notebook or a terminal sees."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LabelNoise(Shown, Savable):
    """The rows of a set, from that on whose label its neighbours contradict most."""

    digest: str
    feature_set: str
    k: int
    folds: int
    classes: tuple[str, ...]
    """Names of the classes, by their index."""
    row_ids: NDArray[np.uint64]
    """(M,) all rows, unless `truncated`."""
    suspicion: NDArray[np.float64]
    """(M,) 1 - share of the neighbours' votes for the row's label, descending."""
    neighbour_class: NDArray[np.int64]
    """(M,) index of the class with the most votes."""
    head_class: NDArray[np.int64]
    """(M,) index of the class that a head predicts which was fitted without the row; -1 without folds."""
    flagged: NDArray[np.bool_]
    """(M,) whether the label is taken for wrong: neighbours and head agree on another class, and it is no minority."""
    minority: NDArray[np.bool_]
    """(M,) whether neighbours and head agree on another class, but of the neighbours with its attribute value more
    have its class than wrong labels would give: an example of a minority."""
    flagged_groups: tuple[GroupShare, ...]
    minority_groups: tuple[GroupShare, ...]
    truncated: bool
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups."""
    notes: Notes = ()

    @property
    def suspects(self) -> NDArray[np.uint64]:
        """Ids of the flagged rows, most suspect first: to be looked at, or left out of a refit."""
        return self.row_ids[self.flagged]

    def to_frame(self) -> pd.DataFrame:
        """One row per row of the set, most suspect first. Raises ImportError when pandas is missing.

        Columns: `row_id`, `suspicion`, `neighbour_class` and `head_class` (names; empty without folds), `flagged`,
        `minority`.
        """
        return frame(
            {
                "row_id": self.row_ids.tolist(),
                "suspicion": self.suspicion.tolist(),
                "neighbour_class": [self.classes[int(index)] for index in self.neighbour_class],
                "head_class": [self.classes[int(index)] if index >= 0 else "" for index in self.head_class],
                "flagged": self.flagged.tolist(),
                "minority": self.minority.tolist(),
            },
            self.notes,
        )

    def groups_to_frame(self) -> pd.DataFrame:
        """One row per group: `group` (name), `n`, `flagged`, `flagged_share`, `minority`, `minority_share`."""
        return frame(
            {
                "group": [one.group.name for one in self.flagged_groups],
                "n": [one.group.count for one in self.flagged_groups],
                "flagged": [one.count for one in self.flagged_groups],
                "flagged_share": [one.share for one in self.flagged_groups],
                "minority": [one.count for one in self.minority_groups],
                "minority_share": [one.share for one in self.minority_groups],
            },
            self.notes,
        )

    def _groups(self) -> list[tuple[str, ...]]:
        both = zip(self.flagged_groups, self.minority_groups, strict=True)
        return [(one.group.name, str(one.group.count), str(one.count), str(other.count)) for one, other in both]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        rows = [
            (str(self.row_ids[place]), f"{self.suspicion[place]:.3f}", self.classes[int(self.neighbour_class[place])])
            for place in np.flatnonzero(self.flagged)[:MOST_SHOWN]
        ]
        return card(
            "LabelNoise",
            pairs({"features": self.feature_set, "k": self.k, "folds": self.folds}),
            table(HEADER, self._groups()),
            table(["row", "suspicion", "its neighbours are"], rows, caption="most suspect labels", n_text=0),
            notes=self.notes,
        )

    def __repr__(self) -> str:
        flagged, minority = (sum(one.count for one in some) for some in (self.flagged_groups, self.minority_groups))
        said = f"{flagged} labels flagged, {minority} rows of a minority, k = {self.k}"
        return f"LabelNoise({short(self.feature_set)}: {said}){lines(self.notes)}"

    def __str__(self) -> str:
        return text_table(HEADER, self._groups()) + lines(self.notes)


HEADER = ("group", "n", "flagged", "minority")
