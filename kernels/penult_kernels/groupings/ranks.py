"""Rows of a class ranked by chosen features: spuriosity rankings, and units above or below a quantile.

Spuriosity of row i for the features j chosen for its class c (Moayeri et al. 2022, arXiv 2212.02648):

    s_i = mean_j (z_ij - mean_cj) / std_cj,

mean and standard deviation (divisor n) over the rows of the class; a feature that is constant in a class counts 0.
Without a choice of the user's, a class gets the features of the largest mean contribution to its logit,
W_cj * mean_cj, as in Salient ImageNet (Singla & Feizi 2022).

All on the host: a few columns of the features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.linear.blocks.scaling import CONSTANT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScales:
    """Chosen features of each class, and their mean and standard deviation in it; NaN for a class without rows."""

    features: Integers
    """(C, k)."""
    mean: Floats
    """(C, k)."""
    std: Floats
    """(C, k)."""


def columns_of(features: Array, indices: Integers) -> Floats:
    """(N, k) columns of the features as float64 on the host."""
    xp = array_namespace(features)
    return to_host(xp.take(features, asarray_like(indices, features), axis=1)).astype(np.float64)


def top_contributions(features: Array, y: Integers, weight: Floats, k: int) -> Integers:
    """(C, k) features with the largest W_cj * mean_cj of each class, largest first, ties by index.

    A class without rows gets the features of the largest weight.
    """
    total = np.zeros(weight.shape)
    count = np.bincount(y, minlength=len(weight))
    xp = array_namespace(features)
    for tile in blocks(y.size, budget.DEFAULT.rows_per_single_pass):
        one_hot = (y[tile] == np.arange(len(weight))[:, None]).astype(np.float64)
        total += to_host(asarray_like(one_hot, features) @ xp.astype(features[tile, :], xp.float64))
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], 1.0)
    return np.argsort(-(weight * mean), axis=1, kind="stable")[:, :k]


def class_scales(features: Array, y: Integers, chosen: Integers) -> ClassScales:
    """Mean and standard deviation of the features `chosen` (C, k) over the rows of each class."""
    mean, std = np.full(chosen.shape, np.nan), np.full(chosen.shape, np.nan)
    for c, own, values in _by_class(features, y, chosen):
        if own.size:
            mean[c], std[c] = values.mean(axis=0), values.std(axis=0)
    return ClassScales(features=chosen, mean=mean, std=std)


def spuriosity(features: Array, y: Integers, scales: ClassScales) -> Floats:
    """(N,) mean z-score of the features chosen for the class of each row."""
    found = np.full(y.size, np.nan)
    for c, own, values in _by_class(features, y, scales.features):
        mean, std = scales.mean[c], scales.std[c]
        varies = std > CONSTANT * np.abs(mean)
        z = np.where(varies, (values - mean) / np.where(varies, std, 1.0), 0.0)
        found[own] = z.mean(axis=1)
    return found


def ends(score: Floats, y: Integers, n_classes: int, share: float) -> tuple[Floats, Floats]:
    """(C,) scores that end the lowest, and begin the highest, `share` of the rows of each class; NaN without rows.

    At a share of a half both are the median: nothing is left between.
    """
    low, high = np.full(n_classes, np.nan), np.full(n_classes, np.nan)
    for c in np.unique(y):
        low[c], high[c] = np.quantile(score[y == c], [share, 1 - share])
    return low, high


def between(score: Floats, y: Integers, low: Floats, high: Floats) -> Integers:
    """(N,) 0 where a score is at most the low end of its class, 1 where it is above the high one, else -1.

    Where both are one number, those equal to it are low, so that every row has a value.
    """
    is_high = np.where(high[y] > low[y], score >= high[y], score > high[y])
    return np.where(is_high, 1, np.where(score <= low[y], 0, -1)).astype(np.int64)


def thresholds(values: Floats, y: Integers, n_classes: int, quantile: float) -> Floats:
    """(C, k) quantile of each of the columns `values` (N, k) over the rows of each class; NaN without rows."""
    found = np.full((n_classes, values.shape[1]), np.nan)
    for c in np.unique(y):
        found[c] = np.quantile(values[y == c], quantile, axis=0)
    return found


def above(values: Floats, y: Integers, limits: Floats) -> Integers:
    """(N,) sum_j 2^j 1[values_ij > limits of the class of row i]; -1 in a class without limits."""
    own = limits[y]
    found: Integers = (values > own) @ (2 ** np.arange(values.shape[1], dtype=np.int64))
    return np.where(np.isnan(own).any(axis=1), -1, found)


def ranks(score: Floats, y: Integers) -> Floats:
    """(N,) rank of each score in its class, from 0 (lowest) to 1; ties by position; 0.5 in a class of one row."""
    found = np.full(y.size, 0.5)
    for c in np.unique(y):
        own = np.flatnonzero(y == c)
        if own.size > 1:
            found[own[np.argsort(score[own], kind="stable")]] = np.linspace(0, 1, own.size)
    return found


def gap(is_right: NDArray[np.bool_], score: Floats, most: int) -> float:
    """Accuracy of the `most` rows with the highest scores less that of as many with the lowest; rows of one class.

    Of fewer than twice as many rows each half is taken.
    """
    order = np.argsort(score, kind="stable")
    n = min(most, order.size // 2)
    if n == 0:
        return float("nan")
    return float(is_right[order[-n:]].mean() - is_right[order[:n]].mean())


def _by_class(features: Array, y: Integers, chosen: Integers) -> Iterator[tuple[int, Integers, Floats]]:
    """Class, positions of its rows, and their chosen columns."""
    needed = np.unique(chosen)
    columns = columns_of(features, needed)
    for c in range(len(chosen)):
        own: Integers = np.flatnonzero(y == c)
        at: Integers = np.asarray(np.searchsorted(needed, chosen[c]), dtype=np.int64)
        yield c, own, columns[np.ix_(own, at)]
