"""Equal and nearly equal rows, and what accuracies are without them."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Row, Shown, card, pairs, table
from penult.display.names import one_line
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult.results.records import Group, short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShare(Shown):
    """How many rows of a group have a property."""

    group: Group
    count: int
    share: float
    """count / rows of the group; NaN for an empty one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Duplicates(Shown, Savable):
    """Pairs of equal or nearly equal rows, within one set or across two."""

    digest: str
    feature_set: str
    against: str
    """The other set; empty within one."""
    metric: Literal["cosine", "l2"]
    pairs: NDArray[np.uint64]
    """(P, 2) row ids, nearest first: of two rows of the set, or of a row of the set and one of `against`. Within one
    set m equal rows are the m - 1 pairs with the first of them."""
    distances: NDArray[np.float64]
    """(P,) ascending; 0 for equal rows."""
    components: NDArray[np.int64]
    """(P,) the number, from 0, of what each pair hangs together with."""
    threshold: float
    """Pairs nearer than this are duplicates."""
    rule: str
    """From what the threshold was found."""
    n_exact: int
    """Pairs of rows that are equal in every entry."""
    n_rows: int
    """Rows that have a duplicate: of `against` where that is given, else of the set."""
    groups: tuple[GroupShare, ...]
    """The same rows by group."""
    with_duplicates: Metrics | None
    """Metrics of the stored logits on that set; None where it has none."""
    without_duplicates: Metrics | None
    """The same without its rows that have a duplicate in the other set; within one set with the first row of each
    component alone. None also where no row is left."""
    p_value: float
    """Share of random splits of all rows, into as many, that have at least as many pairs across: small where more rows
    leaked than chance would let. NaN within one set."""
    expected_pairs: float
    """Mean number of pairs across of random splits; NaN within one set."""
    truncated: bool
    """Whether there are more pairs than are listed."""
    n_pairs: int
    """Pairs in all."""
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups."""
    notes: Notes = ()

    @property
    def leaks(self) -> Leak | None:
        """What the pairs across two splits mean for accuracies on `against`; None within one set."""
        return leak_of(self) if self.against else None

    def to_frame(self) -> pd.DataFrame:
        """One row per pair, nearest first. Raises ImportError when pandas is missing.

        Columns: `first` and `second` (row ids), `distance`, `component`.
        """
        return frame(
            {
                "first": self.pairs[:, 0].tolist(),
                "second": self.pairs[:, 1].tolist(),
                "distance": self.distances.tolist(),
                "component": self.components.tolist(),
            },
            self.notes,
        )

    def groups_to_frame(self) -> pd.DataFrame:
        """One row per group. Raises ImportError when pandas is missing.

        Columns: `group` (name), `n`, `duplicates`, `share`, and the accuracies `accuracy` and `accuracy_without`, NaN
        where they are not known.
        """
        return frame(
            {
                "group": [one.group.name for one in self.groups],
                "n": [one.group.count for one in self.groups],
                "duplicates": [one.count for one in self.groups],
                "share": [one.share for one in self.groups],
                "accuracy": accuracies(self.with_duplicates, len(self.groups)),
                "accuracy_without": accuracies(self.without_duplicates, len(self.groups)),
            },
            self.notes,
        )

    def _rows(self) -> list[tuple[str, ...]]:
        columns = zip(
            self.groups,
            accuracies(self.with_duplicates, len(self.groups)),
            accuracies(self.without_duplicates, len(self.groups)),
            strict=True,
        )
        return [
            (one.group.name, str(one.group.count), str(one.count), _number(one.share), _number(first), _number(second))
            for one, first, second in columns
        ]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {
            "features": self.feature_set,
            "against": self.against,
            "pairs": self.n_pairs,
            "equal": self.n_exact,
            "threshold": f"{self.threshold:.4g}, {self.rule}",
            "p": None if math.isnan(self.p_value) else f"{self.p_value:.3f}",
        }
        return card("Duplicates", pairs(facts), table(HEADER, self._rows()), notes=self.notes)

    def __repr__(self) -> str:
        what = f"{short(self.feature_set)} and {short(self.against)}" if self.against else short(self.feature_set)
        return (
            f"Duplicates({what}: {self.n_pairs} pairs, {self.n_exact} of them equal, nearer than "
            f"{self.threshold:.3g}; {self.n_rows} rows){lines(self.notes)}"
        )

    def __str__(self) -> str:
        said = [repr(self).splitlines()[0], f"threshold: {self.rule}", text_table(HEADER, self._rows())]
        if self.leaks is not None:
            said.append(str(self.leaks))
        return "\n".join(said) + lines(self.notes)


HEADER = ("group", "n", "duplicates", "share", "accuracy", "without")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak(Shown):
    """What rows that two splits share mean for the accuracies on the second."""

    n_pairs: int
    n_rows: int
    """Rows of the second split with a duplicate in the first."""
    share: float
    """n_rows / rows of the second split that are in a group."""
    p_value: float
    expected_pairs: float
    worst_group: str
    """Name of the group that is worst with all rows; empty where accuracies are not known; then what follows is NaN."""
    accuracy: float
    """Accuracy of that group."""
    accuracy_without: float
    """The same without its leaked rows; NaN where none are left."""
    worst_group_accuracy_without: float
    """Accuracy of the group that is worst without leaked rows."""
    rests_on_leaks: bool
    """Whether without leaked rows the worst group's accuracy is below the 95 % interval of what it is with them."""

    def __str__(self) -> str:
        said = (
            f"{self.n_rows} rows leaked ({self.share:.2%}), {self.n_pairs} pairs where random splits have "
            f"{self.expected_pairs:.1f} (p = {self.p_value:.3f})"
        )
        if not self.worst_group:
            return said
        verdict = "rests on leaks" if self.rests_on_leaks else "does not rest on leaks"
        return (
            f"{said}; worst group {one_line(self.worst_group)}: {self.accuracy:.3f}, without them "
            f"{self.accuracy_without:.3f}: {verdict}"
        )


