"""The nearest neighbours of rows, and how many of the exact ones are among them."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown, card, pairs, table
from penult.files.savable import Savable
from penult.results.frames import frame
from penult.results.notes import Notes, lines
from penult.results.records import short
from penult.types import NeighbourMethod, NeighbourMetric, NeighbourWithin

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN = 5
NEIGHBOURS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Shown):
    """Share of the exact neighbours that were found, measured for a sample of rows."""

    value: float
    low: float
    high: float
    """95 % interval by resampling rows, whose neighbours are found or missed together."""
    n_rows: int
    """In the sample; 0 for exact search, which misses none."""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        if not self.n_rows:
            return "exact"
        return f"recall {self.value:.4f} [{self.low:.4f}, {self.high:.4f}] on {self.n_rows} rows"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Neighbours(Shown, Savable):
    """The k nearest rows of each of n rows, the nearest first; equally near ones in the order of their ids."""

    digest: str
    feature_set: str
    among: str
    """Digest of the set among whose rows they are; `feature_set` where a row is left out of its own."""
    k: int
    metric: NeighbourMetric
    within: NeighbourWithin
    method: NeighbourMethod
    """How they were found."""
    recall: Recall
    parameters: Mapping[str, float]
    """Parameters of the index; empty for exact search."""
    row_id: NDArray[np.uint64]
    """(n, k) ids of the neighbours; 2^64 - 1 where a row has fewer."""
    distance: NDArray[np.float64]
    """(n, k) computed in float64: 1 - cosine, the Euclidean distance, or minus the inner product; NaN for none."""
    query_id: NDArray[np.uint64]
    """(n,) ids of the rows asked about."""
    n_short: int
    """Rows with fewer than k neighbours, as their part of `within` has no more."""
    reused: bool
    """Whether they were stored already."""
    notes: Notes = ()

    @property
    def is_there(self) -> NDArray[np.bool_]:
        """(n, k) which neighbours there are."""
        return ~np.isnan(self.distance)

    def to_frame(self) -> pd.DataFrame:
        """One row per neighbour. Raises ImportError when pandas is missing.

        Columns: `row_id` (of the row asked about), `rank` (from 1), `neighbour` (its id), `distance`.
        """
        row, rank = np.nonzero(self.is_there)
        return frame(
            {
                "row_id": self.query_id[row].tolist(),
                "rank": (rank + 1).tolist(),
                "neighbour": self.row_id[row, rank].tolist(),
                "distance": self.distance[row, rank].tolist(),
            },
            self.notes,
        )

    def _facts(self) -> str:
        said = f"{len(self.query_id)} x {self.k} by {self.metric}"
        said += "" if self.within == "all" else f" within {self.within}"
        said += f", {self.method}" if self.recall.n_rows else ""
        said += f", {self.recall}"
        return said + (f", {self.n_short} rows with fewer than {self.k}" if self.n_short else "")

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {
            "features": self.feature_set,
            "among": self.among if self.among != self.feature_set else "",
            "found": self._facts(),
            **self.parameters,
        }
        shown = min(self.k, NEIGHBOURS_SHOWN)
        rows = [
            (str(own), *(f"{id} ({far:.3g})" if far == far else "" for id, far in zip(ids, distances, strict=True)))
            for own, ids, distances in zip(
                self.query_id[:ROWS_SHOWN].tolist(),
                self.row_id[:ROWS_SHOWN, :shown].tolist(),
                self.distance[:ROWS_SHOWN, :shown].tolist(),
                strict=True,
            )
        ]
        header = ("row", *(str(rank + 1) for rank in range(shown)))
        return card("Neighbours", pairs(facts), table(header, rows, caption="id (distance)"), notes=self.notes)

    def __repr__(self) -> str:
        among = "" if self.among == self.feature_set else f" among {short(self.among)}"
        return f"Neighbours({short(self.feature_set)}{among}, {self._facts()}){lines(self.notes)}"
