"""Several systems beside each other: the numbers of every measure."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penult.arguments.coerce import text
from penult.display.html import Shown, card, pairs, table
from penult.display.names import one_line
from penult.errors import invalid
from penult.files.savable import Savable
from penult.results.comparing.choosing import model_size, opposing_signals, selection_rules
from penult.results.comparing.groups import evenness, moon, rank_systems
from penult.results.comparing.pairs import ensemble_gain, error_inconsistency, specialisation
from penult.results.comparing.scored import Scored
from penult.results.comparing.values import ComparedValue
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines

if TYPE_CHECKING:
    import pandas as pd

MEASURES: Mapping[str, Callable[[Scored], Iterable[ComparedValue]]] = {
    "error_inconsistency": error_inconsistency,
    "specialisation": specialisation,
    "ensemble_gain": ensemble_gain,
    "evenness": evenness,
    "rank_systems": rank_systems,
    "moon": moon,
    "selection_rules": selection_rules,
    "model_size": model_size,
    "opposing_signals": opposing_signals,
}
"""What `Client.compare` computes, by name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Comparison(Shown, Savable):
    """Measures of several systems on the same rows."""

    split: str
    systems: tuple[str, ...]
    """Names of what is compared, in the order that it was given."""
    checkpoints: tuple[str, ...]
    """Digests."""
    n_rows: int
    """Rows that all of them have."""
    values: tuple[ComparedValue, ...]
    notes: Notes = ()

    def of(self, measure: str) -> tuple[ComparedValue, ...]:
        """All numbers of a measure. Raises `InvalidRequest`, listing what there is."""
        found = tuple(one for one in self.values if one.measure == text("measure", measure))
        if not found:
            there = ", ".join(dict.fromkeys(one.measure for one in self.values))
            raise invalid(f"there is no {measure!r} here; there are {there}", argument="measure")
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row per number. Raises ImportError when pandas is missing.

        Columns: `measure`, `name`, `systems`, `part`, `value`, `low`, `high`, `p`, `n`, `note`.
        """
        names = ("measure", "name", "part", "value", "low", "high", "p", "n", "note")
        columns: dict[str, list[object]] = {name: [getattr(one, name) for one in self.values] for name in names}
        return frame(columns | {"systems": [" / ".join(one.systems) for one in self.values]}, self.notes)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.measure,
                one.name,
                "all" if len(one.systems) > 2 else one_line(" / ".join(one.systems)),
                one_line(one.part),
                str(one.n),
                _number(one.value),
                "-" if math.isnan(one.low) else f"{one.low:.4g} .. {one.high:.4g}",
                _number(one.p),
                one_line(one.note, 120),
            )
            for one in self.values
        ]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {"split": self.split, "systems": len(self.systems), "rows": self.n_rows}
        return card("Comparison", pairs(facts), table(HEADER, self._rows(), n_text=4, most=60), notes=self.notes)

    def __repr__(self) -> str:
        measures = one_line(", ".join(dict.fromkeys(one.measure for one in self.values)), 200)
        told = f"{len(self.systems)} systems, {self.n_rows} rows of {one_line(self.split)}: {measures}"
        return f"Comparison({told}){lines(self.notes)}"

    def __str__(self) -> str:
        return text_table(HEADER, self._rows()) + lines(self.notes)


HEADER = ("measure", "number", "systems", "of", "n", "value", "95 %", "p", "note")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
