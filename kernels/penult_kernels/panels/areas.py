"""Areas under ROC curves of two sorts of rows, with DeLong's variance."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def area(positives: Floats, negatives: Floats) -> tuple[float, float, float]:
    """P(positive > negative) + P(equal) / 2, and its 95 % interval (DeLong et al. 1988); NaN without both.

    The interval is NaN with fewer than two of either.

    >>> import numpy as np
    >>> a, b = np.array([0.9, 0.4, 0.6]), np.array([0.4, 0.1])
    >>> naive = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    >>> bool(np.isclose(area(a, b)[0], naive))
    True
    """
    n, m = positives.size, negatives.size
    if not n or not m:
        return math.nan, math.nan, math.nan
    of_positives = _wins(positives, negatives)
    of_negatives = 1.0 - _wins(negatives, positives)
    value = float(of_positives.mean())
    if n < 2 or m < 2:
        return value, math.nan, math.nan
    error = math.sqrt(float(np.var(of_positives, ddof=1)) / n + float(np.var(of_negatives, ddof=1)) / m)
    return value, max(0.0, value - 1.959964 * error), min(1.0, value + 1.959964 * error)


def _wins(values: Floats, others: Floats) -> Floats:
    """(n,) for each value the share of the others below it, equal ones counted half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return below / (2 * others.size)


def average_precision(score: Floats, is_positive: NDArray[np.bool_]) -> float:
    """sum over thresholds of (recall - recall before) * precision, without interpolation; NaN without a positive.

    >>> import numpy as np
    >>> bool(np.isclose(average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])), (1 + 2 / 3) / 2))
    True
    """
    total = int(is_positive.sum())
    if not total:
        return math.nan
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)  # equal scores are one threshold
    hits = np.cumsum(is_positive[order])[last]
    recall = hits / total
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / (last + 1)))
