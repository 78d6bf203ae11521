"""What is diagnosed: rows, cut into parts, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.definition import Need
from penult_kernels.linear.problem import Head
from penult_kernels.rows import ArrayRows, RowSource

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
SHIFT_ROWS = 256
"""Rows whose mean is taken off all rows before they are squared: sums of squares then do not cancel."""


class Neighbours(Protocol):
    """Distances to the nearest rows of a row's own part."""

    def __call__(self, k: int) -> Floats:
        """(n, k) Euclidean distances, ascending, float64; NaN where a part has fewer other rows."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """N rows of D features. Raises ValueError when lengths, labels or numbers do not fit each other."""

    rows: RowSource
    part: Integers
    """(N,) part of each row, 0 ... P - 1."""
    n_parts: int
    y: Integers
    """(N,) classes."""
    n_classes: int
    head: Head | None = None
    """On the device of the rows."""
    logits: Array | None = None
    """(N, K) on the host; those of the head when left out."""
    other: RowSource | None = None
    """Features of the same rows in the same order, from elsewhere."""
    columns: Mapping[str, tuple[Integers, int]] = field(default_factory=dict[str, tuple[Integers, int]])
    """By name, labels (N,) of the rows and how many values there are; -1 where a row has none."""
    neighbours: Neighbours | None = None

    def __post_init__(self) -> None:
        n = self.rows.shape[0]
        for name, labels, most in (("part", self.part, self.n_parts), ("y", self.y, self.n_classes)):
            if labels.shape != (n,):
                raise ValueError(f"{name} must have one entry per row, shape ({n},), got {labels.shape}")
            if labels.size and (labels.min() < 0 or labels.max() >= most):
                raise ValueError(f"{name} must lie in 0 ... {most - 1}, got {labels.min()} ... {labels.max()}")
        if self.other is not None and self.other.shape[0] != n:
            raise ValueError(f"the other set must have the same {n} rows, got {self.other.shape[0]}")
        if self.logits is not None and self.logits.shape != (n, self.n_classes):
            raise ValueError(f"logits must be ({n}, {self.n_classes}), got {tuple(self.logits.shape)}")

    @property
    def has(self) -> frozenset[Need]:
        """What a diagnostic may need and is here."""
        given = {
            Need.LABELS: True,
            Need.HEAD: self.head is not None,
            Need.LOGITS: self.logits is not None or self.head is not None,
            Need.OTHER: self.other is not None,
            Need.NEIGHBOURS: self.neighbours is not None,
            Need.MEMORY: isinstance(self.rows, ArrayRows) and (self.other is None or self.other.is_in_memory),
        }
        return frozenset(need for need, is_here in given.items() if is_here)

    @cached_property
    def counts(self) -> Integers:
        """(P,) rows of each part."""
        return np.bincount(self.part, minlength=self.n_parts)

    @cached_property
    def members(self) -> list[Integers]:
        """Positions of the rows of each part, ascending."""
        order = np.argsort(self.part, kind="stable")
        return np.split(order, np.cumsum(self.counts)[:-1])

    @cached_property
    def smallest(self) -> int:
        """Rows of the smallest part that has any."""
        return int(self.counts[self.counts > 0].min(initial=self.rows.shape[0]))

    @cached_property
    def cells(self) -> tuple[Integers, Integers, Integers]:
        """(N,) cell of each row; and of each cell its part and its class. A cell has rows of one part and one class."""
        code, cell = np.unique(self.part * self.n_classes + self.y, return_inverse=True)
        return cell.astype(np.int64), code // self.n_classes, code % self.n_classes

    @cached_property
    def shift(self) -> Array:
        """(D,) float64, mean of rows spread over the set: near the mean, and the same however rows are read."""
        return shift_of(self.rows)

    @cached_property
    def other_shift(self) -> Array:
        """(D',) the same of the other set."""
        assert self.other is not None
        return shift_of(self.other)

    def logits_of(self, rows: slice, z: Array) -> Array:
        """(n, K) float64 logits of some rows, whose features are `z`."""
        xp = array_namespace(z)
        if self.logits is not None:
            return xp.astype(asarray_like(np.ascontiguousarray(to_host(self.logits[rows, :])), z), xp.float64)
        assert self.head is not None
        weight, bias = (xp.astype(one, xp.float64) for one in (self.head.weight, self.head.bias))
        return z @ weight.T + bias


def shift_of(rows: RowSource) -> Array:
    """(D,) float64 mean of at most `SHIFT_ROWS` rows, evenly spread."""
    n = rows.shape[0]
    chosen = np.unique(np.linspace(0, max(n - 1, 0), num=min(n, SHIFT_ROWS)).astype(np.int64)).tolist()
    xp = array_namespace(rows.like)
    each = [xp.astype(rows.block(slice(index, index + 1)), xp.float64) for index in chosen]
    total = each[0] * 0.0
    for one in each:
        total = total + one
    return total[0, :] / len(each)
