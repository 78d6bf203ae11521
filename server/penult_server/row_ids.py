"""Rows are found by their ids, which are unique within a set and in no order."""

import numpy as np
from numpy.typing import NDArray


def places_of(row_id: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Positions of the wanted ids among the ids (n,) of a set, as many as are wanted, and those that are not there.

    Where any is missing the positions serve for nothing.
    """
    if not row_id.size:
        return np.zeros(wanted.shape, dtype=np.int64), wanted
    order = np.argsort(row_id, kind="stable")
    at = order[np.minimum(np.searchsorted(row_id, wanted, sorter=order), row_id.size - 1)]
    return at, wanted[row_id[at] != wanted]
