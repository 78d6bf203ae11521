"""What a feature space is organised by: what the neighbours of rows share with them."""

# pandas and matplotlib have no complete stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown, card, pairs, table
from penult.display.names import one_line
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines
from penult.results.records import Group, short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourRate(Shown):
    """Mean shares of the neighbours of a group's rows, or of all rows; NaN for an empty group."""

    group: Group
    """Without a name, and with index -1, for all rows."""
    same_class: float
    """Share of neighbours of the row's class."""
    same_attribute: Mapping[str, float]
    """By attribute, the share of neighbours with the row's value of it."""
    same_group: float
    expected_class: float
    """What the share would be of neighbours drawn at random; so are the others."""
    expected_attribute: Mapping[str, float]
    expected_group: float

    @property
    def lift(self) -> Mapping[str, float]:
        """Share over what chance would give, by "class" and by attribute: what is largest organises the space.

        For "class" and an attribute of equally many values 1 is chance, and the number of values the most.
        """
        shares = {"class": (self.same_class, self.expected_class)}
        shares |= {name: (value, self.expected_attribute[name]) for name, value in self.same_attribute.items()}
        return {name: share / chance if chance else math.nan for name, (share, chance) in shares.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class NeighbourRates(Shown, Savable):
    """What the k nearest neighbours of rows share with them, by group."""

    digest: str
    feature_set: str
    among: str
    k: int
    attributes: tuple[str, ...]
    """The attribute that makes the groups first."""
    groups: tuple[NeighbourRate, ...]
    overall: NeighbourRate
    hubness: float
    """Skewness of how often rows are neighbours: large where a few rows are neighbours of very many."""
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups."""
    notes: Notes = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per group, and of what is shared. Raises ImportError when pandas is missing.

        Columns: `group` (name; "all rows" for all), `n`, `what` ("class", an attribute, "group"), `share`, `expected`.
        """
        rows = [(one, *shares) for one in (*self.groups, self.overall) for shares in shares_of(one)]
        return frame(
            {
                "group": [one.group.name or "all rows" for one, *_ in rows],
                "n": [one.group.count for one, *_ in rows],
                "what": [what for _, what, _, _ in rows],
                "share": [share for _, _, share, _ in rows],
                "expected": [chance for _, _, _, chance in rows],
            },
            self.notes,
        )

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        header = ("neighbours of", "n", *(f"same {what}" for what, _, _ in shares_of(self.overall)))
        rows = [
            (
                one.group.name or "all rows",
                str(one.group.count),
                *(f"{_number(share)} ({_number(chance)})" for _, share, chance in shares_of(one)),
            )
            for one in (*self.groups, self.overall)
        ]
        return header, rows

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        header, rows = self._table()
        facts = {"features": self.feature_set, "k": self.k, "hubness": f"{self.hubness:.3g}"}
        return card("NeighbourRates", pairs(facts), table(header, rows, caption="share (by chance)"), notes=self.notes)

    def __repr__(self) -> str:
        said = ", ".join(
            f"{one_line(what)} {_number(share)} ({_number(chance)})" for what, share, chance in shares_of(self.overall)
        )
        return f"NeighbourRates({short(self.feature_set)}, k = {self.k}, share (by chance): {said}){lines(self.notes)}"

    def __str__(self) -> str:
        header, rows = self._table()
        return f"{text_table(header, rows)}\nshare (by chance); hubness {self.hubness:.3g}{lines(self.notes)}"


def shares_of(rate: NeighbourRate) -> list[tuple[str, float, float]]:
    """What is shared, the share, and what chance would give."""
    attributes = [(name, share, rate.expected_attribute[name]) for name, share in rate.same_attribute.items()]
    return [
        ("class", rate.same_class, rate.expected_class),
        *attributes,
        ("group", rate.same_group, rate.expected_group),
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunNeighbours(Shown, Savable):
    """What the feature space of a run is organised by, from epoch to epoch."""

    run: str
    split: str
    epochs: NDArray[np.float64]
    """(E,) epochs trained; 0 is the starting point."""
    checkpoints: tuple[str, ...]
    """(E,) digests."""
    rates: tuple[NeighbourRates, ...]
    """(E,) one answer each."""

    @property
    def lift(self) -> Mapping[str, NDArray[np.float64]]:
        """(E,) by "class" and by attribute, `NeighbourRate.lift` over all rows."""
        names = ("class", *self.rates[0].attributes)
        return {name: np.array([one.overall.lift[name] for one in self.rates]) for name in names}

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch, group, and of what is shared. Raises ImportError when pandas is missing.

        Columns: `epoch`, and those of `NeighbourRates.to_frame`.
        """
        rows = [
            (float(epoch), one, *shares)
            for epoch, rates in zip(self.epochs, self.rates, strict=True)
            for one in (*rates.groups, rates.overall)
            for shares in shares_of(one)
        ]
        return frame(
            {
                "epoch": [epoch for epoch, *_ in rows],
                "group": [row[1].group.name or "all rows" for row in rows],
                "n": [row[1].group.count for row in rows],
                "what": [row[2] for row in rows],
                "share": [row[3] for row in rows],
                "expected": [row[4] for row in rows],
            }
        )

    def plot(self) -> Figure:
        """The share of neighbours with a row's class and attributes over the epochs, beside what chance would give.

        Over all rows at the left, and of the class by group at the right. Raises ImportError without matplotlib.
        """
        from penult.results.figures.neighbour_rates import run_neighbours_figure

        return run_neighbours_figure(self)

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        header = ("epoch", *(f"same {what}" for what, _, _ in shares_of(self.rates[0].overall)), "hubness")
        rows = [
            (
                f"{epoch:g}",
                *(f"{_number(share)} ({_number(chance)})" for _, share, chance in shares_of(one.overall)),
                f"{one.hubness:.3g}",
            )
            for epoch, one in zip(self.epochs, self.rates, strict=True)
        ]
        return header, rows

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        header, rows = self._table()
        return card(
            "RunNeighbours",
            pairs({"run": self.run, "split": self.split, "k": self.rates[0].k}),
            table(header, rows, caption="share over all rows (by chance)", n_text=0),
        )

    def __repr__(self) -> str:
        first, last = self.rates[0].overall, self.rates[-1].overall
        both = zip(shares_of(first), shares_of(last), strict=True)
        said = ", ".join(f"{one_line(what)} {_number(share)} .. {_number(end[1])}" for (what, share, _), end in both)
        return f"RunNeighbours({one_line(self.run)}, {one_line(self.split)}, {len(self.epochs)} epochs: {said})"

    def __str__(self) -> str:
        header, rows = self._table()
        return text_table(header, rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
