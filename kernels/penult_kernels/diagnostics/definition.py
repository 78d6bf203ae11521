"""What a diagnostic is: its ids with their formulas, what it needs, and the values it makes."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penult_kernels.diagnostics.shared.context import Context


class Need(StrEnum):
    """What a diagnostic is computed from besides rows and parts."""

    LABELS = "labels"
    """Classes of the rows."""
    HEAD = "head"
    """Weights of the head that reads these features."""
    LOGITS = "logits"
    """Logits that are stored, or the head."""
    OTHER = "other"
    """A second set with features of the same rows."""
    NEIGHBOURS = "neighbours"
    """Distances to the nearest rows of the same part."""
    MEMORY = "memory"
    """Rows that are in memory, for it gathers some."""


class Direction(StrEnum):
    """Which way is better, or larger in what the name says."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


class Interval(StrEnum):
    """How the 95 % interval of a value is found."""

    BOOTSTRAP = "bootstrap"
    """Rows drawn within their parts with replacement: value + quantiles of the replicates - their median."""
    JACKKNIFE = "jackknife"
    """Normal, with the standard error of all values without one row."""
    DELTA = "delta method"
    """Normal, with the standard error of the influence function."""
    PAIRS = "pairs of rows"
    """Normal, with the standard error of a mean over pairs of rows."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One number: never two formulas under one id."""

    id: str
    family: str
    formula: str
    source: str
    """The paper or the convention that it follows."""
    direction: Direction
    needs: frozenset[Need]
    parts: str
    """What there is a value of: "part", "all", "pair", "column", or several of these."""
    interval: Interval
    matched: bool = True
    """Whether it has a value at matched n."""
    cost: str = "n D R"
    """Multiplications, by n rows, D features, K classes, P parts and R draws."""
    lowest: float = -math.inf
    """The least value there is, below which no interval reaches."""
    highest: float = math.inf
    numbers: tuple[str, ...] = ()
    """Numbers of a request that it uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One number of one part. What is not defined is NaN, and `note` says why."""

    id: str
    parts: tuple[int, ...] = ()
    """Numbers of the part, or of the two parts that it is of; none for all rows."""
    column: str = ""
    """The column of labels that it is of."""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    """Rows behind it."""
    matched_value: float = math.nan
    """Median over draws of the rows of the smallest part."""
    matched_low: float = math.nan
    matched_high: float = math.nan
    null: float = math.nan
    """What it would be if there were nothing to find."""
    note: str = ""


Accumulator = Any
"""A class of `shared`: made from a context, given every block of a pass, then read by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A kernel of the registry: definitions, what they accumulate, and how values are made of that."""

    definitions: tuple[Definition, ...]
    compute: Callable[["Context", frozenset[str]], Iterable[Value]]
    """Values of those of its ids that are asked for."""
    first: tuple[type[Accumulator], ...] = ()
    """Accumulated in the first pass."""
    second: tuple[type[Accumulator], ...] = ()
    """Accumulated in the second pass, which may use what the first found."""
    work: Callable[["Size"], float] = field(default=lambda size: size.n * size.d * size.draws)
    """Multiplications, about."""
    memory: Callable[["Size"], float] = field(default=lambda size: 0.0)
    """Bytes besides blocks of rows and the sums under all draws, about."""

    def __iter__(self) -> Iterator[Definition]:
        return iter(self.definitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the cost of a diagnostic depends on."""

    n: int
    """Rows."""
    d: int
    """Features."""
    k: int
    """Classes."""
    parts: int
    draws: int
    """Weightings of the rows: the rows themselves, bootstrap and matched draws."""
    smallest: int
    """Rows of the smallest part."""
    d_other: int = 0
    """Features of the second set."""
