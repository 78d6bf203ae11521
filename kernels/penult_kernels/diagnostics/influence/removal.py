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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.influence.curvature import Curvature, logit_hessians
from penult_kernels.diagnostics.influence.fitted import Fitted

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
    fitted: Fitted, gradients: Floats, *, report: Callable[[float, float], None] = lambda done, whole: None
) -> Influence:
    """Influence of every row on T targets, of the mean of the optima of some problems.

    Parameters
    ----------
    fitted : Fitted
        Draws of one refit with their optima: only there is the influence what the module says.
    gradients : array of shape (T, K, D + 1)
        Gradients of the targets' mean losses by the mean head's weights and bias, see `targets.mean_gradients`.
    report : callable, optional
        Called with the problems done, and of how many.

    Raises
    ------
    FlatError
        When a Hessian is singular, too large, or has no fixed active set; for hinge losses, which have none.
    ValueError
        When shapes, labels, weights or numbers are not as described.
    """
    given = asarray_like(np.ascontiguousarray(gradients, dtype=np.float64), fitted.features)
    n, k, n_targets = int(fitted.features.shape[0]), fitted.n_classes, int(given.shape[0])
    change, own, leverage = np.zeros((n, n_targets)), np.zeros((n, k)), np.zeros(n)
    count, n_problems = np.zeros(n, np.int64), len(fitted.problems)
    for place in range(n_problems):
        for curvature, columns in fitted.curvatures(place):
            used = curvature.space.block.used()
            parts = _of_block(fitted, curvature, given[:, columns, :])
            change[used] += parts[0]
            own[used] += of_classes(parts[1], columns, k)
            leverage[used] += parts[2]
        count[fitted.weighed(place)] += 1
        report(place + 1.0, float(n_problems))
    rows = np.flatnonzero(count)
    return Influence(
        rows=rows,
        n_problems=count[rows],
        change=change[rows] / n_problems,
        own_change=own[rows] / n_problems,
        leverage=leverage[rows] / count[rows],
    )


def of_classes(values: Floats, columns: slice, n_classes: int) -> Floats:
    """(n, K, ...) changes of logits by class from those (n, q, ...) of a block's columns.

    Two classes are solved in the difference of their logits, of which each has half.

    >>> import numpy as np
    >>> of_classes(np.array([[2.0]]), slice(1, 2), 2).tolist(), of_classes(np.array([[2.0]]), slice(1, 2), 3).tolist()
    ([[-1.0, 1.0]], [[0.0, 2.0, 0.0]])
    """
    if n_classes == 2:
        return np.concatenate([-0.5 * values, 0.5 * values], axis=1)
    found = np.zeros((values.shape[0], n_classes, *values.shape[2:]))
    found[:, columns] = values
    return found


def _of_block(fitted: Fitted, curvature: Curvature, gradients: Array) -> tuple[Floats, Floats, Floats]:
    """For the rows of a block: changes (n, T) of the targets and (n, q) of their own logits, leverages (n,)."""
    space, block = curvature.space, curvature.space.block
    xp = array_namespace(fitted.features)
    wanted = space.lowered(gradients)
    solved = curvature.solve(wanted)
    n_targets, q = int(wanted.shape[0]), block.n_columns
    penalty = space.penalty_gradient() if fitted.is_mean else xp.zeros_like(space.theta)
    by_penalty = curvature.solve(penalty[None, :, :])[0, :, :]
    onto_penalty = xp.sum(xp.reshape(wanted * by_penalty, (n_targets, -1)), axis=1)
    towards = xp.reshape(solved, (n_targets * q, space.size)).T
    s, target = block.sample_weight(), block.target()
    found: list[tuple[Floats, Floats, Floats]] = []
    for tile, z in space.tiles(fitted.features):
        fitted.check()
        weight, p = asarray_like(s[tile], z), curvature.p[tile, :]
        e = p - asarray_like(target[tile], z)
        bent = logit_hessians(p) * weight[:, None, None]
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
