"""Checks for NaN and infinity: an error names the row and column of the features that hold it."""

import math

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host


class NotFiniteError(ValueError):
    """A matrix of features holds NaN or infinity."""

    def __init__(self, name: str, value: float, row: int, column: int) -> None:
        super().__init__(f"{name} must be finite, got {value} in row {row}, column {column}")
        self.row = row
        self.column = column


def check_finite(values: Array, *, name: str, numbers: NDArray[np.int64] | None = None) -> None:
    """Raise NotFiniteError naming the first row and column of `values` (N, D) that holds NaN or infinity.

    `numbers` (N,) are the rows' numbers to name; None counts from 0.
    """
    xp = array_namespace(values)
    finite = xp.isfinite(values)
    if bool(xp.all(finite)):
        return
    row = int(np.flatnonzero(~to_host(xp.all(finite, axis=1)))[0])
    column = int(np.flatnonzero(~to_host(finite[row, :]))[0])
    raise NotFiniteError(name, float(values[row, column]), row if numbers is None else int(numbers[row]), column)


def are_weights(values: NDArray[np.floating]) -> bool:
    """Whether values are relative weights: finite, at least 0, with a positive sum."""
    return bool((values >= 0).all()) and 0 < float(values.sum()) < math.inf
