"""Labels that a row's neighbours contradict: which are wrong, and which are of a minority."""

import numpy as np
from numpy.typing import NDArray

MINORITY_LEVEL = 0.05
"""Level of the test by which a row is of a minority: so many wrong labels at most are taken for one."""

Integers = NDArray[np.int64]


def stratified_folds(y: Integers, n_folds: int, seed: int) -> Integers:
    """(N,) the fold of each row, 0 .. n_folds - 1: each class is shuffled and dealt out, so that folds differ by 1."""
    rng = np.random.default_rng(seed)
    fold = np.empty(y.size, dtype=np.int64)
    dealt = 0
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        fold[rows] = (dealt + np.arange(rows.size)) % n_folds
        dealt += rows.size
    return fold


def contradicted(y: Integers, neighbour_class: Integers, head_class: Integers | None) -> NDArray[np.bool_]:
    """(N,) whether neighbours have another class than the label, and a head that has not seen the row has theirs."""
    is_other = neighbour_class != y
    return is_other if head_class is None else is_other & (head_class == neighbour_class)


def of_minority(
    y: Integers,
    a: Integers,
    neighbour_y: Integers,
    neighbour_a: Integers,
    *,
    level: float = MINORITY_LEVEL,
) -> NDArray[np.bool_]:
    """(N,) whether a row has neighbours of its own class and attribute value, more of them than wrong labels would.

    Of the m neighbours with the attribute value of a row, c have its class. Wrong labels lie anywhere among the rows of
    that value: of their neighbours a share p has their class, as has a share p of all (other) rows of that value. A row
    of a minority lies among rows of that minority. So it is one where P(Binomial(m, p) >= c) <= level.

    Parameters
    ----------
    y, a : arrays of shape (N,)
        Class and attribute value of all rows; `a` is -1 for rows without one, which are of no minority.
    neighbour_y, neighbour_a : arrays of shape (N, K)
        Class and attribute value of the neighbours; -1 where there is none.
    """
    same_value = (neighbour_a == a[:, None]) & (neighbour_a >= 0)
    n_same = same_value.sum(axis=1)
    n_own = (same_value & (neighbour_y == y[:, None])).sum(axis=1)
    values = int(a.max(initial=0)) + 1
    known = a >= 0
    of_value = np.bincount(a[known], minlength=values)
    of_group = np.bincount((y * values + a)[known], minlength=(int(y.max(initial=0)) + 1) * values)
    others = np.maximum(of_value[a] - 1, 1)
    share = np.clip((of_group[y * values + np.maximum(a, 0)] - 1) / others, 0.0, 1.0)
    return known & (n_own > 0) & (binomial_tail(n_own, n_same, share) <= level)


def binomial_tail(successes: Integers, trials: Integers, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) P(Binomial(trials, p) >= successes), summed from its terms."""
    most = int(trials.max(initial=0))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
    tail = np.zeros(successes.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p, log_q = np.log(p), np.log1p(-p)
        for hits in range(most + 1):
            misses = trials - hits
            term = log_factorial[trials] - log_factorial[hits] - log_factorial[np.maximum(misses, 0)]
            # 0 log 0 is 0: no factor at all.
            term = term + (hits * log_p if hits else 0.0) + np.where(misses > 0, misses * log_q, 0.0)
            tail += np.where((hits >= successes) & (misses >= 0), np.exp(term), 0.0)
    return np.minimum(tail, 1.0)
