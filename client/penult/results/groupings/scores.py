"""Agreement of groupings: with true groups, and with each other."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Row, Shown, card, pairs, table
from penult.display.names import one_line
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.records import short

if TYPE_CHECKING:
    import pandas as pd

HEADER = ("class", "n", "ARI", "chance", "p", "NMI", "minority", "precision", "recall", "AP")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingScore(Shown):
    """How the values found agree with the true ones among the rows of one class, or in the mean of all classes.

    Rows that are in no group of either are left out. NaN where there is nothing to compare.
    """

    name: str
    """Name of the class; "all" for the mean over the classes by their rows."""
    n_rows: int
    ari: float
    """Adjusted Rand index: 1 for the same groups, 0 in the mean of random ones."""
    nmi: float
    """Normalised mutual information (by the arithmetic mean of the entropies)."""
    homogeneity: float
    """1 where every value found holds one true value alone."""
    completeness: float
    """1 where every true value lies in one value found."""
    matched_accuracy: float
    """Share of rows whose value is the true one, under the best matching of values (the Hungarian method's)."""
    minority: str
    """The rarest true value of the class; empty in the mean."""
    minority_found: str
    """The value found that fits it best: with the largest harmonic mean of precision and recall; empty in the mean."""
    minority_precision: float
    minority_recall: float
    minority_average_precision: float
    """Average precision of how far each row belongs to that value; NaN for groupings without such numbers."""
    baseline_ari: float
    """Mean ARI of values that have the same sizes and are shuffled among the rows of the class."""
    p_value: float
    """Share of such values that agree as well."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GroupingScores(Shown, Savable):
    """How well a grouping agrees with the true groups of its rows, within each class.

    Over all rows every index would be inflated: groups never cross classes, which every method is given.
    """

    grouping: str
    """Digest of the grouping."""
    truth: str
    """Digest of the grouping that is taken for true; "stored" for the stored groups."""
    classes: tuple[GroupingScore, ...]
    overall: GroupingScore
    """Means over the classes by their rows."""

    def to_frame(self) -> pd.DataFrame:
        """One row per class, then "all"; the columns are the fields of `GroupingScore`.

        Raises ImportError when pandas is missing.
        """
        names = GroupingScore.__dataclass_fields__
        return frame({name: [getattr(one, name) for one in (*self.classes, self.overall)] for name in names})

    def _repr_html_(self) -> str:
        rows = [Row(_cells(one)) for one in self.classes]
        facts = {"grouping": self.grouping, "truth": self.truth}
        return card(
            "GroupingScores", table(HEADER, rows, last=[Row(_cells(self.overall), is_marked=True)]), pairs(facts)
        )

    def __repr__(self) -> str:
        against = "the stored groups" if self.truth == "stored" else f"grouping {short(self.truth)}"
        rows = [_cells(one) for one in (*self.classes, self.overall)]
        return f"grouping {short(self.grouping)} beside {against}, within each class\n{text_table(HEADER, rows)}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class GroupingStability(Shown, Savable):
    """How much a method finds the same groups again: within-class ARI of every two of its groupings."""

    method: str
    groupings: tuple[str, ...]
    """Digests of the K groupings."""
    seeds: tuple[int, ...]
    ari: NDArray[np.float64]
    """(K, K), with 1 on the diagonal."""

    @property
    def mean_ari(self) -> float:
        """Mean over every two groupings; NaN for one alone."""
        pairs_of_two = self.ari[np.triu_indices(len(self.groupings), 1)]
        return float(pairs_of_two.mean()) if pairs_of_two.size else math.nan

    def __repr__(self) -> str:
        least = float(self.ari.min()) if self.ari.size else math.nan
        return (
            f"GroupingStability({self.method}: mean ARI {self.mean_ari:.3f} between every two of "
            f"{len(self.groupings)} groupings, at least {least:.3f})"
        )


def number(value: float, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _cells(one: GroupingScore) -> tuple[str, ...]:
    minority = f"{one_line(one.minority)} (as {one_line(one.minority_found)})" if one.minority else ""
    return (
        one_line(one.name),
        str(one.n_rows),
        *(number(value) for value in (one.ari, one.baseline_ari, one.p_value, one.nmi)),
        minority,
        *(number(value) for value in (one.minority_precision, one.minority_recall, one.minority_average_precision)),
    )
