"""Panels of an evaluation: numbers by class, attribute value, group and mask, with definitions and intervals."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penult.arguments.coerce import text
from penult.display.html import Shown, card, table
from penult.display.names import one_line
from penult.errors import invalid, shown
from penult.files.savable import Savable
from penult.results.frames import frame, text_table

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelDefinition(Shown):
    """One number of a panel."""

    id: str
    """Stable name of the formula."""
    formula: str
    source: str
    direction: str
    """"higher" or "lower" is better, or "neither"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelValue(Shown):
    """One number of one part; NaN where it is not defined, and `note` says why. ``float(value)`` is the number."""

    id: str
    kind: str
    """What it is of: "all", "class", "attribute" (a value of it), "group", "mask" or "mask and class"."""
    part: str
    """Its name; "all" for all rows."""
    value: float
    low: float
    """Ends of the 95 % interval; NaN where there is none."""
    high: float
    n: int
    """Rows behind it."""
    null: float
    """The mean under the null, such as a calibrated head at that n; NaN where there is none."""
    null_low: float
    null_high: float
    note: str
    p: float = math.nan
    """p-value of no difference from the rows of the other parts of its kind, adjusted for their number after Holm
    (1979); NaN where there is none."""

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Panel(Shown, Savable):
    """The numbers of one panel."""

    name: str
    definitions: Mapping[str, PanelDefinition]
    """By id."""
    values: tuple[PanelValue, ...]

    def value(self, id: str, part: str = ALL) -> PanelValue:
        """The value of an id, of all rows or of a class, attribute value, group or mask by its name.

        Raises `InvalidRequest`, listing what there is.
        """
        if text("id", id) not in self.definitions:
            raise invalid(f"panel {self.name} has no {shown(id)}; it has {', '.join(self.definitions)}", argument="id")
        found = [one for one in self.values if one.id == id and one.part == text("part", part)]
        if not found:
            parts = "; ".join(dict.fromkeys(one.part for one in self.values if one.id == id))
            raise invalid(f"{id} has no value of {shown(part)}; it has: {parts}", argument="part")
        return found[0]

    def to_frame(self) -> pd.DataFrame:
        """One row per value. Raises ImportError when pandas is missing.

        Columns: `id`, `kind`, `part`, `value`, `low`, `high`, `n`, `null`, `null_low`, `null_high`, `p`, `note`,
        `formula`.
        """
        names = ("id", "kind", "part", "value", "low", "high", "n", "null", "null_low", "null_high", "p", "note")
        columns: dict[str, list[object]] = {name: [getattr(one, name) for one in self.values] for name in names}
        columns["formula"] = [self.definitions[one.id].formula for one in self.values]
        return frame(columns)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.id,
                one_line(one.part),
                str(one.n),
                _number(one.value),
                _interval(one.low, one.high),
                _number(one.null) if math.isnan(one.null_low) else _interval(one.null_low, one.null_high),
                _number(one.p),
                one_line(one.note, 200),
            )
            for one in self.values
        ]

    def _repr_html_(self) -> str:
        """The panel for a notebook."""
        header = ("number", "of", "n", "value", "95 %", "null", "p", "note")
        return card(f"Panel {self.name}", table(header, self._rows(), n_text=2, most=60))

    def __repr__(self) -> str:
        return f"Panel({one_line(self.name)}, {len(self.values)} values of {', '.join([*self.definitions][:4])})"

    def __str__(self) -> str:
        return text_table(("number", "of", "n", "value", "95 %", "null", "p", "note"), self._rows())


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) or math.isnan(high) else f"{low:.4g} .. {high:.4g}"
