"""Whether a share differs between some rows and the others: Fisher's exact test, adjusted for several parts."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.spectra.inference import holm

CLOSE = 1e-7
"""Probabilities of tables that differ by this fraction are equal, as R's `fisher.test` takes it."""


def fisher(hits: int, count: int, other_hits: int, other_count: int) -> float:
    """Two-sided p-value of equal shares: the probability of all tables with these margins that are no likelier.

    NaN where either has no rows.

    >>> round(fisher(8, 10, 1, 6), 6)  # (8, 2), (1, 5)
    0.034965
    """
    if not count or not other_count:
        return math.nan
    total, all_hits = count + other_count, hits + other_hits
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    k = np.arange(max(0, all_hits - other_count), min(count, all_hits) + 1)
    log_p = -(logs[k] + logs[count - k] + logs[all_hits - k] + logs[other_count - all_hits + k])
    p = np.exp(log_p - log_p.max())
    own = p[hits - k[0]]
    return min(1.0, float(p[p <= own * (1 + CLOSE)].sum() / p.sum()))


def against_the_rest(counts: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """p-value of the share hits / count of each part against the rows of the other parts, after Holm over the parts.

    Two parts with rows are one comparison, which is not adjusted.

    >>> import numpy as np
    >>> found = against_the_rest([(8, 10), (1, 6), (0, 0)])
    >>> bool(np.allclose(found[:2], 0.034965, atol=1e-6)) and bool(np.isnan(found[2]))
    True
    """
    hits, count = (sum(one[place] for one in counts) for place in (0, 1))
    raw = [fisher(a, n, hits - a, count - n) for a, n in counts]
    return np.asarray(raw) if sum(n > 0 for _, n in counts) == 2 else holm(raw)
