"""The matching of two partitions' parts that shares most rows (Kuhn 1955, in the form of shortest augmenting paths)."""

import numpy as np
from numpy.typing import NDArray


def best_matching(shared: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row of a table (V, A), the column it is matched with; -1 where there are more rows than columns.

    No column is matched twice, and the sum over the matched entries is the largest there is.
    """
    if shared.shape[0] > shared.shape[1]:
        of_columns = best_matching(shared.T)
        found = np.full(shared.shape[0], -1, dtype=np.int64)
        found[of_columns] = np.arange(of_columns.size)
        return found
    costs = (shared.max(initial=0) - shared).astype(np.float64)
    n_rows, n_columns = costs.shape
    # Potentials u, v with u_i + v_j <= cost_ij, equal where i and j are matched. Column 0 is a source of paths.
    u, v = np.zeros(n_rows + 1), np.zeros(n_columns + 1)
    matched = np.zeros(n_columns + 1, dtype=np.int64)
    for row in range(1, n_rows + 1):
        matched[0] = row
        _augment(costs, u, v, matched)
    found = np.full(n_rows, -1, dtype=np.int64)
    taken = np.flatnonzero(matched[1:])
    found[matched[1:][taken] - 1] = taken
    return found


def _augment(
    costs: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64], matched: NDArray[np.int64]
) -> None:
    """Match one more row, that of column 0, along the cheapest path; in place."""
    slack = np.full(v.size, np.inf)
    before = np.zeros(v.size, dtype=np.int64)
    is_reached = np.zeros(v.size, dtype=np.bool_)
    column = 0
    while matched[column]:
        is_reached[column] = True
        row = matched[column]
        open_columns = np.flatnonzero(~is_reached)
        reduced = costs[row - 1, open_columns - 1] - u[row] - v[open_columns]
        is_less = reduced < slack[open_columns]
        slack[open_columns[is_less]] = reduced[is_less]
        before[open_columns[is_less]] = column
        following = int(open_columns[np.argmin(slack[open_columns])])
        step = slack[following]
        u[matched[is_reached]] += step
        v[is_reached] -= step
        slack[open_columns] -= step
        column = following
    while column:
        matched[column] = matched[before[column]]
        column = int(before[column])
