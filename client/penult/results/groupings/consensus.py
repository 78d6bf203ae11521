"""One grouping out of several: rows that most of them put together are together (Fred and Jain 2005)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.results.groupings.grouping import Grouping

MOST_PATTERNS = 1000
"""Different combinations of values in a class: the time grows with their cube."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Consensus(Shown):
    """What several groupings agree on."""

    grouping: Grouping
    """Stored as an uploaded one; value 0 is the largest of each class."""
    members: tuple[str, ...]
    """Digests of the groupings that it is made of."""
    row_id: NDArray[np.uint64]
    """(N,)"""
    agreement: NDArray[np.float64]
    """(N,) mean share of the groupings that put a row together with the rows of its group; low where they disagree."""

    def disputed(self, most: int = 20) -> NDArray[np.uint64]:
        """Ids of the rows that the groupings agree on least, the first the least."""
        return self.row_id[np.argsort(self.agreement, kind="stable")[:most]]

    def __repr__(self) -> str:
        mean = float(self.agreement.mean())
        return f"Consensus({self.grouping!r} of {len(self.members)} groupings, mean agreement {mean:.3f})"


def consensus_values(
    values: NDArray[np.int64], y: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(N,) values 0 .. k-1 by average linkage within each class, and (N,) the agreement, from values (M, N).

    Two rows are as near as the share of groupings that put them together, among those that put both in a group. Rows
    with the same values in all groupings are never parted, so that only the different combinations are merged.
    Raises ValueError for more than 1,000 combinations in a class.
    """
    found, agreement = np.zeros(y.size, dtype=np.int64), np.ones(y.size)
    for of_class in (np.flatnonzero(y == one) for one in np.unique(y)):
        patterns, inverse, counts = np.unique(values[:, of_class].T, axis=0, return_inverse=True, return_counts=True)
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(f"the groupings have {len(patterns)} combinations of values in a class")
        together = _together(patterns)
        clusters = _average_linkage(1 - together, counts, k)
        found[of_class] = clusters[inverse.reshape(-1)]
        own = (clusters[:, None] == clusters) * counts
        agreement[of_class] = ((together * own).sum(axis=1) / own.sum(axis=1))[inverse.reshape(-1)]
    return found, agreement


def _together(patterns: NDArray[np.int64]) -> NDArray[np.float64]:
    """(U, U) share of the groupings in which two patterns have one value; 0 where no grouping knows both."""
    known = patterns >= 0
    both = known[:, None, :] & known[None, :, :]
    same = both & (patterns[:, None, :] == patterns[None, :, :])
    share = same.sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    np.fill_diagonal(share, 1.0)
    return share


def _average_linkage(distance: NDArray[np.float64], counts: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """(U,) clusters of U points that count several times, numbered by their rows, the most first."""
    members, size = [[point] for point in range(len(counts))], counts.astype(np.float64)
    apart = distance.copy()
    np.fill_diagonal(apart, np.inf)
    while len(members) > k:
        first, second = sorted(int(one) for one in np.unravel_index(np.argmin(apart), apart.shape))
        merged = (size[first] * apart[first] + size[second] * apart[second]) / (size[first] + size[second])
        apart[first], apart[:, first] = merged, merged
        apart[first, first] = np.inf
        size[first] += size[second]
        members[first] += members.pop(second)
        size = np.delete(size, second)
        apart = np.delete(np.delete(apart, second, axis=0), second, axis=1)
    found = np.zeros(len(counts), dtype=np.int64)
    for place, cluster in enumerate(np.argsort(-size, kind="stable")):
        found[members[cluster]] = place
    return found
