"""What a space is organised by: the values that the neighbours of a row share with it, beside what chance gives."""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def shared(own: Integers, of_neighbours: Integers) -> Floats:
    """(N,) share of a row's neighbours that have its value; NaN where none has one.

    Parameters
    ----------
    own : integer array of shape (N,)
    of_neighbours : integer array of shape (N, K)
        Values of the neighbours; -1 where there is no neighbour, or it has no value.
    """
    is_there = of_neighbours >= 0
    n_there = is_there.sum(axis=1)
    n_same = (is_there & (of_neighbours == own[:, None])).sum(axis=1)
    return n_same / np.where(n_there > 0, n_there, np.nan)


def shared_by_chance(own: Integers, pool: Integers, *, is_own_pool: bool) -> Floats:
    """(N,) what `shared` is on average when neighbours are drawn at random from the rows of `pool` that have a value.

    NaN for rows that have none (-1). `is_own_pool` says that the rows themselves are in the pool, and are no neighbours
    of themselves.
    """
    known = pool[pool >= 0]
    n_values = int(max(own.max(initial=-1), known.max(initial=-1))) + 1
    counts = np.bincount(known, minlength=n_values)
    self_count = 1 if is_own_pool else 0
    there = known.size - self_count
    return np.where(own >= 0, counts[own] - self_count, np.nan) / (there if there > 0 else np.nan)


def group_means(values: Floats, g: Integers, n_groups: int) -> Floats:
    """(G,) means of the values (N,) that are not NaN over the rows of each group; NaN where there is none.

    Rows of group -1 are left out.
    """
    is_used = (g >= 0) & ~np.isnan(values)
    total = np.bincount(g[is_used], weights=values[is_used], minlength=n_groups)
    count = np.bincount(g[is_used], minlength=n_groups)
    return total / np.where(count > 0, count, np.nan)


def hubness(position: Integers, n_rows: int) -> float:
    """Skewness m_3 / m_2^(3/2) of how often each of `n_rows` rows is a neighbour (Radovanovic et al. 2010).

    `position` (N, K) holds the positions of neighbours, -1 for none. NaN where all are neighbours equally often.
    """
    counts = np.bincount(position[position >= 0], minlength=n_rows).astype(np.float64)
    about: Floats = counts - float(counts.mean())
    m2, m3 = float(np.mean(about**2)), float(np.mean(about**3))
    return m3 / m2**1.5 if m2 > 0 else float("nan")
