"""Influence of single rows: the optimum without a row by one Newton step, and what that does to losses elsewhere.

At the optimum theta of sum_j s_j l_j + penalty, removing row i leaves the gradient -s_i g_i, g_i = e_i (x) z_i, and the
Hessian H - s_i S_i (x) z_i z_i^T. One Newton step of the problem without i moves theta by

    d_i = s_i (H - s_i S_i (x) z_i z_i^T)^-1 (g_i + r)
        = s_i [ H^-1 (I (x) z_i) x_i + H^-1 r ],   x_i = (I - s_i S_i M_i)^-1 (e_i + s_i S_i (I (x) z_i)^T H^-1 r)

with M_i = (I (x) z_i)^T H^-1 (I (x) z_i), the leverage, by Woodbury's identity (Cook & Weisberg 1982, 5.2; Koh & Liang
2017 leave the correction by M_i out). r is the gradient of the penalty where the remaining weights are scaled to sum 1
again (a penalty beside the mean loss), and zero where they are not (beside the sum). The change of the mean loss of a
set T is g_T^T d_i; positive: the row helps T, since T's loss is larger without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.diagnostics.influence.curvature import Curvature, FlatError, curvature_of
from penult_kernels.linear.blocks.blocks import Block, Preparation
from penult_kernels.linear.problem import Head, Link, Problem
from penult_kernels.loss import log_softmax
from penult_kernels.rows import RowSource

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Influence:
    """The influence of every row that a problem uses, the mean over all problems; 0 where one does not."""

    rows: Integers
    """(n,) ascending positions."""
    n_problems: Integers
    """(n,) problems that use the row."""
    change: Floats
    """(n, T) first-order change of each target's mean loss when the row is removed, nats; positive: it helps."""
    own_change: Floats
    """(n, K) change of the row's own logits when it is removed."""
    leverage: Floats
    """(n,) s_i tr(S_i M_i), the mean over problems that use it: near 1, the head passes through the row."""


def influence(
    features: Array,
    y: Array,
    n_classes: int,
    problems: Sequence[Problem],
    optima: Sequence[Head],
    gradients: Floats,
    *,
    is_mean: bool = True,
    check: Callable[[], None] = lambda: None,
    report: Callable[[float, float], None] = lambda done, whole: None,
) -> Influence:
    """Influence of every row on T targets, of the mean of the optima of some problems.

    Parameters
    ----------
    features : array of shape (N, D)
        In any real floating type.
    y : array of shape (N,)
        Classes.
    n_classes : int
        K, at least 2.
    problems : sequence of Problem
        Draws of one refit.
    optima : sequence of Head
        Their optima, on raw features: only there is the influence what the module says.
    gradients : array of shape (T, K, D + 1)
        Gradients of the targets' mean losses by the mean head's weights and bias, see `mean_gradients`.
    is_mean : bool
        Whether the penalty stands beside the mean of the losses: without a row the others then weigh more.
    check : callable, optional
        Called between tiles of rows; what it raises ends the computation.
    report : callable, optional
        Called with the problems done, and of how many.

    Raises
    ------
    FlatError
        When a Hessian is singular, too large, or has no fixed active set; for hinge losses, which have none.
    ValueError
        When shapes, labels, weights or numbers are not as described.
    """
    if any(problem.link is Link.HINGE for problem in problems):
        raise FlatError("hinge losses have no curvature: use link='softmax' or 'ovr'")
    preparation = Preparation(features, y, n_classes, check=check)
    preparation.fit_scalings(problems)
    given = asarray_like(np.ascontiguousarray(gradients, dtype=np.float64), features)
    n, n_targets = int(features.shape[0]), int(given.shape[0])
    change, own, leverage = np.zeros((n, n_targets)), np.zeros((n, n_classes)), np.zeros(n)
    count = np.zeros(n, np.int64)
    for place, (problem, optimum) in enumerate(zip(problems, optima, strict=True)):
        for number, block in enumerate(preparation.blocks_of(place, replace(problem, start=optimum))):
            used, columns = block.used(), _columns(block, n_classes, number)
            curvature = curvature_of(features, block)
            parts = _of_block(features, curvature, given[:, columns, :], is_mean=is_mean, check=check)
            change[used] += parts[0]
            # Two classes are solved in the difference of their logits, of which each has half.
            is_half = n_classes == 2
            own[used] += parts[1] @ np.asarray([[-0.5, 0.5]]) if is_half else _placed(parts[1], columns, n_classes)
            leverage[used] += parts[2]
        count[weighed_rows(problem, n)] += 1
        report(place + 1.0, float(len(problems)))
    rows = np.flatnonzero(count)
    return Influence(
        rows=rows,
        n_problems=count[rows],
        change=change[rows] / len(problems),
        own_change=own[rows] / len(problems),
        leverage=leverage[rows] / count[rows],
    )


