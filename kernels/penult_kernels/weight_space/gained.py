"""What a network that was made of several gets right and wrong that all of them did not."""

import math
from dataclasses import dataclass

from array_api_compat import array_namespace

from penult_kernels.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Gained:
    """Counts of rows, by whether all networks, and the one made of them, are right."""

    count: int
    all_right: int
    all_wrong: int
    gained: int
    """Rows that all get wrong and it gets right ("FFT")."""
    lost: int
    """Rows that all get right and it gets wrong ("TTF")."""
    p_value: float
    """McNemar's exact test between `gained` and `lost`: a fair coin for each of these rows."""


def gained(right: Array, made: Array) -> Gained:
    """Count rows.

    Parameters
    ----------
    right : (K, N) bool, whether each network is right about each row.
    made : (N,) bool, whether the one that was made of them is.

    Raises
    ------
    ValueError : for other shapes, or no network.
    """
    if right.ndim != 2 or not right.shape[0] or right.shape[1:] != made.shape:
        raise ValueError(f"right must be (K, N) and made (N,) with K at least 1, got {right.shape} and {made.shape}")
    xp = array_namespace(right)
    how_many = xp.sum(xp.astype(right, xp.int64), axis=0)
    all_right, all_wrong = how_many == int(right.shape[0]), how_many == 0

    def counted(which: Array) -> int:
        return int(xp.sum(xp.astype(which, xp.int64)))

    won = counted(xp.logical_and(all_wrong, made))
    lost = counted(xp.logical_and(all_right, ~made))
    return Gained(
        count=int(made.shape[0]),
        all_right=counted(all_right),
        all_wrong=counted(all_wrong),
        gained=won,
        lost=lost,
        p_value=exact_mcnemar(won, lost),
    )


def exact_mcnemar(one: int, other: int) -> float:
    """Two-sided p-value of two counts under equal odds, by the binomial distribution; 1 where both are 0."""
    n, least = one + other, min(one, other)
    # log C(n, k) / 2^n, so that large counts neither overflow nor vanish.
    whole = math.lgamma(n + 1) - n * math.log(2)
    logs = (whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1))
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
