"""How well two partitions of the same rows agree: pairs, information, matching, the rarest part; and by chance.

All but the precisions of a score are read off the table (V, A) of rows that a found and a true part share.

    ARI           (s - e) / ((f + t) / 2 - e), s pairs in one part of both, f and t of either, e = f t / pairs
    NMI           I(found; true) / mean of the entropies            (arithmetic)
    homogeneity   I / H(true),    completeness   I / H(found)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.matching import best_matching

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a found partition agrees with a true one; NaN without rows."""

    n_rows: int
    ari: float
    nmi: float
    homogeneity: float
    completeness: float
    matched_accuracy: float
    """Share of rows in matched parts, under the best matching."""
    minority: int
    """The true part with the fewest rows, but not none: the first of equals; -1 without rows."""
    minority_found: int
    """The found part that fits it best: with the largest harmonic mean of precision and recall, the first of equals."""
    minority_precision: float
    minority_recall: float


def shared_rows(found: Integers, true: Integers, n_found: int, n_true: int) -> Integers:
    """(V, A) rows that two parts share; rows with a negative value of either are left out."""
    both = (found >= 0) & (true >= 0)
    cell = found[both] * n_true + true[both]
    return np.bincount(cell, minlength=n_found * n_true).reshape(n_found, n_true)


def agreement(shared: Integers) -> Agreement:
    """How the found partition of a table (V, A) agrees with the true one."""
    nan, n_rows = float("nan"), int(shared.sum())
    if not n_rows:
        nothing = dict.fromkeys(("ari", "nmi", "homogeneity", "completeness", "matched_accuracy"), nan)
        none = {"minority_precision": nan, "minority_recall": nan}
        return Agreement(n_rows=0, minority=-1, minority_found=-1, **nothing, **none)
    found, true = shared.sum(axis=1), shared.sum(axis=0)
    common, of_found, of_true = _information(shared), _entropy(found), _entropy(true)
    mean = (of_found + of_true) / 2
    minority = int(np.argmin(np.where(true > 0, true, np.iinfo(np.int64).max)))
    # The harmonic mean of precision and recall.
    fits = 2 * shared[:, minority] / (found + true[minority])
    best = int(np.argmax(fits))
    matched = best_matching(shared)
    rows = np.flatnonzero(matched >= 0)
    return Agreement(
        n_rows=n_rows,
        ari=float(rand_index(shared)),
        nmi=min(common / mean, 1.0) if mean > 0 else 1.0,
        homogeneity=min(common / of_true, 1.0) if of_true > 0 else 1.0,
        completeness=min(common / of_found, 1.0) if of_found > 0 else 1.0,
        matched_accuracy=float(shared[rows, matched[rows]].sum() / n_rows),
        minority=minority,
        minority_found=best,
        minority_precision=float(shared[best, minority] / found[best]) if found[best] else nan,
        minority_recall=float(shared[best, minority] / true[minority]),
    )


def rand_index(shared: Integers) -> Floats:
    """Adjusted Rand indices (...) of tables (..., V, A) (Hubert and Arabie 1985); 1 where both are trivial."""
    together = _pairs(shared).sum(axis=(-1, -2))
    of_found, of_true = _pairs(shared.sum(axis=-1)).sum(axis=-1), _pairs(shared.sum(axis=-2)).sum(axis=-1)
    pairs = np.maximum(_pairs(shared.sum(axis=(-1, -2))), 1.0)
    expected = of_found / pairs * of_true
    largest = (of_found + of_true) / 2
    is_trivial = largest == expected
    return np.where(is_trivial, 1.0, (together - expected) / np.where(is_trivial, 1.0, largest - expected))


def shuffled(shared: Integers, permutations: int, *, seed: int | Sequence[int]) -> Integers:
    """(R, V, A) tables as they are when the found values are shuffled among the rows: both partitions keep their sizes.

    The tables are drawn from their law, the multivariate hypergeometric one, so that the cost does not grow with the
    number of rows.
    """
    rng = np.random.default_rng(seed)
    found, left = shared.sum(axis=1), np.repeat(shared.sum(axis=0)[None], permutations, axis=0)
    drawn = np.zeros((permutations, *shared.shape), dtype=np.int64)
    for part, size in enumerate(found):
        wanted = np.full(permutations, size)
        others = left.sum(axis=1)
        for column in range(shared.shape[1]):
            others -= left[:, column]
            drawn[:, part, column] = rng.hypergeometric(left[:, column], others, wanted)
            wanted -= drawn[:, part, column]
        left -= drawn[:, part]
    return drawn


def average_precision(is_positive: NDArray[np.bool_], score: Floats) -> float:
    """Sum over the thresholds of (recall's step) x precision, equal scores together; NaN without a positive row."""
    n_positive = int(is_positive.sum())
    if not n_positive:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=np.inf))
    hits = np.cumsum(is_positive[order])[ends]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (ends + 1)) / n_positive)


def precision_at(is_positive: NDArray[np.bool_], soft: Floats, k: int) -> float:
    """Largest share of positive rows among the k that belong most to a part (n, V), over the parts; NaN without any.

    Equal values in the order of the rows; all n rows where k is larger. The precision@k of Domino (Eyuboglu et al.
    2022) and FACTS (Yenamandra et al. 2023), for one true part.
    """
    if not is_positive.any():
        return float("nan")
    first = np.argsort(-soft, axis=0, kind="stable")[:k]
    return float(is_positive[first].mean(axis=0).max())


def _pairs(count: Integers) -> Floats:
    n = np.asarray(count, dtype=np.float64)
    return n * (n - 1) / 2


def _entropy(counts: Integers) -> float:
    share = counts[counts > 0] / counts.sum()
    return max(float(-np.sum(share * np.log(share))), 0.0)


def _information(shared: Integers) -> float:
    """Mutual information of a table, nats."""
    share = shared / shared.sum()
    product = share.sum(axis=1, keepdims=True) * share.sum(axis=0)
    some = shared > 0
    return max(float(np.sum(share[some] * np.log(share[some] / product[some]))), 0.0)
