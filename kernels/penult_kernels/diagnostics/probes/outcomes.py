"""What a probe said of rows that it was not fitted to, and the folds by which it is so."""

import math

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics.scores import probability_scores

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
FOLDS = 3


class Outcomes:
    """What is known of n rows: log-loss, that of the values' frequencies, and whether the value was predicted."""

    def __init__(self, rows: Integers, codes: Integers, n_values: int) -> None:
        self.rows, self.codes, self.n_values = rows, codes, n_values
        self.loss: Floats = np.full(rows.size, math.nan)
        self.prior: Floats = np.full(rows.size, math.nan)
        self.is_right: Floats = np.full(rows.size, math.nan)
        self._log_p: Floats = np.full((rows.size, n_values), math.nan)

    def score(self, rows: NDArray[np.bool_], log_p: Floats, log_prior: Floats) -> None:
        """Take in the log-probabilities (m, n_values) of some rows, and of their values in the fitted rows."""
        own = self.codes[rows]
        self.loss[rows] = -log_p[np.arange(own.size), own]
        self.prior[rows] = -log_prior[own]
        self.is_right[rows] = np.argmax(log_p, axis=1) == own
        self._log_p[rows] = log_p

    def accuracy(self, weights: Floats) -> Floats:
        """(R,) under weightings (n, R)."""
        return (self.is_right @ weights) / _positive(weights.sum(axis=0))

    def balanced(self, weights: Floats) -> Floats:
        """(R,) mean over values; NaN where a draw has none of one."""
        member = (self.codes[None, :] == np.arange(self.n_values)[:, None]).astype(np.float64)
        return np.mean(((member * self.is_right) @ weights) / _positive(member @ weights), axis=0)

    def auroc(self, weights: Floats) -> Floats:
        """(1,) of the rows as they are, by the log-probabilities of the probes of all folds together."""
        return np.array([probability_scores(self._log_p, self.codes).auroc])


def folds_of(codes: Integers, rng: np.random.Generator) -> Integers:
    """(n,) folds that hold the same number of rows of each value, up to one."""
    found = np.empty(codes.size, dtype=np.int64)
    for value in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == value))
        found[rows] = np.arange(rows.size) % FOLDS
    return found


def shuffled_within(codes: Integers, strata: Integers, rng: np.random.Generator) -> Integers:
    """The same values in another order within each stratum."""
    found = codes.copy()
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        found[rows] = codes[rng.permutation(rows)]
    return found


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, math.nan)
