"""One number of a comparison, and what several measures share: intervals and adjusted p-values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown

Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedValue(Shown):
    """One number; NaN where it is not defined, and `note` says why. ``float(value)`` is the number."""

    measure: str
    name: str
    """Which number of the measure, such as "kappa"."""
    systems: tuple[str, ...]
    """The system, the two that are compared, or all."""
    part: str = "all"
    """"all", or the name of a group."""
    value: float
    low: float = math.nan
    """Ends of the 95 % interval."""
    high: float = math.nan
    p: float = math.nan
    """p-value; of several parts, adjusted after Holm (1979)."""
    n: int = 0
    note: str = ""

    def __float__(self) -> float:
        return self.value


def wilson(right: float, n: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share (Wilson 1927); NaN of no rows."""
    if n == 0:
        return math.nan, math.nan
    share, z = right / n, Z_95**2 / n
    middle = (share + z / 2) / (1 + z)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z / (4 * n)) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_difference(only_first: int, only_second: int, both: int, n: int) -> tuple[float, float, float]:
    """Difference of two shares of the same n rows, and its 95 % interval (Newcombe 1998 II, method 10).

    `only_first` and `only_second` rows are right for one alone, `both` for both. NaN of no rows.
    """
    if n == 0:
        return math.nan, math.nan, math.nan
    first, second, neither = both + only_first, both + only_second, n - both - only_first - only_second
    p, q = first / n, second / n
    (l1, u1), (l2, u2) = wilson(first, n), wilson(second, n)
    scale = math.sqrt(float(first) * (n - first) * second * (n - second))
    excess = both * neither - only_first * only_second
    if excess > 0:
        excess = max(excess - n / 2, 0)
    phi = excess / scale if scale else 0.0
    low = math.sqrt(max(0.0, (p - l1) ** 2 - 2 * phi * (p - l1) * (u2 - q) + (u2 - q) ** 2))
    high = math.sqrt(max(0.0, (u1 - p) ** 2 - 2 * phi * (u1 - p) * (q - l2) + (q - l2) ** 2))
    return p - q, p - q - low, p - q + high


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test: the binomial of the rows that one alone gets right; 1 without any."""
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(k + 1)]
    return min(1.0, 2 * sum(map(math.exp, logs)))


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """p-values adjusted for their number (Holm 1979); NaN stay, and do not count."""
    given = np.asarray(p, dtype=np.float64)
    found = given.copy()
    places = np.flatnonzero(~np.isnan(given))
    order = places[np.argsort(given[places], kind="stable")]
    scaled = given[order] * np.arange(order.size, 0, -1)
    found[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if order.size else scaled
    return found


def student_quantile(m: int) -> float:
    """t of P(|t_m| > t) = 0.05, by bisection."""
    low, high = 0.0, 1e3
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if two_sided_t(middle, m) > 0.05 else (low, middle)
    return high


def two_sided_t(t: float, m: int) -> float:
    """P(|t_m| > t), in closed form for whole m (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    if math.isinf(t):
        return 0.0
    angle = math.atan(t / math.sqrt(m))
    sine, cosine = math.sin(angle), math.cos(angle)
    if m % 2:
        total, term = 0.0, cosine
        for k in range(1, (m - 1) // 2 + 1):
            total += term
            term *= cosine**2 * 2 * k / (2 * k + 1)
        return 1 - (2 / math.pi) * (angle + sine * total)
    total, term = 0.0, 1.0
    for k in range(1, m // 2 + 1):
        total += term
        term *= cosine**2 * (2 * k - 1) / (2 * k)
    return 1 - sine * total
