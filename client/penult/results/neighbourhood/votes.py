"""Metrics of k-nearest-neighbour classification."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penult.display.html import Shown, card, pairs, table
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult.results.records import short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class NeighbourMetrics(Shown, Savable):
    """Metrics of the classes that the nearest neighbours of each row vote for, by their number k."""

    digest: str
    feature_set: str
    among: str
    """The set whose rows vote; `feature_set` itself where each row was left out of its own votes."""
    temperature: float
    balanced: bool
    """Whether votes were divided by the rows of the voter's group."""
    ks: tuple[int, ...]
    """Ascending."""
    metrics: tuple[Metrics, ...]
    """One for each k, as `Client.evaluate` gives them."""
    reused: bool
    """Whether the answer was stored already."""
    balanced_by: UsedGrouping | None = None
    """The grouping whose groups balanced the votes; None for the stored groups. That of the metrics is theirs."""
    notes: Notes = ()

    def __getitem__(self, k: int) -> Metrics:
        """Metrics of one k. Raises KeyError, listing those there are."""
        if k not in self.ks:
            raise KeyError(f"k = {k!r} was not asked for; there are {', '.join(str(one) for one in self.ks)}")
        return self.metrics[self.ks.index(k)]

    def __iter__(self) -> Iterator[int]:
        """The ks."""
        return iter(self.ks)

    def __len__(self) -> int:
        return len(self.ks)

    @property
    def by_k(self) -> Mapping[int, Metrics]:
        """Metrics by k."""
        return dict(zip(self.ks, self.metrics, strict=True))

    def to_frame(self) -> pd.DataFrame:
        """One row per k and group. Raises ImportError when pandas is missing.

        Columns: `k`, those of `Metrics.to_frame`, and `average` over all rows.
        """
        rows = [
            (k, one, place) for k, one in zip(self.ks, self.metrics, strict=True) for place in range(len(one.groups))
        ]
        return frame(
            {
                "k": [k for k, _, _ in rows],
                "group": [one.groups[place].name for _, one, place in rows],
                "n": [one.groups[place].count for _, one, place in rows],
                "correct": [int(one.correct[place]) for _, one, place in rows],
                "accuracy": [float(one.group_accuracy[place]) for _, one, place in rows],
                "low": [float(one.group_low[place]) for _, one, place in rows],
                "high": [float(one.group_high[place]) for _, one, place in rows],
                "worst": [one.groups[place].index == one.worst_group.index for _, one, place in rows],
                "average": [one.average_accuracy for _, one, _ in rows],
            },
            self.notes,
        )

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (str(k), f"{one.average_accuracy:.3f}", f"{one.worst_group_accuracy:.3f}", one.worst_group.name)
            for k, one in zip(self.ks, self.metrics, strict=True)
        ]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {"features": self.feature_set, "among": self.among, "T": self.temperature, "balanced": self.balanced}
        shown = table(["k", "average", "worst group", "which"], self._rows(), n_text=0)
        return card("NeighbourMetrics", pairs(facts), shown, notes=self.notes)

    def __repr__(self) -> str:
        said = ", ".join(
            f"k {k}: {one.average_accuracy:.3f} / {one.worst_group_accuracy:.3f}"
            for k, one in zip(self.ks, self.metrics, strict=True)
        )
        return f"NeighbourMetrics({short(self.digest)}, average / worst group: {said}){lines(self.notes)}"

    def __str__(self) -> str:
        return text_table(("k", "average", "worst group", "which"), self._rows()) + lines(self.notes)
