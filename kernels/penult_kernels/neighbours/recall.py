"""Which share of the exact neighbours was found, for a sample of rows, and how far that may be from that of all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Recall:
    """A certificate."""

    value: float
    """Mean over the rows of the sample."""
    low: float
    high: float
    """95 % interval of the mean over all rows, by resampling rows: a row's neighbours are found or missed together."""
    n_rows: int
    """In the sample; 0 where every answer is exact."""


EXACT = Recall(1.0, 1.0, 1.0, 0)
"""The certificate of exact search."""


def shares_found(found: Floats, exact: Floats) -> Floats:
    """(m,) share of the exact neighbours that each row's list has, NaN where it has none.

    Parameters
    ----------
    found : (m, k) distances of the neighbours found, all different rows; NaN for none.
    exact : (m, k) distances of the exact ones, ascending. Whatever is as near as the last of them counts as found: of
        equally near rows any is right.
    """
    n_exact = np.count_nonzero(~np.isnan(exact), axis=1)
    last = np.where(n_exact > 0, exact[np.arange(len(exact)), np.maximum(n_exact - 1, 0)], np.nan)
    n_found = np.count_nonzero(found <= last[:, None], axis=1)
    return np.minimum(n_found, n_exact) / np.where(n_exact > 0, n_exact, np.nan)


def recall_of(found: Floats, exact: Floats, *, seed: int) -> Recall:
    """The certificate of lists (m, k) of a sample of rows, as `shares_found` takes them.

    The interval is that of the sample and one more row, which misses as much as the worst of it, at least one
    neighbour: a sample without a miss does not say that there is none.
    """
    shares = shares_found(found, exact)
    shares = shares[~np.isnan(shares)]
    if not shares.size:
        return EXACT
    worst = min(float(shares.min()), 1 - 1 / found.shape[1])
    drawn = np.random.default_rng([seed, 0x7EC]).choice(np.append(shares, worst), (RESAMPLES, shares.size))
    low, high = np.quantile(drawn.mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = float(shares.mean())
    return Recall(value, min(float(low), value), max(float(high), value), shares.size)
