"""Checks of a problem's arrays, and their conversion to one form."""

from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, blocks, host_labels, to_host
from penult_kernels.finite import are_weights
from penult_kernels.linear.problem import Head


def check_features(features: Array, check: Callable[[], None]) -> None:
    """Raise ValueError unless `features` is (N, D) and finite; `check` is called between tiles of rows."""
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features must be (N, D) with at least one row and column, got shape {features.shape}")
    xp = array_namespace(features)
    for tile in blocks(features.shape[0], budget.of(features).rows_of_tile(int(features.shape[1]))):
        check()
        if not bool(xp.all(xp.isfinite(features[tile, :]))):
            raise ValueError("features must be finite, got NaN or infinity: look at how the features were made")


def check_head(head: Head, name: str, shape: tuple[int, int]) -> None:
    """Raise ValueError unless a head is finite and of the shape (C, D)."""
    if tuple(head.weight.shape) != shape or tuple(head.bias.shape) != shape[:1]:
        raise ValueError(f"{name} must be {shape} with bias {shape[:1]}, got {tuple(head.weight.shape)}")
    for part in (head.weight, head.bias):
        if not bool(np.isfinite(to_host(part)).all()):
            raise ValueError(f"{name} holds NaN or infinity; a head must be finite")


def checked_rows(rows: NDArray[np.int64] | None, n_rows: int) -> NDArray[np.int64] | None:
    """Positions (n,) as int64; None for all rows."""
    if rows is None:
        return None
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(f"rows must be at least one whole number, got shape {rows.shape} of {rows.dtype}")
    if rows[0] < 0 or rows[-1] >= n_rows or bool((np.diff(rows) <= 0).any()):
        raise ValueError(f"rows must be ascending positions in 0 ... {n_rows - 1} without repeats")
    return rows.astype(np.int64, copy=False)


def checked_weight(weight: NDArray[np.float64] | None, n_used: int) -> NDArray[np.float64] | None:
    """Weights (n,) of the rows used as float64; None for equal ones."""
    if weight is None:
        return None
    found = to_host(weight).astype(np.float64, copy=False)
    if found.shape != (n_used,):
        raise ValueError(f"weight must have one entry per row used, shape ({n_used},), got {found.shape}")
    if not are_weights(found):
        raise ValueError("weight must hold finite numbers of at least 0 with a positive sum")
    return found


def checked_offset(offset: Array, shape: tuple[int, int]) -> NDArray[np.float64]:
    """(N, C) on the host."""
    found = to_host(offset).astype(np.float64)
    if found.shape != shape or not bool(np.isfinite(found).all()):
        raise ValueError(f"offset must be finite and of shape {shape}, got shape {found.shape}")
    return found


def distributions(target: Array, n_rows: int, n_classes: int) -> NDArray[np.float64]:
    """(N, C) distributions from classes (N,) or soft targets (N, C)."""
    found = to_host(target)
    if found.ndim == 1:
        labels = host_labels(found, n_rows, n_classes, name="y or target")
        return (labels[:, None] == np.arange(n_classes)).astype(np.float64)
    if found.shape != (n_rows, n_classes):
        raise ValueError(f"target must be ({n_rows},) classes or ({n_rows}, {n_classes}) soft, got {found.shape}")
    soft = found.astype(np.float64)
    if not (bool((soft >= 0).all()) and bool((np.abs(soft.sum(axis=1) - 1.0) <= 1e-6).all())):
        raise ValueError("every row of a soft target must be at least 0 and sum to 1")
    return soft / soft.sum(axis=1, keepdims=True)
