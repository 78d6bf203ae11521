"""Spectra of every checkpoint of a run, as one answer."""

# pandas and matplotlib have no complete stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.display.names import and_more, one_line
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.records import Group
from penult.results.spectra import MOST_COMPARISONS, Spectra
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunSpectra(Shown, Savable):
    """How the spectra of a run's features change from epoch to epoch."""

    run: str
    split: str
    epochs: NDArray[np.float64]
    """(E,) epochs trained; 0 is the starting point."""
    checkpoints: tuple[str, ...]
    """(E,) digests."""
    spectra: tuple[Spectra, ...]
    """(E,) one answer each, with its imbalance."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """G groups or classes, the same in every epoch."""
        return self.spectra[0].groups

    @property
    def by(self) -> str:
        """ "group" or "class"; with a grouping, what its values are called together."""
        return self.spectra[0].by

    @property
    def grouping(self) -> UsedGrouping | None:
        """The grouping whose groups these are; None for the stored groups, and for classes."""
        return self.spectra[0].grouping

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """(E, G, K) descending."""
        return np.stack([one.eigenvalues for one in self.spectra])

    @property
    def trace(self) -> NDArray[np.float64]:
        """(E, G)"""
        return np.stack([one.trace for one in self.spectra])

    @property
    def ratio(self) -> NDArray[np.float64]:
        """(E, I) lambda_1(minority) / lambda_1(majority) of every comparison."""
        return np.array([[entry.ratio for entry in one.imbalance] for one in self.spectra])

    @property
    def matched_ratio(self) -> NDArray[np.float64]:
        """(E, I) the same at equal sizes."""
        return np.array([[entry.matched_ratio for entry in one.imbalance] for one in self.spectra])

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch and comparison. Raises ImportError when pandas is missing.

        Columns: `epoch`, and of each comparison `label` (what is compared), `minority`, `majority`, `ratio`,
        `matched_ratio`, `low`, `high`, `p_value`, `p_adjusted`, `inference`, as `Imbalance` defines them.
        """
        rows = [
            (float(epoch), entry)
            for epoch, one in zip(self.epochs, self.spectra, strict=True)
            for entry in one.imbalance
        ]
        compared = ("label", "minority", "majority", "ratio", "matched_ratio")
        columns = (*compared, "low", "high", "p_value", "p_adjusted", "inference")
        return frame(
            {"epoch": [epoch for epoch, _ in rows]}
            | {name: [getattr(entry, name) for _, entry in rows] for name in columns}
        )

    def plot(self) -> Figure:
        """The matched ratio of every comparison over the epochs, with its interval.

        Of more than 8 comparisons, those farthest from 1 at the end have a colour. Raises ImportError when matplotlib
        is missing.
        """
        from penult.results.figures.imbalance import run_spectra_figure

        return run_spectra_figure(self)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import run_spectra_html

        return run_spectra_html(self)

    def __repr__(self) -> str:
        n_groups, n_kept = self.spectra[0].eigenvalues.shape
        first, last = self.spectra[0].imbalance, self.spectra[-1].imbalance
        said = [
            f"{one_line(one.label)} {one.matched_ratio:.3g} .. {other.matched_ratio:.3g}"
            for one, other in zip(first, last, strict=False)
            if not math.isnan(one.matched_ratio)
        ]
        ratios = and_more(said[:MOST_COMPARISONS], max(0, len(said) - MOST_COMPARISONS))
        what = (
            f"{one_line(self.run)}, {one_line(self.split)}, {len(self.epochs)} epochs, {n_groups} groups, top {n_kept}"
        )
        return f"RunSpectra({what}{'; at equal n, first .. last: ' if said else ''}{ratios})"

    def __str__(self) -> str:
        header = ("epoch", *(f"{entry.label}: ratio (at equal n)" for entry in self.spectra[0].imbalance))
        rows = [
            (f"{epoch:g}", *(f"{entry.ratio:.3f} ({entry.matched_ratio:.3f})" for entry in one.imbalance))
            for epoch, one in zip(self.epochs, self.spectra, strict=True)
        ]
        return text_table(header, rows)
