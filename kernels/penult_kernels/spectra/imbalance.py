"""Which largest eigenvalues are compared, and their ratio.

Inside a class (LaBonte et al. 2024, arXiv 2407.13957, section 5): rho(y) = lambda_1(minority) / lambda_1(majority) of
its smallest and largest group. Between classes (Kaushik et al. 2024, "Balanced Data, Imbalanced Spectra", arXiv
2402.11742): the same ratio for every two classes. lambda_1 of a sample covariance is biased upward when there are few
rows: read a ratio together with its counts, or with the statistics of `spectra.inference`.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array, host_labels, to_host


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups of a class, or two classes, whose spectra are compared."""

    y: int
    """The class of the two groups; -1 for two classes."""
    minority: int
    """Index of the group (or class) with fewer rows; the first if they are equal."""
    majority: int
    n_minority: int
    n_majority: int


def group_pairs(counts: Array, n_attributes: int) -> tuple[Pair, ...]:
    """Smallest and largest non-empty group of every class that has at least two.

    Parameters
    ----------
    counts : array of shape (G,)
        Rows of each group.
    n_attributes : int
        A; group g belongs to class g // A, G = C * A.

    Raises
    ------
    ValueError
        When G is not a multiple of A, or a count is not a whole number.
    """
    sizes = _sizes(counts)
    if n_attributes < 1 or sizes.size % n_attributes:
        raise ValueError(f"n_attributes must be at least 1 and divide the {sizes.size} groups, got {n_attributes}")
    found: list[Pair] = []
    for y in range(sizes.size // n_attributes):
        members = [g for g in range(y * n_attributes, (y + 1) * n_attributes) if sizes[g]]
        if len(members) >= 2:
            ordered = sorted(members, key=lambda g: int(sizes[g]))
            found.append(_pair(y, ordered[0], ordered[-1], sizes))
    return tuple(found)


def class_pairs(counts: Array) -> tuple[Pair, ...]:
    """Every two non-empty classes, in the order of their indices.

    Raises ValueError when a count is not a whole number.
    """
    sizes = _sizes(counts)
    found: list[Pair] = []
    for first, second in combinations([y for y in range(sizes.size) if sizes[y]], 2):
        is_larger = bool(sizes[first] > sizes[second])
        found.append(_pair(-1, second if is_larger else first, first if is_larger else second, sizes))
    return tuple(found)


def spectral_ratio(largest: Array, pair: Pair) -> float:
    """lambda_1(minority) / lambda_1(majority); NaN where either is NaN or the majority's is 0.

    Parameters
    ----------
    largest : array of shape (G,)
        Largest eigenvalue of each group's (or class's) covariance.
    """
    values = to_host(largest)
    denominator = float(values[pair.majority])
    return float(values[pair.minority]) / denominator if denominator != 0 else math.nan


def _pair(y: int, minority: int, majority: int, sizes: NDArray[np.int64]) -> Pair:
    return Pair(
        y=y,
        minority=int(minority),
        majority=int(majority),
        n_minority=int(sizes[minority]),
        n_majority=int(sizes[majority]),
    )


def _sizes(counts: Array) -> NDArray[np.int64]:
    host = to_host(counts)
    return host_labels(host, int(host.shape[0]), np.iinfo(np.int64).max, name="counts")
