"""Twin heads that unlearn what the other finds easy (XRM), for many seeds at once.

Of each seed a fair coin puts every row in the half of head a or of head b. Both start at zero, have no bias, and
descend by full batches the class-balanced cross-entropy of the heads that hold their rows in,

    sum_c mean_{i: y_i = c} CE(W_held-in(i) z_i, y_i),

where y are the labels of this seed as they stand. After every step the label of row i becomes the prediction of the
head that holds it out, with the probability (p - 1/K) K / (K - 1), p that head's largest probability. In the end a row
is *crossed* when either head misses its true class: the rows that a shortcut does not serve (Pezeshki et al. 2023,
arXiv 2309.16748, section 3).

The heads of all seeds are the columns of one product, two products a step, in float32 where the features are. With
fewer rows than twice the features, heads are descended as combinations of rows: one product a step, with Z Z^T. From
zero and without a bias the two rows of a head of two classes stay opposite, so that d = W_1 - W_0 is all of it and
moves by twice the gradient of W_1; then the probability of a flip is tanh(|d z| / 2).

Shapes: N rows, D features, K classes, S seeds, q columns of a head (1 for two classes, else K).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, fits_float32, host_labels, to_host
from penult_kernels.loss import probabilities
from penult_kernels.products import gram, product

MOST_GRAM_BYTES = 2**28
"""Bytes of the rows' products with each other; above that, heads are descended themselves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwinHeads:
    """Both heads of every seed."""

    weight: Array
    """(S, 2, K, D) on the device of the features; the bias is zero."""
    flipped: NDArray[np.float64]
    """(S,) share of the rows whose label differs from the true class in the end."""


