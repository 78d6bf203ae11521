"""Means of a number of each row by part, under every weighting."""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.shared.context import Context

Floats = NDArray[np.float64]


def part_means(context: Context, values: Floats) -> Floats:
    """(R, 1 + P) means of (N,) numbers over all rows, then over each part; numbers that are NaN do not count."""
    subject, weights = context.subject, context.draws.weights
    total, weight = (np.zeros((context.draws.count, subject.n_parts)) for _ in range(2))
    for part, rows in enumerate(subject.members):
        known = rows[np.isfinite(values[rows])]
        w = weights[known].astype(np.float64)
        total[:, part] = values[known] @ w
        weight[:, part] = w.sum(axis=0)
    all_rows = _divided(total.sum(axis=1), weight.sum(axis=1))
    return np.column_stack([all_rows, _divided(total, weight)])


def _divided(total: Floats, weight: Floats) -> Floats:
    return total / np.where(weight > 0, weight, np.nan)
