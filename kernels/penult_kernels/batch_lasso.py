"""L1 and elastic net for a batch of problems: working sets, and one product per round for all certificates.

A round solves every block on its working set (working_set), and then takes the whole gradient of all of them in one
pass over the rows. That gives each block's duality gap, and the entries with the largest pull
for its next working set (Massias, Gramfort & Salmon 2018): at least 50, twice its support. A block leaves when its
gap is small enough. Inside, a round is solved to a fraction of the gap that is left.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.batch_newton import Solved, settle_bias
from penult_kernels.logit_loss import probabilities
from penult_kernels.refit_batch import Batch
from penult_kernels.working_set import WorkingSet, data_value, duality_gap, solve_working_set

SMALLEST_SET = 50
INNER_SHARE = 0.3
"""Of the gap asked for: what a working set is solved to in the end."""
ROUND_SHARE = 0.1
"""Of the gap left: what it is solved to before."""
STALLED = 4
"""Rounds without progress after which a block ends as it is."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Block:
    """Where one block stands; small arrays on the host, logits beside the features."""

    index: int
    batch: Batch
    """Of this block alone."""
    theta: NDArray[np.float64]
    """(q, D + 1)."""
    logits: Array
    """(n, 1, q) with the offset."""
    l1: NDArray[np.float64]
    """(q, D + 1)."""
    l2: NDArray[np.float64]
    """(q, D + 1)."""
    pull: NDArray[np.float64]
    """(q, D + 1) gradient of the loss."""
    objective: float = math.inf
    dual: float = -math.inf
    """Best so far."""
    steps: int = 0
    passes: int = 0
    stalled: int = 0
    set_size: int = SMALLEST_SET

    @property
    def gap(self) -> float:
        return self.objective - self.dual


def lasso(
    batch: Batch,
    start: Array,
    *,
    tolerance: float,
    max_iterations: int,
    check: Callable[[], None] | None = None,
) -> list[Solved]:
    """Minimise every block of a batch whose l1 are all positive.

    Parameters
    ----------
    batch, start, tolerance, check
        As in `batch_newton.newton`; the gap here is the duality gap, and the gradient norm in the answer that of
        the smallest subgradient.
    max_iterations : int
        Rounds at most.
    """
    limit = tolerance * math.log(max(int(start.shape[1]), 2))
    members = _members(batch, batch.mask(start))
    active: Sequence[_Block] = members
    for rounds in range(max_iterations + 1):
        if check is not None:
            check()
        _certify(batch, active)
        active = [block for block in active if block.gap > limit and block.stalled < STALLED]
        if not active or rounds == max_iterations:
            break
        for block in active:
            if check is not None:
                check()
            _solve_round(block, limit)
    return [_solved(block, start, limit) for block in members]


def _members(batch: Batch, start: Array) -> list[_Block]:
    logits = batch.logits(start) + batch.offset
    theta = to_host(start)
    members: list[_Block] = []
    for index in range(theta.shape[0]):
        own = batch.take(np.asarray([index], np.int64))
        l1, l2 = _penalties(own, theta[index].shape)
        members.append(
            _Block(
                index=index,
                batch=own,
                theta=theta[index].copy(),
                logits=logits[:, index : index + 1, :],
                l1=l1,
                l2=l2,
                pull=np.zeros_like(theta[index]),
                passes=1,
            )
        )
    return members


def _penalties(batch: Batch, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """l1 and l2 of every entry (q, D + 1); the bias has its own."""
    l1, l2, of_bias = float(batch.l1[0]), float(batch.l2[0]), float(batch.bias_penalty[0])
    firsts, seconds = np.full(shape, l1), np.full(shape, l2)
    firsts[:, -1], seconds[:, -1] = l1 * of_bias, l2 * of_bias**2
    return firsts, seconds


def _certify(batch: Batch, active: Sequence[_Block]) -> None:
    """Free biases to their minimum, all gradients in one pass, and the gap of every active block."""
    xp = array_namespace(batch.share)
    for block in active:
        bias = beside(block.theta[None, :, -1:], block.logits)
        bias, block.logits = settle_bias(block.batch, bias, block.logits)
        block.theta[:, -1:] = to_host(bias)[0]
    residuals = xp.concat([block.batch.residuals(block.logits) for block in active], axis=1)
    part = batch.take(np.asarray([block.index for block in active], np.int64))
    for block, pull in zip(active, to_host(part.adjoint(residuals)), strict=True):
        block.pull = pull
        block.passes += 1
        before = block.gap
        block.objective = _objective(block)
        block.dual = max(block.dual, block.objective - _gap(block))
        block.stalled = block.stalled + 1 if block.gap > 0.9 * before else 0


def _objective(block: _Block) -> float:
    penalty = np.sum(block.l1 * np.abs(block.theta) + 0.5 * block.l2 * block.theta**2)
    return data_value(block.batch, block.logits) + float(penalty)


def _gap(block: _Block) -> float:
    is_penalised = block.l1 > 0
    return duality_gap(
        block.batch,
        block.logits,
        probabilities(block.logits),
        pull=block.pull[is_penalised],
        u=block.theta[is_penalised],
        l1=block.l1[is_penalised],
        l2=block.l2[is_penalised],
    )


def _solve_round(block: _Block, limit: float) -> None:
    """Choose the working set by the pulls and minimise over it."""
    classes, features = np.nonzero(_chosen(block))
    is_bias = features == block.theta.shape[1] - 1
    at = WorkingSet(
        batch=block.batch,
        columns=block.batch.columns(features),
        of_class=classes,
        is_bias=is_bias,
        l1=block.l1[classes, features],
        l2=block.l2[classes, features],
        u=block.theta[classes, features],
        logits=block.logits,
    )
    block.steps += solve_working_set(at, max(INNER_SHARE * limit, ROUND_SHARE * block.gap))
    block.logits = at.logits
    block.theta[classes, features] = at.u


def _chosen(block: _Block) -> NDArray[np.bool_]:
    """(q, D + 1): the support, the fitted biases, and the entries with the largest pull for their l1."""
    support = block.theta != 0
    support[:, -1] = False
    block.set_size = max(block.set_size, 2 * int(support.sum()))
    if block.stalled:
        block.set_size *= 2
    pulls = np.abs(block.pull[:, :-1]).ravel()
    pulls[support[:, :-1].ravel()] = math.inf
    chosen = np.zeros(pulls.size, bool)
    chosen[np.argpartition(-pulls, min(block.set_size, pulls.size) - 1)[: block.set_size]] = True
    bias = np.full((block.theta.shape[0], 1), float(block.batch.is_fitted[0]) > 0)
    return np.concatenate([chosen.reshape(support.shape[0], -1), bias], axis=1)


def _solved(block: _Block, like: Array, limit: float) -> Solved:
    slope = block.pull + block.l2 * block.theta
    moving = slope + block.l1 * np.sign(block.theta)
    resting = np.maximum(np.abs(slope) - block.l1, 0.0)
    subgradient = np.where(block.theta != 0, moving, resting)[block.l1 > 0]
    return Solved(
        theta=beside(block.theta, like),
        gap=block.gap,
        gradient_norm=float(np.sqrt(np.sum(subgradient**2))),
        iterations=block.steps,
        passes=block.passes,
        objective=block.objective,
        converged=block.gap <= limit,
    )
