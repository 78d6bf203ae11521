"""What panels are given and what they answer."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from penult_kernels.loss import log_softmax
from penult_kernels.metrics.scores import wilson_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class PartKind(StrEnum):
    """What a value is of."""

    ALL = "all"
    CLASS = "class"
    ATTRIBUTE = "attribute"
    GROUP = "group"
    MASK = "mask"
    MASK_CLASS = "mask and class"
    """Rows of a mask and of a class, number mask * K + class."""


@dataclass(frozen=True, slots=True)
class Part:
    """All rows, or those of one class, attribute value, group or mask."""

    kind: PartKind = PartKind.ALL
    index: int = -1


ALL = Part()


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelDefinition:
    """One number of a panel; an id is never reused for another formula."""

    id: str
    panel: str
    formula: str
    source: str
    direction: str
    """"higher" or "lower" is better, or "neither"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelValue:
    """One number of one part; NaN where it is not defined, and `note` says why."""

    id: str
    part: Part = ALL
    value: float = math.nan
    low: float = math.nan
    """Ends of the 95 % interval."""
    high: float = math.nan
    n: int = 0
    """Rows behind it."""
    null: float = math.nan
    """The mean over draws under the null, where there is one."""
    null_low: float = math.nan
    null_high: float = math.nan
    p: float = math.nan
    """p-value of no difference from the rows of the other parts of its kind, adjusted after Holm (1979) over these."""
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """N rows with their logits under one head. Raises ValueError when shapes or labels do not fit."""

    logits: Floats
    """(N, K)"""
    y: Integers
    """(N,) classes."""
    g: Integers
    """(N,) groups, g = y * n_attributes + a."""
    n_groups: int
    masks: Booleans | None = None
    """(M, N) sets of rows that may overlap."""
    seed: int = 0
    calibration: "Scored | None" = None
    """Other rows, that thresholds are found on."""

    def __post_init__(self) -> None:
        n, k = self.logits.shape
        if self.y.shape != (n,) or self.g.shape != (n,):
            raise ValueError(
                f"y and g must have one entry per row, shape ({n},), got {self.y.shape} and {self.g.shape}"
            )
        if self.n_groups % k:
            raise ValueError(f"n_groups must be a multiple of the {k} classes, got {self.n_groups}")
        if not np.array_equal(self.g // self.n_attributes, self.y):
            raise ValueError(f"g must be y * {self.n_attributes} + a, got groups of other classes than y says")

    @property
    def n_classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    @property
    def n_attributes(self) -> int:
        """A; 1 where there is no attribute."""
        return self.n_groups // self.logits.shape[1]

    @cached_property
    def a(self) -> Integers:
        """(N,) attribute values."""
        return self.g % self.n_attributes

    @cached_property
    def log_p(self) -> Floats:
        """(N, K)"""
        return log_softmax(self.logits)

    @cached_property
    def p(self) -> Floats:
        """(N, K)"""
        return np.exp(self.log_p)

    @cached_property
    def predicted(self) -> Integers:
        """(N,) the first largest logit."""
        return np.argmax(self.logits, axis=1)

    def parts(self, *kinds: PartKind) -> Iterator[tuple[Part, Booleans]]:
        """Parts of some kinds and which rows (N,) they have; attribute values only where there are two."""
        labels = {
            PartKind.CLASS: (self.y, self.n_classes),
            PartKind.ATTRIBUTE: (self.a, self.n_attributes if self.n_attributes > 1 else 0),
            PartKind.GROUP: (self.g, self.n_groups),
        }
        for kind in kinds:
            if kind is PartKind.ALL:
                yield ALL, np.ones(self.y.size, dtype=np.bool_)
            elif kind is PartKind.MASK:
                masks = np.zeros((0, self.y.size), dtype=np.bool_) if self.masks is None else self.masks
                yield from ((Part(kind, index), mask) for index, mask in enumerate(masks))
            else:
                values, count = labels[kind]
                yield from ((Part(kind, index), values == index) for index in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel of the registry."""

    name: str
    definitions: tuple[PanelDefinition, ...]
    compute: Callable[[Scored], Iterable[PanelValue]]
    needs_calibration: bool = False


def proportion(id: str, part: Part, hits: int, count: int, why: str, p: float = math.nan) -> PanelValue:
    """hits / count with Wilson's interval and a p-value; NaN, with the reason, where the count is 0."""
    if not count:
        return PanelValue(id=id, part=part, n=0, note=why)
    low, high = wilson_interval(np.asarray(hits), np.asarray(count)).tolist()
    return PanelValue(id=id, part=part, value=hits / count, low=low, high=high, n=count, p=p)


def number(id: str, part: Part, value: float, n: int, why: str) -> PanelValue:
    """A value without an interval; the reason where it is NaN."""
    return PanelValue(id=id, part=part, value=value, n=n, note="" if math.isfinite(value) else why)
