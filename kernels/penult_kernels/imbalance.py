"""Spectral imbalance between the groups of one class (LaBonte et al. 2024, section 5)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array, host_labels, to_host


@dataclass(frozen=True, slots=True)
class Imbalance:
    """rho(y) = lambda_1(minority) / lambda_1(majority) of one class.

    lambda_1 of a sample covariance is biased upward when there are few rows, so that rho exceeds 1 for
    small minorities of the *same* distribution: read it together with the counts.
    """

    y: int
    minority: int
    """Group index of the smallest non-empty group of the class."""
    majority: int
    """Group index of its largest group."""
    n_minority: int
    n_majority: int
    ratio: float
    """NaN where either eigenvalue is NaN or the majority's is 0."""


def imbalance(largest: Array, counts: Array, n_attributes: int) -> tuple[Imbalance, ...]:
    """Spectral imbalance of every class that has at least two non-empty groups.

    Among groups of equal size the first counts as the smaller, so minority and majority always differ.

    Parameters
    ----------
    largest : array of shape (G,)
        Largest eigenvalue of each group's covariance.
    counts : array of shape (G,)
        Rows of each group.
    n_attributes : int
        A; group g belongs to class g // A, G = C * A.

    Raises
    ------
    ValueError
        When the shapes differ or G is not a multiple of A.
    """
    values = to_host(largest).astype(np.float64)
    sizes = host_labels(counts, values.shape[0], np.iinfo(np.int64).max, name="counts")
    if n_attributes < 1 or values.shape[0] % n_attributes:
        raise ValueError(f"n_attributes must be at least 1 and divide the {values.shape[0]} groups, got {n_attributes}")
    return tuple(
        _of_class(y, values, sizes, range(y * n_attributes, (y + 1) * n_attributes))
        for y in range(values.shape[0] // n_attributes)
        if np.count_nonzero(sizes[y * n_attributes : (y + 1) * n_attributes]) >= 2
    )


def _of_class(y: int, largest: NDArray[np.float64], counts: NDArray[np.int64], groups: range) -> Imbalance:
    by_size = sorted((g for g in groups if counts[g]), key=lambda g: int(counts[g]))
    minority, majority = by_size[0], by_size[-1]
    denominator = float(largest[majority])
    return Imbalance(
        y=y,
        minority=minority,
        majority=majority,
        n_minority=int(counts[minority]),
        n_majority=int(counts[majority]),
        ratio=float(largest[minority]) / denominator if denominator != 0 else math.nan,
    )
