"""Spread spurious attribute (SSA) by heads: an attribute known of few rows, spread to many (Nam et al. 2022).

The many rows are cut into folds. For each fold a head of the attribute is fitted to half of the few and, round by
round, to what it says itself of the rows outside the fold:

1. Head: mean CE on the half + mean CE on the pseudo-labelled rows + l2/2 |W|^2, a free bias, features standardised by
   the rows fitted. Convex: each round is solved to its optimum.
2. Pseudo-labels: the likeliest value of each row outside the fold, where its softmax probability is at least tau. The
   rarest group (class, value) of the half has all of these, every other group as many at most, its surest.

The head of the last round with the best worst-group accuracy on the other half of the few labels the fold; rounds end
when the pseudo-labels stay. The published method finetunes a network where this fits heads (arXiv 2204.02070, section
4).

Shapes: N many rows, M few rows, A values, C classes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, host_labels, to_host
from penult_kernels.linear.solve import ConvergenceWarning, Head, Problem, Standardize, solve
from penult_kernels.loss import probabilities
from penult_kernels.metrics.head_scores import logits_of_heads

TOLERANCE = 1e-4
"""Relative gap of each head's certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Few:
    """Rows whose attribute is known."""

    features: Array
    """(M, D)."""
    y: NDArray[np.int64]
    a: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """The attribute of the many rows."""

    probability: NDArray[np.float64]
    """(N, A) by the head of each row's fold."""
    heads: list[Head]
    """One of each fold."""
    rounds: list[int]
    """Round whose head was taken, of each fold, from 0 (the labelled half alone)."""
    accuracy: list[float]
    """Worst-group accuracy of each head on the other half of the few."""


