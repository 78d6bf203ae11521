"""Random draws of rows: subsamples, bootstrap counts and permutations, with one generator for each replicate.

Replicate r of a stream is drawn from its own generator, keyed by (seed, stream, r), by NumPy on the host. So it depends
neither on the number, order and batches of the other replicates nor on the machine and the array library.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Resample(IntEnum):
    """Purpose of a draw, part of the key of its generator: draws for different purposes are independent."""

    MATCH = 0
    BOOTSTRAP_MINORITY = 1
    BOOTSTRAP_MAJORITY = 2
    PERMUTATION = 3


def subsample(n_rows: int, n_kept: int, replicates: range, *, seed: int, stream: Sequence[int]) -> NDArray[np.int64]:
    """Rows of every replicate, drawn without replacement.

    Parameters
    ----------
    n_rows : int
        Rows to draw from.
    n_kept : int
        Rows drawn, at most `n_rows`.
    replicates : range
        Which replicates.
    seed : int
        Not negative.
    stream : sequence of int
        Purpose of the draws, such as (class, Resample.MATCH); not negative.

    Returns
    -------
    array of shape (R, n_kept)
        Row indices, ascending in each replicate.

    Raises
    ------
    ValueError
        When more rows are to be kept than there are.
    """
    if not 0 <= n_kept <= n_rows:
        raise ValueError(f"n_kept must lie in 0 ... {n_rows}, the rows there are, got {n_kept}")
    drawn = [_generator(seed, stream, r).permutation(n_rows)[:n_kept] for r in replicates]
    return np.sort(np.asarray(drawn, dtype=np.int64).reshape(len(replicates), n_kept), axis=1)


def bootstrap_counts(n_rows: int, replicates: range, *, seed: int, stream: Sequence[int]) -> NDArray[np.int64]:
    """How often each row is drawn when `n_rows` are drawn with replacement.

    Returns
    -------
    array of shape (R, n_rows)
        Counts of the rows; those of a replicate sum to `n_rows`.
    """
    drawn = [np.bincount(_generator(seed, stream, r).integers(0, n_rows, n_rows), minlength=n_rows) for r in replicates]
    return np.asarray(drawn, dtype=np.int64).reshape(len(replicates), n_rows)


def _generator(seed: int, stream: Sequence[int], replicate: int) -> np.random.Generator:
    return np.random.default_rng([seed, *(int(part) for part in stream), replicate])
