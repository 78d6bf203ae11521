"""How much a choice among networks rests on the rows that it was made on: their scores on rows drawn again."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import blocks

How: TypeAlias = Literal["worst", "mean", "rows"]
"""The lowest mean of a group, the mean of the groups' means, or the mean of all rows."""
RESAMPLES = 1000
COUNTS = 2**22
"""Counts of rows in memory at a time (32 MiB, and as much in float64)."""


def resampled_scores(
    values: NDArray[np.float64], labels: NDArray[np.int64], how: How, *, n_resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """(R, T) scores of T networks on the same resamples of the rows: a bootstrap within groups (Efron 1979).

    Rows are drawn with replacement within each group, whose sizes stay as they are; the networks are paired, so that
    differences of a row of the answer are those of one sample.

    Parameters
    ----------
    values : (T, N) what is scored of every row by every network, higher is better: 1 where it is right, or -loss.
    labels : (N,) the group of every row; those without a row have no part.
    how : from groups to a score.
    n_resamples, seed : R, and of the draws.

    Raises
    ------
    ValueError : for another number of rows, or none.
    """
    if values.ndim != 2 or labels.shape != values.shape[1:] or not labels.size:
        raise ValueError(f"values must be (T, N) and labels (N,) with N >= 1, got {values.shape} and {labels.shape}")
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    sizes: list[int] = []
    for group in np.unique(labels):
        inside = values[:, labels == group]
        n_rows = inside.shape[1]
        parts: list[NDArray[np.float64]] = []
        for part in blocks(n_resamples, max(1, COUNTS // n_rows)):
            drawn = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), size=part.stop - part.start)
            parts.append(drawn @ inside.T / n_rows)
        means.append(np.concatenate(parts))
        sizes.append(n_rows)
    stacked = np.stack(means)  # (G, R, T)
    if how == "worst":
        return stacked.min(axis=0)
    weight = np.array(sizes) / sum(sizes) if how == "rows" else np.full(len(sizes), 1 / len(sizes))
    return np.tensordot(weight, stacked, axes=1)
