"""The neighbours that are kept of each row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Nearest:
    """k neighbours of each of n rows, the nearest first, on the host."""

    position: NDArray[np.int64]
    """(n, k) numbers of the neighbours; -1 where a row has fewer."""
    distance: NDArray[np.float64]
    """(n, k); NaN where a row has fewer."""

    @classmethod
    def of(cls, n_rows: int, k: int) -> "Nearest":
        """No neighbours yet."""
        return cls(np.full((n_rows, k), -1, dtype=np.int64), np.full((n_rows, k), np.nan))


def keep_nearest(
    index: NDArray[np.int64], distance: NDArray[np.float64], k: int, order: NDArray[np.int64] | None = None
) -> Nearest:
    """The k nearest of (n, c) rows with their distances, equal ones by their place in `order` or their numbers.

    Entries with index -1 are none; no row may be named twice.
    """
    found = Nearest.of(index.shape[0], k)
    if not index.shape[1]:
        return found
    place = index if order is None else order[index]
    far = np.where(index < 0, np.inf, distance)
    sequence = np.lexsort((place, index < 0, far), axis=-1)[:, :k]
    width = sequence.shape[1]
    found.position[:, :width] = np.take_along_axis(index, sequence, axis=1)
    found.distance[:, :width] = np.take_along_axis(distance, sequence, axis=1)
    found.distance[found.position < 0] = np.nan
    return found
