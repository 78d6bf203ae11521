"""Values of diagnostics, each with its interval, its value at matched n and its null."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.arguments.coerce import text
from penult.display.html import Shown, card, pairs, table
from penult.display.names import one_line
from penult.errors import invalid, shown
from penult.files.savable import Savable
from penult.results.diagnosis.definitions import DiagnosticDefinition
from penult.results.diagnosis.paper import latex, markdown
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines
from penult.results.records import Group, short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ALL = "all"
"""Name of all rows together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticValue(Shown):
    """One number of one part; NaN where it is not defined, and `note` says why. ``float(value)`` is the number."""

    id: str
    part: str
    """"all"; the name of a group or class; two of them, "a / b"; or a column of labels."""
    indices: tuple[int, ...]
    """Indices in `Diagnosis.groups` of the part, or of the two parts."""
    column: str
    value: float
    low: float
    """Ends of the 95 % interval."""
    high: float
    n: int
    """Rows behind it."""
    matched_value: float
    """The median over draws of as many rows of each part as the smallest has."""
    matched_low: float
    """Ends of the interval that 95 % of these draws lie in."""
    matched_high: float
    null: float
    """What it would be if there were nothing to find; NaN where there is no such value."""
    note: str

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Diagnosis(Shown, Savable):
    """Diagnostics of one feature set."""

    digest: str
    feature_set: str
    other: str
    """The set that was compared with; empty without one."""
    by: str
    """"group", "class" or "all"; with a grouping, what its values are called together."""
    groups: tuple[Group, ...]
    """The parts; none by "all"."""
    definitions: Mapping[str, DiagnosticDefinition]
    """By id, families replaced by their members."""
    values: tuple[DiagnosticValue, ...]
    numbers: Mapping[str, float]
    replicates: int
    """Bootstrap draws that were made."""
    matched_draws: int
    matched_n: int
    """Rows of the smallest part."""
    seed: int
    n_rows: int
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups."""
    notes: Notes = ()

    def value(self, id: str, part: str | None = None) -> DiagnosticValue:
        """The value of an id; of one part by its name, without one of all rows, or of the only part there is.

        Raises `InvalidRequest`, listing what there is.
        """
        self._check(id)
        found = [one for one in self.values if one.id == id]
        named = None if part is None else text("part", part)
        chosen = found if named is None and len(found) == 1 else [one for one in found if one.part == (named or ALL)]
        if len(chosen) != 1:
            parts = "; ".join(one.part for one in found)
            raise invalid(f"{id} has no value of {named or ALL!r}; it has: {parts}", argument="part")
        return chosen[0]

    def matrix(self, id: str) -> NDArray[np.float64]:
        """(P, P) values of pairs of parts, symmetric, in the order of `groups`; NaN where there are none.

        Raises `InvalidRequest` for an id that is not here.
        """
        self._check(id)
        found = np.full((len(self.groups), len(self.groups)), np.nan)
        for one in self.values:
            if one.id == id and len(one.indices) == 2:
                first, second = one.indices
                found[first, second] = found[second, first] = one.value
        return found

    def _check(self, id: str) -> None:
        if text("id", id) not in self.definitions:
            raise invalid(
                f"there is no diagnostic {shown(id)} here; there are {', '.join(self.definitions)}", argument="id"
            )

    def to_frame(self) -> pd.DataFrame:
        """One row per value. Raises ImportError when pandas is missing.

        Columns: `id`, `part`, `value`, `low`, `high`, `n`, `matched_value`, `matched_low`, `matched_high`, `null`,
        `note`, `formula`.
        """
        names = (
            "id",
            "part",
            "value",
            "low",
            "high",
            "n",
            "matched_value",
            "matched_low",
            "matched_high",
            "null",
            "note",
        )
        columns: dict[str, list[object]] = {name: [getattr(one, name) for one in self.values] for name in names}
        columns["formula"] = [self.definitions[one.id].formula for one in self.values]
        return frame(columns, self.notes)

    def to_latex(self) -> str:
        """A table for a paper, parts in rows and ids in columns: values with their intervals as sub- and superscripts.

        Needs the package booktabs; formulas stand in comments above it. What is not defined is left blank.
        """
        return latex(self.definitions, self.values)

    def to_markdown(self) -> str:
        """The same table with pipes, intervals in brackets."""
        return markdown(self.values)

    def plot(self) -> Figure:
        """A panel for each id: values with their intervals, at matched n, and the null; of pairs of parts a matrix.

        Raises ImportError without matplotlib.
        """
        from penult.results.figures.diagnosis import diagnosis_figure

        return diagnosis_figure(self)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.id,
                one_line(one.part),
                str(one.n),
                _number(one.value),
                _interval(one.low, one.high),
                _number(one.matched_value),
                _interval(one.matched_low, one.matched_high),
                _number(one.null),
                one_line(one.note, 200),
            )
            for one in self.values
        ]

    @property
    def _header(self) -> tuple[str, ...]:
        matched = f"at n = {self.matched_n}" if self.matched_n else "matched"
        return ("id", "of", "n", "value", "95 %", matched, "95 % of draws", "null", "note")

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {"features": self.feature_set, "other": self.other, "by": self.by, "rows": self.n_rows}
        shown = table(self._header, self._rows(), n_text=2, most=60)
        formulas = table(
            ["id", "formula"], [(one.id, one.formula) for one in self.definitions.values()], longest=200, n_text=2
        )
        return card("Diagnosis", pairs(facts), shown, formulas, notes=self.notes)

    def __repr__(self) -> str:
        first = [one for one in self.values if math.isfinite(one.value)][:3]
        said = ", ".join(f"{one.id} of {one_line(one.part)} {_number(one.value)}" for one in first)
        return f"Diagnosis({short(self.feature_set)}, {len(self.values)} values: {said}){lines(self.notes)}"

    def __str__(self) -> str:
        return text_table(self._header, self._rows()) + lines(self.notes)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) or math.isnan(high) else f"{low:.4g} .. {high:.4g}"
