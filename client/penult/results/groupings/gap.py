"""How much of the way from no groups to the true ones a grouping goes, in the accuracy of the worst group."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown

LEVELS = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapShare(Shown):
    """(found - none) / (true - none), each the worst group's accuracy of a head on the same test rows."""

    share: float
    """1 where the found groups serve as well as the true ones, 0 where as badly as none; NaN without a gap."""
    low: float
    """Lower end of its 95 % bootstrap interval; NaN where the gap itself is not above 0 with that confidence."""
    high: float


def gap_share(
    none: NDArray[np.bool_],
    found: NDArray[np.bool_],
    true: NDArray[np.bool_],
    g: NDArray[np.int64],
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> GapShare:
    """The share, from (N,) whether each of three heads is right about each row, and the rows' groups.

    The interval is paired: a replicate draws rows, within each group, and scores all three heads on them. Only how
    often the heads are right together matters, so that what is drawn are the counts of the eight cases.
    """
    cases = 4 * none.astype(np.int64) + 2 * found + true
    counts = np.stack([np.bincount(cases[g == one], minlength=8) for one in np.unique(g)])
    at_hand = _worst(counts[None])[0]
    rng = np.random.default_rng(seed)
    sizes = counts.sum(axis=1)
    drawn = np.stack([rng.multinomial(n, own / n, size=replicates) for n, own in zip(sizes, counts, strict=True)], 1)
    gains = _worst(drawn)
    gap = gains[:, 2] - gains[:, 0]
    whole = float(at_hand[2] - at_hand[0])
    share = float(at_hand[1] - at_hand[0]) / whole if whole > 0 else math.nan
    if np.percentile(gap, LEVELS[0]) <= 0:
        return GapShare(share=share, low=math.nan, high=math.nan)
    is_gap = gap > 0
    low, high = np.percentile((gains[is_gap, 1] - gains[is_gap, 0]) / gap[is_gap], LEVELS)
    return GapShare(share=share, low=float(low), high=float(high))


def _worst(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, 3) the worst group's accuracy of each head, from counts (R, G, 8) of the cases."""
    is_right = np.array([[case >> 2 & 1, case >> 1 & 1, case & 1] for case in range(8)])
    return (counts @ is_right / counts.sum(axis=2, keepdims=True)).min(axis=1)
