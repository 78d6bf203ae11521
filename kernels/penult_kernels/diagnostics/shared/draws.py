"""Weightings of the rows: as they are, drawn again with replacement, and drawn down to the smallest part."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Interval, Value
from penult_kernels.diagnostics.subject import Subject

Floats = NDArray[np.float64]
FEWEST = 20
"""Draws of which a quantile is taken, at least."""
LOW, HIGH = 0.025, 0.975


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """R = 1 + replicates + matched weightings of N rows."""

    subject: Subject
    replicates: int
    """Bootstrap draws, each part by itself; 0 for none."""
    matched: int
    """Draws without replacement of as many rows of each part as the smallest has; 0 for none."""
    seed: int

    @property
    def count(self) -> int:
        """R."""
        return 1 + self.replicates + self.matched

    @cached_property
    def weights(self) -> NDArray[np.uint8]:
        """(N, R) how often each row counts: first 1, then the bootstrap draws, then the matched ones."""
        found = np.ones((self.subject.rows.shape[0], self.count), dtype=np.uint8)
        for part, rows in enumerate(self.subject.members):
            for column in range(1, 1 + self.replicates):
                rng = np.random.default_rng([self.seed, 0, part, column])
                found[rows, column] = np.bincount(rng.integers(rows.size, size=rows.size), minlength=rows.size)
            for index in range(self.matched):
                found[rows, 1 + self.replicates + index] = 0
                found[self.matched_rows(part, index), 1 + self.replicates + index] = 1
        return found

    def matched_rows(self, part: int, index: int) -> NDArray[np.int64]:
        """Positions of the rows of a part in one matched draw, ascending."""
        rows, size = self.subject.members[part], self.subject.smallest
        if rows.size <= size:
            return rows
        rng = np.random.default_rng([self.seed, 1, part, index])
        return rows[np.sort(rng.choice(rows.size, size, replace=False))]

    def value(
        self,
        definition: Definition,
        found: Floats,
        *,
        parts: tuple[int, ...] = (),
        column: str = "",
        n: int,
        null: float = math.nan,
        note: str = "",
        has_matched: bool = True,
    ) -> Value:
        """A value of what (R,) weightings gave: interval about it, and the median and interval of the matched draws."""
        one = float(found[0])
        low, high = math.nan, math.nan
        if definition.interval is Interval.BOOTSTRAP and math.isfinite(one):
            low, high = about(one, found[1 : 1 + self.replicates], definition)
        median, matched_low, matched_high = math.nan, math.nan, math.nan
        if has_matched and definition.matched:
            median, matched_low, matched_high = middle(found[1 + self.replicates :])
        return Value(
            id=definition.id,
            parts=parts,
            column=column,
            value=one,
            low=low,
            high=high,
            n=n,
            matched_value=median,
            matched_low=matched_low,
            matched_high=matched_high,
            null=null,
            note=note,
        )


def about(value: float, replicates: Floats, definition: Definition) -> tuple[float, float]:
    """value + quantiles of the replicates - their median, which leaves out the bias of drawing rows again."""
    known = replicates[np.isfinite(replicates)]
    if known.size < FEWEST:
        return math.nan, math.nan
    ends = value + np.quantile(known, [LOW, HIGH]) - np.median(known)
    low, high = np.clip(ends, definition.lowest, definition.highest).tolist()
    return low, high


def normal(value: float, error: float, definition: Definition) -> tuple[float, float]:
    """value -+ 1.96 standard errors."""
    ends = np.clip([value - 1.959964 * error, value + 1.959964 * error], definition.lowest, definition.highest)
    low, high = ends.tolist()
    return low, high


def middle(draws: Floats) -> tuple[float, float, float]:
    """Median of the draws, and the interval that 95 % of them lie in."""
    known = draws[np.isfinite(draws)]
    if known.size < min(FEWEST, max(draws.size, 1)):
        return math.nan, math.nan, math.nan
    low, median, high = np.quantile(known, [LOW, 0.5, HIGH]).tolist()
    return median, low, high
