"""Where a merged checkpoint comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penult.display.html import Shown
from penult.types import BatchNormRule, BatchNormStream, MergeMethodName, MergeScope


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStep(Shown):
    """A network that a greedy soup has tried."""

    checkpoint: str
    """Its digest."""
    alone: float
    """Its own score; of "loss" its negative."""
    score: float
    """The score of the soup with it."""
    kept: bool
    low: float
    high: float
    """95 % interval of `score` where that is the worst group's accuracy; else NaN. What is kept within it is kept by a
    few rows: `margin` of ``select=`` asks for more."""
    gain_low: float
    gain_high: float
    """95 % interval of what the score gains over the best soup before, over rows drawn again within their groups."""
    entered: float
    """Fraction of these draws in which it would have been taken in; for the first, be the best alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOrigin(Shown):
    """The request that a merged checkpoint answers, every default filled in; checkpoints are digests."""

    method: MergeMethodName
    parents: tuple[str, ...]
    shares: tuple[float, ...]
    """A factor of each parent; empty for the mean."""
    numbers: Mapping[str, float]
    """The method's own."""
    scope: MergeScope
    """Which tensors were merged; the others are those of `rest`."""
    blocks: tuple[str, ...]
    rest: str
    base: str
    """The common start, for methods that subtract it; else empty."""
    bn: BatchNormRule | None
    """What became of running statistics; None where there are none to see to."""
    bn_stream: BatchNormStream | None
    bn_batch_size: int
    bn_examples: int
    """Training examples that running statistics were measured on; 0 where they were not."""
    row_stream: BatchNormStream | None
    """Which training examples a method measured every network on; how many is the number "rows"."""
    dataset: str
    """Dataset of those examples; empty where nothing was measured."""
    seed: int | None
    """Seed of a method that draws."""
    factors: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers that the weights decided, such as the ratio of Model Stock, by their names."""
    steps: tuple[MergeStep, ...] = ()
    """What a method that chooses has tried, in that order."""
    version: int = 1
    """Version of the definitions."""