def twin_heads(
    features: Array,
    y: Array,
    n_classes: int,
    *,
    seeds: Sequence[int | Sequence[int]],
    steps: int = 3000,
    learning_rate: float = 1e-2,
    check: Callable[[], None] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> TwinHeads:
    """Descend the twins of every seed together; a seed's coins and flips are its own, whatever the others are.

    Parameters
    ----------
    features : array of shape (N, D)
    y : array of shape (N,)
    n_classes : int
        K, at least 2.
    seeds : sequence of int, or of sequences of int
    steps, learning_rate
        Of plain gradient descent; 3,000 and 0.01 in the authors' script.
    check : callable, optional
        Called before every step; what it raises ends the descent.
    report : callable
        Called after every step with how many are taken, and of how many.
    """
    if n_classes < 2:
        raise ValueError(f"twin heads need at least two classes, got {n_classes}")
    xp = array_namespace(features)
    classes = host_labels(y, features.shape[0], n_classes, name="y")
    rows = xp.astype(features, xp.float32 if fits_float32(features) else xp.float64, copy=False)
    draws = [np.random.default_rng(seed) for seed in seeds]
    in_a = asarray_like(np.stack([draw.random(classes.size) < 0.5 for draw in draws], axis=1), rows)[:, :, None]
    true = _targets(classes, n_classes, rows)
    targets = xp.repeat(true, len(seeds), axis=1)
    n_columns = targets.shape[2]
    by_rows = _goes_by_rows(rows)
    left = gram(rows) if by_rows else rows
    theta = xp.zeros((left.shape[1], 2 * len(seeds) * n_columns), dtype=rows.dtype, device=rows.device)
    # In d the gradient of one row counts twice.
    rate = learning_rate * (2.0 if n_columns == 1 else 1.0)
    for step in range(steps):
        if check is not None:
            check()
        logits = xp.reshape(product(left, theta), (classes.size, 2, len(seeds), n_columns))
        held_in = xp.where(in_a, logits[:, 0, :, :], logits[:, 1, :, :])
        residuals = (probabilities(held_in) - targets) * (rate * _class_weights(targets))
        zero = xp.zeros_like(residuals)
        both = xp.stack([xp.where(in_a, residuals, zero), xp.where(in_a, zero, residuals)], axis=1)
        change = xp.reshape(both, (classes.size, -1))
        # The long side of the rows last: a tenth quicker than rows.T @ change.
        theta -= change if by_rows else product(change.T, rows).T
        held_out = xp.where(in_a, logits[:, 1, :, :], logits[:, 0, :, :])
        chance = np.stack([draw.random(classes.size, np.float32) for draw in draws], axis=1)
        targets = _relabelled(targets, held_out, asarray_like(chance, rows)[:, :, None])
        report(step + 1, steps)
    is_flipped = xp.any(targets != true, axis=2)
    return TwinHeads(
        weight=_heads(product(rows.T, theta) if by_rows else theta, len(seeds), n_classes),
        flipped=to_host(xp.mean(xp.astype(is_flipped, xp.float64), axis=0)),
    )


def crossed(weight: Array, features: Array, y: Array) -> NDArray[np.bool_]:
    """(S, N) whether either twin of a seed, `weight` (S, 2, K, D), misses the class of a row; on the host.

    Of equal logits the first class counts, as in the authors' script.
    """
    xp = array_namespace(features)
    n_seeds, _, n_classes, n_features = weight.shape
    classes = host_labels(y, features.shape[0], n_classes, name="y")
    columns = xp.reshape(weight, (-1, n_features)).T
    found = np.empty((n_seeds, classes.size), np.bool_)
    for tile in blocks(classes.size, budget.DEFAULT.rows_per_single_pass):
        logits = product(xp.astype(features[tile, :], weight.dtype, copy=False), columns)
        by_head = xp.argmax(xp.reshape(logits, (-1, 2 * n_seeds, n_classes)), axis=2)
        is_missed = xp.reshape(by_head != asarray_like(classes[tile, None], by_head), (-1, n_seeds, 2))
        found[:, tile] = to_host(xp.any(is_missed, axis=2)).T
    return found


def _goes_by_rows(rows: Array) -> bool:
    """Whether one product with the rows' products (N, N) a step is less work than two with the rows."""
    n_rows, n_features = rows.shape
    n_bytes = n_rows**2 * array_namespace(rows).finfo(rows.dtype).bits // 8
    return n_rows < 2 * n_features and n_bytes <= MOST_GRAM_BYTES


def _targets(classes: NDArray[np.int64], n_classes: int, like: Array) -> Array:
    """(N, 1, q) one-hot classes; of two classes whether it is the second."""
    of_columns = np.arange(n_classes) if n_classes > 2 else np.ones(1, np.int64)
    xp = array_namespace(like)
    return xp.astype(asarray_like(classes[:, None, None] == of_columns, like), like.dtype)


def _class_weights(targets: Array) -> Array:
    """(N, S, 1): one over the rows of a seed that have the label of row i now."""
    xp = array_namespace(targets)
    count = xp.sum(targets, axis=0, keepdims=True)
    one = xp.ones_like(count)
    # No row has the label of an empty class.
    share = one / xp.maximum(count, one)
    if targets.shape[2] > 1:
        return xp.sum(targets * share, axis=2, keepdims=True)
    other = one / xp.maximum(targets.shape[0] - count, one)
    return other + targets * (share - other)


def _relabelled(targets: Array, held_out: Array, chance: Array) -> Array:
    """The labels after the flips: row i takes the prediction held out where chance_i is below that one's sureness."""
    xp = array_namespace(targets)
    if targets.shape[2] == 1:
        is_flip = chance < xp.tanh(0.5 * xp.abs(held_out))
        return xp.where(is_flip, xp.astype(held_out > 0, targets.dtype), targets)
    n_classes = targets.shape[2]
    p = probabilities(held_out)
    surest = xp.max(p, axis=2, keepdims=True)
    is_flip = chance < (surest - 1.0 / n_classes) * (n_classes / (n_classes - 1.0))
    number = xp.arange(n_classes, device=targets.device)
    predicted = xp.argmax(p, axis=2, keepdims=True) == number
    return xp.where(is_flip, xp.astype(predicted, targets.dtype), targets)


def _heads(theta: Array, n_seeds: int, n_classes: int) -> Array:
    """(S, 2, K, D) heads of the columns (D, 2 S q)."""
    xp = array_namespace(theta)
    by_head = xp.permute_dims(xp.reshape(theta, (theta.shape[0], 2, n_seeds, -1)), (2, 1, 3, 0))
    if n_classes > 2:
        return by_head + 0.0
    return xp.concat([-0.5 * by_head, 0.5 * by_head], axis=2)