def weighed_rows(problem: Problem, n: int) -> Integers:
    """Positions of the rows that a problem over n rows uses: those that weigh something."""
    rows = np.arange(n, dtype=np.int64) if problem.rows is None else problem.rows
    return rows if problem.weight is None else rows[problem.weight > 0]


def _columns(block: Block, n_classes: int, number: int) -> slice:
    """The classes whose logits the columns of a problem's block are; of two the second: its residual is minus the
    first's."""
    if n_classes == 2:
        return slice(1, 2)
    return slice(0, n_classes) if block.n_columns > 1 else slice(number, number + 1)


def _placed(values: Floats, columns: slice, n_classes: int) -> Floats:
    found = np.zeros((values.shape[0], n_classes))
    found[:, columns] = values
    return found


def _of_block(
    features: Array, curvature: Curvature, gradients: Array, *, is_mean: bool, check: Callable[[], None]
) -> tuple[Floats, Floats, Floats]:
    """For the rows of a block: changes (n, T) of the targets and (n, q) of their own logits, leverages (n,)."""
    space, block = curvature.space, curvature.space.block
    xp = array_namespace(features)
    wanted = space.lowered(gradients)
    solved = curvature.solve(wanted)
    n_targets, q = int(wanted.shape[0]), block.n_columns
    penalty = space.penalty_gradient() if is_mean else xp.zeros_like(space.theta)
    by_penalty = curvature.solve(penalty[None, :, :])[0, :, :]
    onto_penalty = xp.sum(xp.reshape(wanted * by_penalty, (n_targets, -1)), axis=1)
    towards = xp.reshape(solved, (n_targets * q, space.size)).T
    s, target = block.sample_weight(), block.target()
    found: list[tuple[Floats, Floats, Floats]] = []
    for tile, z in space.tiles(features):
        check()
        weight, p = asarray_like(s[tile], z), curvature.p[tile, :]
        e = p - asarray_like(target[tile], z)
        bent = _hessians(p) * weight[:, None, None]
        between = curvature.between(z)
        identity = xp.eye(q, dtype=z.dtype, device=z.device)
        ours = z @ by_penalty.T
        right = e + xp.matmul(bent, ours[:, :, None])[:, :, 0]
        moved = xp.linalg.solve(identity - xp.matmul(bent, between), right[:, :, None])
        onto = xp.reshape(z @ towards, (z.shape[0], n_targets, q))
        changes = weight[:, None] * (xp.matmul(onto, moved)[:, :, 0] + onto_penalty)
        own = weight[:, None] * (xp.matmul(between, moved)[:, :, 0] + ours)
        leverages = xp.sum(bent * between, axis=(1, 2))
        found.append((to_host(changes), to_host(own), to_host(leverages)))
    changes, own, leverages = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return changes, own, leverages


def _hessians(p: Array) -> Array:
    """(t, q, q) Hessian of each row's loss in its logits."""
    xp = array_namespace(p)
    if p.shape[1] == 1:
        return (p * (1.0 - p))[:, :, None]
    identity = xp.eye(p.shape[1], dtype=p.dtype, device=p.device)
    return p[:, :, None] * identity - p[:, :, None] * p[:, None, :]


def mean_gradients(rows: RowSource, logits: Floats, y: Integers, part: Integers, n_parts: int) -> Floats:
    """(T, K, D + 1) gradient of the mean cross-entropy of each part's rows by a head; NaN for a part without rows.

    `logits` (N, K) are the head's. Rows of part -1 are in none.

    >>> import numpy as np
    >>> from penult_kernels.rows import ArrayRows
    >>> x, y = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([0, 1])
    >>> found = mean_gradients(ArrayRows(x), np.zeros((2, 2)), y, np.array([0, 0]), 1)
    >>> bool(np.allclose(found[0], np.mean([np.outer([-0.5, 0.5], [1, 2, 1]), np.outer([0.5, -0.5], [0, 1, 1])], 0)))
    True
    """
    n, d = rows.shape
    e = np.exp(np.asarray(log_softmax(logits)))
    e[np.arange(n), y] -= 1.0
    count = np.bincount(part[part >= 0], minlength=n_parts)
    weights = (part[:, None] == np.arange(n_parts)[None, :]) / np.maximum(count, 1)[None, :]
    found = np.zeros((n_parts, logits.shape[1], d + 1))
    for tile in blocks(n, budget.of(rows.like).rows_per_single_pass):
        xp = array_namespace(rows.like)
        z = xp.astype(rows.block(tile), xp.float64)
        pairs = (weights[tile, :, None] * e[tile, None, :]).reshape(z.shape[0], -1)
        found[:, :, :-1] += to_host(asarray_like(pairs, z).T @ z).reshape(n_parts, -1, d)
        found[:, :, -1] += pairs.sum(axis=0).reshape(n_parts, -1)
    found[count == 0] = np.nan
    return found
