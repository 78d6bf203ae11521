"""Networks measured on the line between two, and block by block."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.arguments.coerce import check_choice, text
from penult.display.html import Shown
from penult.errors import from_kind
from penult.results.frames import frame
from penult.results.merge_origin import MergeOrigin
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MEASURES = ("loss", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeBarrier(Shown):
    """How far a line rises above the straight one between its ends, at the place where it is furthest."""

    split: str
    block: str
    """The block that was moved; empty for the line itself."""
    measure: str
    """ "loss", in nats, or "error", the fraction that is wrong."""
    group: int
    """Index of the group; -1 for all rows."""
    name: str
    """Its name; "all" for all rows."""
    count: int
    t: float
    value: float
    """At least 0, the rise of both ends."""
    low: float
    high: float
    """95 % interval at that t, of paired rows, not adjusted for the choice of t; NaN for one row."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class MergeCurve(Shown):
    """Metrics of the networks (1 - t) first + t second, by group; or with one block after the other moved."""

    line: MergeOrigin
    """Which networks: `.base` is at 0, `.parents[0]` at 1; and how running statistics were found."""
    dataset: str
    t: NDArray[np.float64]
    """(T,)"""
    splits: tuple[str, ...]
    blocks: tuple[str, ...]
    """Blocks of the layer-swap curve, in the order of their names; ("",) for the line."""
    points: dict[tuple[str, str], tuple[Metrics, ...]]
    """(T,) metrics by block and split."""
    barriers: tuple[MergeBarrier, ...]
    notes: Notes = ()

    def metrics(self, split: str | None = None, block: str = "") -> tuple[Metrics, ...]:
        """One for each t; of the first split by default. Raises `NotFound`, listing what was measured."""
        key = (text("block", block) if block else "", self.splits[0] if split is None else text("split", split))
        if key not in self.points:
            known = ", ".join(f"{one}/{name}" if name else one for name, one in self.points)
            raise from_kind(ErrorKind.UNKNOWN_RESULT, f"no curve of split {key[1]!r}, block {key[0]!r}; known: {known}")
        return self.points[key]

    def barrier(self, split: str | None = None, block: str = "", measure: str = "loss") -> tuple[MergeBarrier, ...]:
        """The one of all rows, then one of every group that has any. Raises `InvalidRequest` for another measure."""
        check_choice("measure", measure, MEASURES)
        wanted = (self.splits[0] if split is None else split, block, measure)
        return tuple(one for one in self.barriers if (one.split, one.block, one.measure) == wanted)

    def worst_group_accuracy(self, split: str | None = None, block: str = "") -> NDArray[np.float64]:
        """(T,)"""
        return np.array([one.worst_group_accuracy for one in self.metrics(split, block)])

    def average_accuracy(self, split: str | None = None, block: str = "") -> NDArray[np.float64]:
        """(T,)"""
        return np.array([one.average_accuracy for one in self.metrics(split, block)])

    def stragglers(self, split: str | None = None) -> tuple[str, ...]:
        """Blocks whose worst group, part of the way, falls below both ends by more than half of its 95 % interval.

        Of a layer-swap curve; a definition of this package.
        """
        found: list[str] = []
        for block in self.blocks:
            accuracy = self.worst_group_accuracy(split, block)
            at = int(np.argmin(accuracy))
            one = self.metrics(split, block)[at]
            worst = int(np.nanargmin(one.group_accuracy))
            reach = float(one.group_high[worst] - one.group_low[worst]) / 2
            if accuracy[at] < min(accuracy[0], accuracy[-1]) - reach:
                found.append(block)
        return tuple(found)

    def to_frame(self) -> pd.DataFrame:
        """One row per block, split, t and group. Raises ImportError when pandas is missing.

        Columns: `block`, `split`, `t`, `group` (name), `n`, `accuracy` with `low` and `high`, and `average_accuracy`,
        `worst_group_accuracy` and `loss` of the split, which repeat in its rows.
        """
        rows = [
            (block, split, float(t), one, index)
            for (block, split), of_line in self.points.items()
            for t, one in zip(self.t, of_line, strict=True)
            for index in range(len(one.groups))
        ]
        return frame(
            {
                "block": [row[0] for row in rows],
                "split": [row[1] for row in rows],
                "t": [row[2] for row in rows],
                "group": [one.groups[index].name for *_, one, index in rows],
                "n": [one.groups[index].count for *_, one, index in rows],
                "accuracy": [float(one.group_accuracy[index]) for *_, one, index in rows],
                "low": [float(one.group_low[index]) for *_, one, index in rows],
                "high": [float(one.group_high[index]) for *_, one, index in rows],
                "average_accuracy": [one.average_accuracy for *_, one, _ in rows],
                "worst_group_accuracy": [one.worst_group_accuracy for *_, one, _ in rows],
                "loss": [one.loss for *_, one, _ in rows],
            },
            self.notes,
        )

    def plot(self, split: str | None = None) -> Figure:
        """Accuracies of every group and their average over t; of a layer-swap curve the worst group, a line a block.

        Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.merge_curve import merge_curve_figure

        return merge_curve_figure(self, self.splits[0] if split is None else split)

    def __repr__(self) -> str:
        split = self.splits[0]
        if self.blocks != ("",):
            late = ", ".join(self.stragglers()) or "none"
            return f"MergeCurve({len(self.blocks)} blocks, {len(self.t)} points each, {split}; stragglers {late})"
        worst, average = self.worst_group_accuracy(), self.average_accuracy()
        said = [
            f"{split}: average {average[0]:.3f} .. {average[-1]:.3f}",
            f"worst group {worst[0]:.3f} .. {worst[-1]:.3f}",
            f"best {worst.max():.3f} at t = {self.t[worst.argmax()]:.2f}",
        ]
        high = max(self.barrier(measure="error"), key=lambda one: one.value)
        said.append(f"highest barrier in error {high.value:.3f} ({high.name}, t = {high.t:.2f})")
        return f"MergeCurve({len(self.t)} networks; {'; '.join(said)}){lines(self.notes)}"