def leak_of(found: Duplicates) -> Leak:
    """What the pairs across two splits mean."""
    whole, without = found.with_duplicates, found.without_duplicates
    n_rows = sum(one.group.count for one in found.groups)
    accuracy = accuracy_without = worst_without = low = math.nan
    worst = ""
    if whole is not None:
        place = [group.index for group in whole.groups].index(whole.worst_group.index)
        worst, accuracy = whole.worst_group.name, float(whole.group_accuracy[place])
        low = float(whole.group_low[place])
        if without is not None:
            accuracy_without = float(without.group_accuracy[place])
            worst_without = without.worst_group_accuracy
    return Leak(
        n_pairs=found.n_pairs,
        n_rows=found.n_rows,
        share=found.n_rows / n_rows if n_rows else math.nan,
        p_value=found.p_value,
        expected_pairs=found.expected_pairs,
        worst_group=worst,
        accuracy=accuracy,
        accuracy_without=accuracy_without,
        worst_group_accuracy_without=worst_without,
        # A comparison with NaN is False: of what is not known nothing is said.
        rests_on_leaks=worst_without < low,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Leaks(Shown, Savable):
    """Duplicates between every two of several splits."""

    splits: tuple[str, ...]
    """Names in the order they were given."""
    duplicates: Mapping[str, Duplicates]
    """By "first / second"; rows of the second may have leaked from the first."""

    def between(self, first: str, second: str) -> Duplicates:
        """The duplicates of two splits, in the order in which they were given. Raises KeyError."""
        name = f"{first} / {second}"
        if name not in self.duplicates:
            raise KeyError(f"there is no pair of splits {name!r}; there are {', '.join(self.duplicates)}")
        return self.duplicates[name]

    def to_frame(self) -> pd.DataFrame:
        """One row per pair of splits and group. Raises ImportError when pandas is missing.

        Columns: `splits` ("first / second"), `group`, `n`, `leaked`, `share`, `accuracy`, `accuracy_without`; and for
        the pair of splits `pairs`, `p_value` and `rests_on_leaks`.
        """
        rows = [(name, one, place) for name, one in self.duplicates.items() for place in range(len(one.groups))]
        leaks = {name: leak_of(one) for name, one in self.duplicates.items()}
        return frame(
            {
                "splits": [name for name, _, _ in rows],
                "group": [one.groups[place].group.name for _, one, place in rows],
                "n": [one.groups[place].group.count for _, one, place in rows],
                "leaked": [one.groups[place].count for _, one, place in rows],
                "share": [one.groups[place].share for _, one, place in rows],
                "accuracy": [accuracies(one.with_duplicates, len(one.groups))[place] for _, one, place in rows],
                "accuracy_without": [
                    accuracies(one.without_duplicates, len(one.groups))[place] for _, one, place in rows
                ],
                "pairs": [one.n_pairs for _, one, _ in rows],
                "p_value": [one.p_value for _, one, _ in rows],
                "rests_on_leaks": [leaks[name].rests_on_leaks for name, _, _ in rows],
            }
        )

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        rows = [
            Row(
                (name, str(one.n_pairs), str(one.n_rows), _number(one.p_value), str(leak_of(one))),
                leak_of(one).rests_on_leaks,
            )
            for name, one in self.duplicates.items()
        ]
        return card("Leaks", table(["splits", "pairs", "rows", "p", "what it means"], rows, longest=300))

    def __repr__(self) -> str:
        said = ", ".join(f"{one_line(name)}: {one.n_rows} rows" for name, one in self.duplicates.items())
        return f"Leaks({said})"

    def __str__(self) -> str:
        return "\n".join(f"{one_line(name)}: {leak_of(one)}" for name, one in self.duplicates.items())


def accuracies(metrics: Metrics | None, n_groups: int) -> list[float]:
    """(G,) accuracies of the groups; NaN where there are no metrics."""
    return [math.nan] * n_groups if metrics is None else metrics.group_accuracy.tolist()


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
