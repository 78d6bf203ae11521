"""What closes the gap of one group: its accuracy after each mend that features, head and rows allow."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown, card, pairs, table
from penult.display.names import one_line
from penult.files.savable import Savable
from penult.results.comparing.values import wilson
from penult.results.frames import frame, text_table

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
CANDIDATES = 101
"""Offsets of a class that are tried."""
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GapStep(Shown):
    """The accuracy of the group with one thing mended."""

    name: str
    """"as it is", "threshold", "head", "rows" or "features"."""
    accuracy: float
    """The group's; NaN where it is not known, and `note` says why."""
    low: float
    """Ends of the 95 % Wilson interval; NaN for what is extrapolated."""
    high: float
    average: float
    """Accuracy over all rows."""
    worst: float
    """Lowest accuracy of a group."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class GapExplained(Shown, Savable):
    """Why a group falls behind, by what brings it forward; `steps` are in the order of how much they may change.

    threshold: another bias alone, found on held-out rows. head: DFR on held-out rows. rows: the same, of as many
    held-out rows as there could be (a + b / n through a quarter, a half and all of them). features: DFR on one half of
    the scored rows, the other half predicted, and the reverse: what any head could do with these features, about.
    """

    group: str
    n: int
    """Scored rows of the group."""
    steps: tuple[GapStep, ...]
    flagged: float
    """Fraction of the group's scored rows whose labels their neighbours doubt; NaN where not asked."""

    def step(self, name: str) -> GapStep:
        """A step by its name. Raises KeyError."""
        return {one.name: one for one in self.steps}[name]

    def to_frame(self) -> pd.DataFrame:
        """One row per step. Raises ImportError when pandas is missing.

        Columns: `name`, `accuracy`, `gain` (over the row before), `low`, `high`, `average`, `worst`, `note`.
        """
        names = ("name", "accuracy", "low", "high", "average", "worst", "note")
        columns: dict[str, list[object]] = {name: [getattr(one, name) for one in self.steps] for name in names}
        columns["gain"] = [
            math.nan,
            *(b.accuracy - a.accuracy for a, b in zip(self.steps, self.steps[1:], strict=False)),
        ]
        return frame(columns)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.name,
                _text(one.accuracy),
                _interval(one),
                _text(one.average),
                _text(one.worst),
                one_line(one.note, 120),
            )
            for one in self.steps
        ]

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        facts = {"group": self.group, "rows": self.n, "labels in doubt": _text(self.flagged)}
        return card("GapExplained", pairs(facts), table(HEADER, self._rows(), n_text=1))

    def __repr__(self) -> str:
        told = ", ".join(f"{one.name} {_text(one.accuracy)}" for one in self.steps)
        return f"GapExplained({one_line(self.group)}, {self.n} rows: {told}; labels in doubt {_text(self.flagged)})"

    def __str__(self) -> str:
        return text_table(HEADER, self._rows())


HEADER = ("mended", "accuracy of the group", "95 %", "average", "worst group", "note")


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(one: GapStep) -> str:
    return "-" if math.isnan(one.low) else f"{one.low:.3f} .. {one.high:.3f}"


def step_of(name: str, correct: Flags, g: NDArray[np.int64], group: int, note: str = "") -> GapStep:
    """A step from whether each row is predicted rightly, and its group."""
    own = correct[g == group]
    low, high = wilson(float(own.sum()), own.size)
    return GapStep(
        name=name,
        accuracy=float(own.mean()),
        low=low,
        high=high,
        average=float(correct.mean()),
        worst=min(float(correct[g == one].mean()) for one in np.unique(g).tolist()),
        note=note,
    )


def extrapolated(name: str, sizes: NDArray[np.int64], steps: Sequence[GapStep]) -> GapStep:
    """The step at infinitely many rows: a of a + b / n by least squares through steps at sizes (S,), within 0 and 1."""
    table = np.array([(one.accuracy, one.average, one.worst) for one in steps])
    design = np.column_stack([np.ones(sizes.size), 1.0 / sizes])
    found: list[float] = np.clip(np.linalg.lstsq(design, table, rcond=None)[0][0], 0.0, 1.0).tolist()
    told = ", ".join(f"{value:.3f} of {size}" for size, value in zip(sizes.tolist(), table[:, 0].tolist(), strict=True))
    return GapStep(
        name=name, accuracy=found[0], low=math.nan, high=math.nan, average=found[1], worst=found[2],
        note=f"a + b / n through {told} rows",
    )  # fmt: skip


def tuned_offsets(log_p: Floats, y: NDArray[np.int64], g: NDArray[np.int64]) -> Floats:
    """(C,) added to log-probabilities (N, C): of the largest worst-group accuracy, then accuracy, class by class."""

    def score(of: Floats) -> tuple[float, float]:
        correct = np.argmax(log_p + of, axis=1) == y
        return min(float(correct[g == one].mean()) for one in np.unique(g).tolist()), float(correct.mean())

    offset: list[float] = [0.0] * log_p.shape[1]
    best = score(np.asarray(offset))
    for _ in range(ROUNDS):
        for c in range(1, log_p.shape[1]):
            for value in _needed(log_p, np.asarray(offset), c):
                tried = [*offset[:c], value, *offset[c + 1 :]]
                found = score(np.asarray(tried))
                if found > best:
                    best, offset = found, tried
    return np.asarray(offset)


def _needed(log_p: Floats, offset: Floats, c: int) -> list[float]:
    """Offsets of a class at which decisions change, evenly over the rows."""
    others: Floats = np.max(np.delete(log_p + offset, c, axis=1), axis=1)
    return (np.quantile(others - log_p[:, c], np.linspace(0, 1, CANDIDATES)) + 1e-9).tolist()
