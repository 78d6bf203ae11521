"""Methods that find groups beside each other: how well each agrees with the true groups, and what a refit gains."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penult.display.html import Row, Shown, card, pairs, table
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.groupings.scores import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

BASELINES = ("none", "classes", "true groups")
"""Rows that no method found."""
HEADER = (
    "groups from",
    "groups",
    "ARI",
    "p",
    "precision",
    "recall",
    "imbalance p",
    "worst group",
    "average",
    "gap closed",
    "95 %",
    "s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryRow(Shown):
    """One method, or one of the baselines; NaN where something is not known."""

    method: str
    """Name of the method; or "none" (the biased head), "classes" (refitted on balanced classes), "true groups"."""
    grouping: str
    """Digest of what it found; empty for a baseline, and where it failed."""
    n_groups: int
    """Groups that have rows."""
    ari: float
    """Within-class ARI with the stored groups."""
    p_value: float
    """Share of shuffled values that agree as well."""
    minority_precision: float
    """Precision for the rarest true value of each class, the mean over the classes by their rows."""
    minority_recall: float
    imbalance_p: float
    """Largest adjusted p-value of the found groups' spectral imbalance over the classes; NaN without replicates."""
    worst_group_accuracy: float
    """The refit on these groups, on the test rows, over their stored groups."""
    average_accuracy: float
    gap_closed: float
    """(found - none) / (true - none) of the worst group's accuracy."""
    gap_low: float
    """Ends of its paired 95 % bootstrap interval; NaN where the gap itself is not above 0 with that confidence."""
    gap_high: float
    seconds: float
    """Time to find the groups."""
    failure: str
    """Why it could not be had; empty where it could."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DiscoveryTable(Shown, Savable):
    """The rows of `Client.discover_all`: baselines first, then every method in the order asked for."""

    rows: tuple[DiscoveryRow, ...]
    features: str
    """Digest of the set whose rows were grouped, and on which the refits were fitted."""
    test: str
    """Digest of the set that they were scored on; empty without."""
    preset: str
    """The refit."""

    def __getitem__(self, method: str) -> DiscoveryRow:
        """The row of a method or a baseline. Raises KeyError."""
        return {row.method: row for row in self.rows}[method]

    def __iter__(self) -> Iterator[DiscoveryRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> pd.DataFrame:
        """One row per method; the columns are the fields of `DiscoveryRow`. Raises ImportError without pandas."""
        names = DiscoveryRow.__dataclass_fields__
        return frame({name: [getattr(row, name) for row in self.rows] for name in names})

    def _repr_html_(self) -> str:
        header, rows = self._shown()
        marked = [Row(cells, is_marked=row.method in BASELINES) for cells, row in zip(rows, self.rows, strict=True)]
        facts = {"features": self.features, "test": self.test, "refit": self.preset}
        return card("DiscoveryTable", table(header, marked, most=len(marked)), pairs(facts), notes=self._failures())

    def __repr__(self) -> str:
        return "\n".join([text_table(*self._shown()), *(f"note: {one}" for one in self._failures())])

    def _shown(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the cells, without the spectral imbalance where nobody has asked for it."""
        rows = [_cells(row) for row in self.rows]
        if any(row.imbalance_p == row.imbalance_p for row in self.rows):
            return HEADER, rows
        left_out = HEADER.index("imbalance p")
        header, *rest = (cells[:left_out] + cells[left_out + 1 :] for cells in (HEADER, *rows))
        return header, rest

    def _failures(self) -> list[str]:
        return [f"{row.method}: {row.failure}" for row in self.rows if row.failure]


def _cells(row: DiscoveryRow) -> tuple[str, ...]:
    interval = "" if row.gap_low != row.gap_low else f"{row.gap_low:.2f} .. {row.gap_high:.2f}"
    return (
        row.method,
        str(row.n_groups) if row.n_groups else "–",
        *(number(value) for value in (row.ari, row.p_value, row.minority_precision, row.minority_recall)),
        number(row.imbalance_p),
        *(number(value) for value in (row.worst_group_accuracy, row.average_accuracy)),
        number(row.gap_closed, 2),
        interval,
        number(row.seconds, 1),
    )
