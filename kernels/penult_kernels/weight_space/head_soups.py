"""Soups of heads over one feature space: exact on its rows, for logits are linear in the head.

What a soup of heads h = 1 .. H with shares a predicts are the logits sum_h a_h logits_h, so its cross-entropy is convex
in a: there is no barrier between heads, and the best shares are found to a gap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, one_hot, to_host

MOST_SHAPLEY = 12
"""Heads whose 2^H soups are all scored."""
BLOCK_BYTES = 2**26
"""Most memory for the logits of the soups of a block of rows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """Shares on the simplex, and how far from the best they may be."""

    shares: NDArray[np.float64]
    """(H,) at least 0, with the sum 1."""
    loss: float
    """Weighted mean cross-entropy in nats."""
    gap: float
    """The least loss of any shares is at least loss - gap (Frank-Wolfe's duality gap)."""
    iterations: int
    converged: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoupScores:
    """Scores of M soups by group."""

    accuracy: NDArray[np.float64]
    """(M, G), NaN for a group without rows."""
    loss: NDArray[np.float64]
    """(M, G) mean cross-entropy in nats."""


def score_soups(
    logits: Array,
    shares: NDArray[np.float64],
    y: Array,
    g: NDArray[np.int64],
    n_groups: int,
    check: Callable[[], None] = lambda: None,
) -> SoupScores:
    """Accuracy and loss by group of many soups, by one product of shares and logits for each block of rows.

    Parameters
    ----------
    logits : (H, N, C) float64 of every head.
    shares : (M, H) of every soup.
    y : (N,) classes; g : (N,) groups 0 .. n_groups - 1; host arrays.
    check : called between blocks of rows; what it raises ends the computation.

    Raises
    ------
    ValueError : for shapes that do not fit.
    """
    _check(logits, y)
    n_heads, n_rows, n_classes = (int(one) for one in logits.shape)
    if shares.ndim != 2 or shares.shape[1] != n_heads or g.shape != (n_rows,):
        raise ValueError(f"shares must be (M, {n_heads}) and g ({n_rows},), got {shares.shape} and {g.shape}")
    xp = array_namespace(logits)
    mixing = asarray_like(shares, logits)
    counts = np.bincount(g, minlength=n_groups).astype(np.float64)
    right, lost = np.zeros((2, len(shares), n_groups))
    for block in blocks(n_rows, max(1, BLOCK_BYTES // (8 * n_classes * len(shares)))):
        check()
        flat = xp.reshape(logits[:, block, :], (n_heads, -1))
        mixed = xp.reshape(xp.matmul(mixing, flat), (len(shares), -1, n_classes))
        member = asarray_like(one_hot(g[block], n_groups), logits)
        loss, is_right = _row_scores(mixed, np.asarray(y)[block])
        right += to_host(xp.matmul(is_right, member))
        lost += to_host(xp.matmul(loss, member))
    with np.errstate(invalid="ignore", divide="ignore"):
        return SoupScores(accuracy=right / counts, loss=lost / counts)


def learned_mixture(
    logits: Array,
    y: NDArray[np.int64],
    weight: NDArray[np.float64],
    *,
    tolerance: float = 1e-9,
    most: int = 200,
    check: Callable[[], None] = lambda: None,
) -> Mixture:
    """The shares on the simplex of the least weighted cross-entropy, by Newton's method on an active set.

    Each iteration: loss, gradient and Hessian in the shares; a Newton step within the shares that are above 0 or
    whose gradient is lowest, cut where one would fall below 0; halved until the loss falls. It ends where the gap
    sum_h a_h g_h - min_h g_h is at most `tolerance` (Frank and Wolfe 1956; Jaggi 2013, section 2).

    Parameters
    ----------
    logits : (H, N, C) float64; y : (N,) classes; weight : (N,) at least 0, scaled to the sum 1.
    check : called before each evaluation; what it raises ends the computation.
    """
    _check(logits, y)
    n_heads = int(logits.shape[0])
    weight = weight / weight.sum()
    shares = np.full(n_heads, 1 / n_heads)
    check()
    loss, gradient, hessian = _derivatives(logits, y, weight, shares)
    for iteration in range(most):
        gap = float(shares @ gradient - gradient.min())
        if gap <= tolerance:
            return Mixture(shares=shares, loss=loss, gap=max(0.0, gap), iterations=iteration, converged=True)
        step = _newton_step(shares, gradient, hessian)
        length, falls = _longest(shares, step), float(gradient @ step)
        while length > 1e-12:
            tried = np.maximum(0, shares + length * step)
            tried /= tried.sum()
            check()
            found = _derivatives(logits, y, weight, tried)
            if found[0] <= loss + 1e-4 * length * falls:
                break
            length /= 2
        else:
            return Mixture(shares=shares, loss=loss, gap=gap, iterations=iteration, converged=False)
        shares, (loss, gradient, hessian) = tried, found
    gap = float(shares @ gradient - gradient.min())
    return Mixture(shares=shares, loss=loss, gap=gap, iterations=most, converged=gap <= tolerance)


def shapley_values(score: Callable[[NDArray[np.float64]], NDArray[np.float64]], n_heads: int) -> NDArray[np.float64]:
    """(H, G) Shapley shares of the heads in what their uniform soup scores for each group, exact over all 2^H soups.

    phi_h = sum_S |S|! (H - |S| - 1)! / H! (v(S + h) - v(S)); their sum is v(all) - v(none), none being zero logits.

    Parameters
    ----------
    score : from shares (M, H) of soups, the empty one's all 0, to values (M, G).
    n_heads : H, at most 12.

    Raises
    ------
    ValueError : for more heads.
    """
    if not 1 <= n_heads <= MOST_SHAPLEY:
        raise ValueError(f"shares of 1 .. {MOST_SHAPLEY} heads are exact, over all their soups; got {n_heads} heads")
    every = np.arange(2**n_heads, dtype=np.int64)
    members: NDArray[np.int64] = np.stack([every // 2**head % 2 for head in range(n_heads)], axis=1)
    sizes: list[int] = members.sum(axis=1).tolist()
    values = score(members / np.maximum(1, members.sum(axis=1, keepdims=True)))
    found: list[NDArray[np.float64]] = []
    for head in range(n_heads):
        without = np.flatnonzero(members[:, head] == 0)
        factor = [1 / (n_heads * math.comb(n_heads - 1, sizes[one])) for one in without.tolist()]
        found.append(np.array(factor) @ (values[without | (1 << head)] - values[without]))
    return np.stack(found)


def fisher_of_head(features: Array, logits: Array, check: Callable[[], None] = lambda: None) -> tuple[Array, Array]:
    """The diagonal of the Fisher information of a head's weight (C, D) and bias (C,), in closed form.

    F_kj = E p_k (1 - p_k) x_j^2 and E p_k (1 - p_k), over rows (N, D) with logits (N, C). `check` is called between
    blocks of rows, of which one is in float64 at a time; what it raises ends the computation.
    """
    xp = array_namespace(logits)
    probability = _softmax(logits)
    spread = probability * (1 - probability) / int(logits.shape[0])
    n_rows, width = (int(one) for one in features.shape)
    weight = xp.zeros((int(logits.shape[1]), width), dtype=xp.float64, device=logits.device)
    for block in blocks(n_rows, budget.of(features).rows_of_pass(width)):
        check()
        rows = xp.astype(features[block, :], xp.float64)
        weight += xp.matmul(xp.matrix_transpose(spread[block, :]), rows * rows)
    return weight, xp.sum(spread, axis=0)


def moments_soup(heads: NDArray[np.float64], grams: NDArray[np.float64], *, ridge: float = 1e-6) -> NDArray[np.float64]:
    """(C, D) the head whose logits differ least from each head's on the rows of its own (Jin et al. 2023).

    W = mean + (sum_h G_h)^-1 sum_h G_h (W_h - mean), with `ridge` of the mean diagonal added to every G_h.

    Parameters
    ----------
    heads : (H, C, D); grams : (H, D, D), X_h^T X_h of the rows of each head. A bias is the column of a feature 1.

    Raises
    ------
    ValueError : for shapes that do not fit.
    """
    n_heads, _, width = heads.shape
    if grams.shape != (n_heads, width, width):
        raise ValueError(f"grams must be {(n_heads, width, width)}, got {grams.shape}")
    mean = heads.mean(axis=0)
    unit = np.eye(width) * ridge * (np.trace(grams, axis1=1, axis2=2) / width)[:, None, None]
    regular = grams + unit
    step = np.matmul(heads - mean, regular).sum(axis=0)
    xp = array_namespace(heads)
    return mean + xp.linalg.solve(regular.sum(axis=0), np.transpose(step)).T


def _derivatives(
    logits: Array, y: NDArray[np.int64], weight: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Loss, gradient (H,) and Hessian (H, H) in the shares, on the host."""
    xp = array_namespace(logits)
    n_heads, n_rows, n_classes = (int(one) for one in logits.shape)
    loss, gradient, hessian = 0.0, np.zeros(n_heads), np.zeros((n_heads, n_heads))
    for block in blocks(n_rows, max(1, BLOCK_BYTES // (8 * n_classes * n_heads))):
        part = logits[:, block, :]
        flat = xp.reshape(part, (n_heads, -1))
        mixed = xp.reshape(xp.matmul(asarray_like(shares[None, :], logits), flat), (-1, n_classes))
        probability, right = _softmax(mixed), one_hot(y[block], n_classes)
        own = asarray_like(weight[block], logits)[:, None]
        rows, _ = _row_scores(mixed[None, :, :], y[block])
        loss += float(xp.sum(rows[0, :] * own[:, 0]))
        residual = (probability - asarray_like(right, logits)) * own
        gradient += to_host(xp.matmul(flat, xp.reshape(residual, (-1, 1)))[:, 0])
        middle = xp.sum(part * probability, axis=2)
        spread = part - middle[:, :, None]
        scaled = xp.reshape(spread * (probability * own), (n_heads, -1))
        hessian += to_host(xp.matmul(scaled, xp.reshape(spread, (n_heads, -1)).T))
    return loss, gradient, hessian


def _newton_step(
    shares: NDArray[np.float64], gradient: NDArray[np.float64], hessian: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A direction that keeps the sum and falls: Newton's on the free shares, else toward the head of least gradient."""
    lowest = int(gradient.argmin())
    toward = -shares.copy()
    toward[lowest] += 1
    mean = float(shares @ gradient)
    free = (shares > 0) | (gradient < mean)
    size = int(free.sum())
    system = np.zeros((size + 1, size + 1))
    scale = max(float(np.trace(hessian)) / len(shares), 1e-300)
    system[:size, :size] = hessian[np.ix_(free, free)] + 1e-12 * scale * np.eye(size)
    system[size, :size] = system[:size, size] = scale
    step = np.zeros(len(shares))
    try:
        step[free] = np.linalg.solve(system, np.append(-gradient[free], 0.0))[:size]
    except np.linalg.LinAlgError:
        return toward
    falls = np.isfinite(step).all() and gradient @ step < 0
    stuck = bool(((shares <= 0) & (step < 0)).any())
    return step if falls and not stuck else toward


def _longest(shares: NDArray[np.float64], step: NDArray[np.float64]) -> float:
    """The longest part of a step, at most all of it, that leaves every share at least 0."""
    falling = step < 0
    return min(1.0, float((shares[falling] / -step[falling]).min())) if falling.any() else 1.0


def _row_scores(logits: Array, y: NDArray[np.int64]) -> tuple[Array, Array]:
    """(M, N) cross-entropy and whether the prediction is right, in float64, of logits (M, N, C)."""
    xp = array_namespace(logits)
    highest = xp.max(logits, axis=2, keepdims=True)
    sums = xp.log(xp.sum(xp.exp(logits - highest), axis=2)) + highest[:, :, 0]
    right = asarray_like(one_hot(y, int(logits.shape[2])), logits)
    loss = sums - xp.sum(logits * right[None, :, :], axis=2)
    predicted = xp.argmax(logits, axis=2)
    return loss, xp.astype(predicted == asarray_like(np.asarray(y), logits)[None, :], xp.float64)


def _softmax(logits: Array) -> Array:
    xp = array_namespace(logits)
    powers = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    return powers / xp.sum(powers, axis=1, keepdims=True)


def _check(logits: Array, y: Array) -> None:
    if logits.ndim != 3 or y.shape != (logits.shape[1],) or 0 in logits.shape:
        raise ValueError(f"logits must be (H, N, C) and y (N,), not empty; got {logits.shape} and {y.shape}")