def spread_attribute(
    features: Array,
    y: Array,
    few: Few,
    *,
    n_classes: int,
    n_values: int,
    l2: float = 5e-4,
    tau: float = 0.95,
    n_folds: int = 3,
    rounds: int = 5,
    seed: int = 0,
    check: Callable[[], None] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Spread:
    """Label the rows `features` (N, D) of classes `y` fold by fold; see the module for the order of steps.

    Raises
    ------
    ValueError
        When there are fewer rows than folds, or a value of the attribute has fewer than two rows among the few.
    """
    classes = host_labels(y, features.shape[0], n_classes, name="y")
    if classes.size < n_folds:
        raise ValueError(f"{n_folds} folds need as many rows, got {classes.size}")
    draw = np.random.default_rng(seed)
    fitted = _half_of_each(few.y * n_values + few.a, draw)
    missing = np.flatnonzero(np.bincount(few.a[fitted], minlength=n_values) == 0)
    if missing.size:
        raise ValueError(f"each value of the attribute needs two labelled rows; {missing[0]} has fewer")
    fold = draw.permutation(np.arange(classes.size) % n_folds)
    probability = np.empty((classes.size, n_values))
    taken: list[_Taken] = []
    for number in range(n_folds):
        outside = np.flatnonzero(fold != number)
        found = _label_fold(features, classes, outside, few, fitted, (n_classes, n_values), (l2, tau, rounds), check)
        taken.append(found)
        probability[fold == number] = attribute_probabilities([found.head], features)[fold == number]
        report(number + 1, n_folds)
    return Spread(
        probability=probability,
        heads=[one.head for one in taken],
        rounds=[one.round for one in taken],
        accuracy=[one.accuracy for one in taken],
    )


def attribute_probabilities(heads: list[Head], features: Array) -> NDArray[np.float64]:
    """(N, A) mean over the heads of their softmax probabilities, on the host."""
    return np.mean(
        [to_host(probabilities(logits[:, None, :])[:, 0, :]) for logits in logits_of_heads(features, heads)], axis=0
    )


def capped(
    probability: NDArray[np.float64], y: NDArray[np.int64], *, tau: float, n_classes: int, rarest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions that get a pseudo-label, ascending, and the likeliest value of every row.

    Of each group (class, likeliest value) those of probability `tau` and more, surest first, at most as many as the
    group `rarest` has.
    """
    n_values = probability.shape[1]
    value = probability.argmax(axis=1)
    surest = probability.max(axis=1)
    group = y * n_values + value
    most = int(np.count_nonzero((group == rarest) & (surest >= tau)))
    kept = [np.empty(0, np.int64)]
    for g in range(n_classes * n_values):
        own = np.flatnonzero((group == g) & (surest >= tau))
        kept.append(own[np.argsort(-surest[own], kind="stable")[:most]])
    return np.sort(np.concatenate(kept)), value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Taken:
    head: Head
    round: int
    accuracy: float


def _label_fold(
    features: Array,
    y: NDArray[np.int64],
    outside: NDArray[np.int64],
    few: Few,
    fitted: NDArray[np.bool_],
    sizes: tuple[int, int],
    numbers: tuple[float, float, int],
    check: Callable[[], None] | None,
) -> _Taken:
    """The best head of the rounds for one fold."""
    (n_classes, n_values), (l2, tau, rounds) = sizes, numbers
    group = few.y * n_values + few.a
    counts = np.bincount(group[fitted], minlength=n_classes * n_values)
    rarest = int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))
    pseudo, value = np.empty(0, np.int64), np.empty(0, np.int64)
    best: _Taken | None = None
    for number in range(rounds + 1):
        head = _fit(features, few, fitted, outside[pseudo], value[pseudo], n_values, l2, check)
        accuracy = _worst_group(head, few, group, ~fitted if not fitted.all() else fitted)
        if best is None or accuracy >= best.accuracy:
            best = _Taken(head=head, round=number, accuracy=accuracy)
        probability = attribute_probabilities([head], features)[outside]
        before, last = pseudo, value
        pseudo, value = capped(probability, y[outside], tau=tau, n_classes=n_classes, rarest=rarest)
        if not pseudo.size or (np.array_equal(pseudo, before) and np.array_equal(value[pseudo], last[pseudo])):
            break
    assert best is not None
    return best


def _fit(
    features: Array,
    few: Few,
    fitted: NDArray[np.bool_],
    pseudo: NDArray[np.int64],
    value: NDArray[np.int64],
    n_values: int,
    l2: float,
    check: Callable[[], None] | None,
) -> Head:
    """The head of one round; labelled and pseudo-labelled rows weigh alike together."""
    xp = array_namespace(features)
    known = np.flatnonzero(fitted)
    labelled = xp.astype(_rows(few.features, known), features.dtype, copy=False)
    rows = xp.concat([labelled, _rows(features, pseudo)], axis=0)
    weight = np.concatenate([np.full(known.size, 1 / known.size), np.full(pseudo.size, 1 / max(pseudo.size, 1))])
    problem = Problem(weight=weight, l2=l2, standardize=Standardize.ROWS)
    labels = np.concatenate([few.a[known], value])
    with warnings.catch_warnings():
        # A head that is a little off its optimum labels as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        (fit,) = solve(rows, labels, n_values, [problem], tolerance=TOLERANCE, check=check)
    return Head(weight=to_host(fit.weight), bias=to_host(fit.bias))


def _half_of_each(group: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.bool_]:
    """(M,) a random half of each group, the larger where it is odd."""
    chosen = np.zeros(group.size, np.bool_)
    for g in np.unique(group):
        own = draw.permutation(np.flatnonzero(group == g))
        chosen[own[: -(-own.size // 2)]] = True
    return chosen


def _worst_group(head: Head, few: Few, group: NDArray[np.int64], scored: NDArray[np.bool_]) -> float:
    at = np.flatnonzero(scored)
    said = attribute_probabilities([head], _rows(few.features, at)).argmax(axis=1)
    is_right = said == few.a[at]
    return min(float(is_right[group[at] == g].mean()) for g in np.unique(group[at]))


def _rows(features: Array, at: NDArray[np.int64]) -> Array:
    xp = array_namespace(features)
    return xp.take(features, xp.asarray(at, device=features.device), axis=0)
