"""Diagnostics over the epochs of a run, and what is learned first."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.arguments.coerce import number, text
from penult.display.html import Shown, card, pairs, table
from penult.display.names import one_line
from penult.errors import invalid
from penult.files.savable import Savable
from penult.results.diagnosis.diagnosis import Diagnosis, DiagnosticValue
from penult.results.frames import frame, text_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunDiagnosis(Shown, Savable):
    """The same diagnostics of every checkpoint of a run whose features are stored."""

    run: str
    split: str
    epochs: Floats
    """(E,) epochs trained; 0 is the starting point."""
    checkpoints: tuple[str, ...]
    """(E,) digests."""
    diagnoses: tuple[Diagnosis, ...]
    """(E,) one answer each."""

    def values(self, id: str, part: str | None = None) -> tuple[DiagnosticValue, ...]:
        """(E,) values of an id, of a part as for `Diagnosis.value`. Raises `InvalidRequest`."""
        return tuple(one.value(id, part) for one in self.diagnoses)

    def curve(self, id: str, part: str | None = None) -> Floats:
        """(E, 3) value and ends of the interval at every epoch; NaN where not defined. Raises `InvalidRequest`."""
        return np.array([(one.value, one.low, one.high) for one in self.values(id, part)])

    def matrix(self, id: str) -> Floats:
        """(E, P, P) values of pairs of parts, such as "gradient_conflict". Raises `InvalidRequest`."""
        return np.stack([one.matrix(id) for one in self.diagnoses])

    def learning_order(self, id: str = "decodability_bits", share: float = 0.9) -> Mapping[str, float]:
        """By column of labels, the epoch at which its value first reaches a share of its last; earliest first.

        Between epochs it is interpolated, on a line. NaN where the last value is not above 0: what cannot be decoded at
        the end was not learned. What comes first is what training learns first, the shortcut before the class or after.

        Raises `InvalidRequest` for an id without values of columns, or a share outside (0, 1].
        """
        wanted = number("share", share)
        if not 0 < wanted <= 1:
            raise invalid(f"share must be above 0 and at most 1, such as 0.9; got {wanted!r}", argument="share")
        columns = dict.fromkeys(
            one.column for one in self.diagnoses[0].values if one.id == text("id", id) and one.column
        )
        if not columns:
            raise invalid(f"{id!r} has no values of columns here: ask for 'decodability'", argument="id")
        found = {name: _reaches(self.epochs, self.curve(id, name)[:, 0], wanted) for name in columns}
        return dict(sorted(found.items(), key=lambda one: (math.isnan(one[1]), one[1])))

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch and value. Raises ImportError when pandas is missing.

        Columns: `epoch`, `id`, `part`, `value`, `low`, `high`, `n`, `matched_value`, `null`, `note`.
        """
        names = ("id", "part", "value", "low", "high", "n", "matched_value", "null", "note")
        rows = [
            (float(epoch), value)
            for epoch, one in zip(self.epochs, self.diagnoses, strict=True)
            for value in one.values
        ]
        columns: dict[str, list[object]] = {"epoch": [epoch for epoch, _ in rows]}
        return frame(columns | {name: [getattr(value, name) for _, value in rows] for name in names})

    def plot(self) -> Figure:
        """A panel for each id, a line for each part over the epochs, bands of 95 %. Raises ImportError without
        matplotlib."""
        from penult.results.figures.run_diagnosis import run_diagnosis_figure

        return run_diagnosis_figure(self)

    @property
    def _header(self) -> tuple[str, ...]:
        return ("id", "of", *(f"epoch {epoch:g}" for epoch in self.epochs))

    def _rows(self) -> list[tuple[str, ...]]:
        found: dict[tuple[str, str], list[str]] = {}
        for place, one in enumerate(self.diagnoses):
            for value in one.values:
                row = found.setdefault((value.id, one_line(value.part)), ["-"] * len(self.diagnoses))
                row[place] = "-" if math.isnan(value.value) else f"{value.value:.4g}"
        return [(*key, *row) for key, row in found.items()]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        shown = table(self._header, self._rows(), n_text=2, most=60)
        return card("RunDiagnosis", pairs({"run": self.run, "split": self.split}), shown)

    def __repr__(self) -> str:
        ids = ", ".join(self.diagnoses[0].definitions)
        return f"RunDiagnosis({one_line(self.run)}, {one_line(self.split)}, {len(self.epochs)} epochs: {ids})"

    def __str__(self) -> str:
        return text_table(self._header, self._rows())


def _reaches(epochs: Floats, values: Floats, share: float) -> float:
    """The first epoch at which values reach a share of the last of them; NaN unless that is above 0."""
    wanted = share * values[-1]
    if not values[-1] > 0:
        return math.nan
    place = int(np.argmax(values >= wanted))
    if place == 0 or not math.isfinite(values[place - 1]):
        return float(epochs[place])
    before, after = values[place - 1], values[place]
    return float(epochs[place - 1] + (wanted - before) / (after - before) * (epochs[place] - epochs[place - 1]))
