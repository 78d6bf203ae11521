"""Numbers that describe a spectrum, and principal angles between two subspaces.

Every number has a `Definition` with an identifier and a formula, which are returned with it: several of these names
stand for different formulas in different papers. l_1 >= ... >= l_D are the eigenvalues of a centered covariance; an
l_i <= 0 from rounding counts as 0 in entropies and is left out of a power law.
"""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, to_host
from penult_kernels.moments.moments import matrix_shape
from penult_kernels.rows import ArrayRows
from penult_kernels.spectra.spectrum import as_rows, mean_of, row_blocks

RANKME_EPSILON = 1e-7


@dataclass(frozen=True, slots=True)
class Definition:
    """Identifier, formula and source of a number."""

    id: str
    """The identifier, never reused for another formula."""
    formula: str
    source: str


PARTICIPATION_RATIO = Definition("participation_ratio", "(sum_i l_i)^2 / sum_i l_i^2", "Gao et al. 2017")
EFFECTIVE_RANK = Definition(
    "effective_rank",
    "exp(-sum_i p_i log p_i), p_i = l_i / sum_j l_j",
    "Roy & Vetterli 2007, on eigenvalues of the covariance",
)
RANK_ME = Definition(
    "rank_me",
    "exp(-sum_i p_i log p_i), p_i = s_i / sum_j s_j + 1e-7, s = singular values of the rows, not centered",
    "Garrido et al. 2023, eq. 1",
)
POWER_LAW = Definition(
    "power_law_exponent",
    "alpha of log l_i = c - alpha log i by least squares with weights 1/i over ranks {first} ... {last}",
    "Agrawal et al. 2022 (alpha-ReQ); Stringer et al. 2019",
)
CLASS_SHARE = Definition(
    "class_share", "tr S_between / tr S_total, S_between over the classes", "law of total variance"
)
ATTRIBUTE_SHARE = Definition(
    "attribute_share", "tr S_between / tr S_total, S_between over the attribute's values", "law of total variance"
)
GROUP_SHARE = Definition("group_share", "tr S_between / tr S_total, S_between over the groups", "law of total variance")
PRINCIPAL_ANGLES = Definition(
    "principal_angles",
    "arccos of the singular values of U^T V; arcsin of those of V - U U^T V where that is the smaller angle",
    "Bjorck & Golub 1973",
)


def participation_ratio(eigenvalues: NDArray[np.float64]) -> float:
    """(sum l)^2 / sum l^2: from 1 (one direction) to D (all equal). NaN without variance, or if any l is NaN."""
    return _quotient(float(np.sum(eigenvalues)) ** 2, float(np.sum(eigenvalues**2)))


def effective_rank(eigenvalues: NDArray[np.float64]) -> float:
    """exp of the entropy of l / sum l: from 1 to D. NaN without variance, or if an eigenvalue is NaN."""
    positive = np.where(np.isnan(eigenvalues), np.nan, np.maximum(eigenvalues, 0.0))
    total = float(positive.sum())
    if not total > 0:
        return math.nan
    return _exp_entropy(positive / total)


def rank_me(singular_values: NDArray[np.float64], *, epsilon: float = RANKME_EPSILON) -> float:
    """exp of the entropy of s / sum s + epsilon, the min(N, D) singular values s of rows that are not centered."""
    total = float(np.sum(singular_values))
    if not total > 0:
        return math.nan
    return _exp_entropy(singular_values / total + epsilon)


def power_law_exponent(eigenvalues: NDArray[np.float64], first: int, last: int) -> float:
    """alpha of l_i ~ i^-alpha, by weighted least squares of log l_i on log i over ranks first ... last.

    Weights 1/i make every octave of ranks count alike. NaN where an eigenvalue of that range is missing or
    not positive: a fit over fewer ranks would be of another range.

    Raises
    ------
    ValueError
        When the range does not hold two ranks.
    """
    if not 1 <= first < last:
        raise ValueError(f"a power law is fitted to ranks 1 <= first < last, got {first} ... {last}")
    values = eigenvalues[first - 1 : last]
    if values.size < last - first + 1 or not bool(np.all(values > 0)):
        return math.nan
    ranks = np.arange(first, last + 1, dtype=np.float64)
    weights = 1.0 / ranks
    x, y = np.log(ranks), np.log(values)
    x = x - np.average(x, weights=weights)
    return -float(np.sum(weights * x * y) / np.sum(weights * x * x))


def mean_and_scatter(rows: Array | ArrayRows) -> tuple[NDArray[np.float64], float]:
    """Mean (D,) of rows (N, D), and the sum of their squared distances from it; zeros for no rows."""
    source = as_rows(rows)
    mean = mean_of(source)
    xp = array_namespace(mean)
    return to_host(mean), sum((float(xp.sum(z * z)) for _, z in row_blocks(source, mean)), 0.0)


def variance_shares(
    counts: NDArray[np.int64], means: NDArray[np.float64], scatters: NDArray[np.float64], n_attributes: int
) -> tuple[float, float, float]:
    """tr S_between / tr S_total of the classes, the attribute values and the groups: shares in [0, 1].

    S_between = sum_p n_p (m_p - m)(m_p - m)^T over the parts p, S_total the scatter of all rows. The share of groups
    is the largest, since they refine classes and attribute values. If class and attribute are correlated, the shares of
    these overlap and do not add up to it. NaN without variance.

    Parameters
    ----------
    counts : array of shape (G,)
        Rows of each group, g = y * n_attributes + a.
    means : array of shape (G, D)
    scatters : array of shape (G,)
        Trace of each group's scatter about its own mean.
    n_attributes : int
        A.
    """
    groups = np.arange(counts.size)
    partitions = (groups // n_attributes, groups % n_attributes, groups)
    between = [_between(counts, means, labels) for labels in partitions]
    total = between[2] + float(np.sum(scatters))
    return _quotient(between[0], total), _quotient(between[1], total), _quotient(between[2], total)


def _between(counts: NDArray[np.int64], means: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """sum_p n_p |m_p - m|^2 over the unions p of groups with equal `labels`."""
    member = (labels[None, :] == np.unique(labels)[:, None]) * counts
    sizes = member.sum(axis=1)
    centers = member @ means / np.maximum(sizes, 1)[:, None]
    center = counts @ means / max(int(counts.sum()), 1)
    return float(np.sum(sizes[:, None] * (centers - center) ** 2))


def principal_angles(u: Array, v: Array) -> NDArray[np.float64]:
    """Angles between two subspaces, ascending, in radians.

    Small angles come from sines, large ones from cosines, so that both are accurate.

    Parameters
    ----------
    u, v : arrays of shape (D, K)
        Orthonormal columns.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    if matrix_shape(u, name="u") != matrix_shape(v, name="v"):
        raise ValueError(f"both subspaces must have the same shape (D, K), got {tuple(u.shape)} and {tuple(v.shape)}")
    xp = array_namespace(u, v)
    overlap = u.T @ v
    cosines = np.clip(to_host(xp.linalg.svdvals(overlap)), 0.0, 1.0)
    sines = np.clip(np.sort(to_host(xp.linalg.svdvals(v - u @ overlap)))[: cosines.size], 0.0, 1.0)
    return np.where(cosines**2 < 0.5, np.arccos(cosines), np.arcsin(sines))


def _exp_entropy(p: NDArray[np.float64]) -> float:
    positive = p[p > 0]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def _quotient(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator != 0 else math.nan
