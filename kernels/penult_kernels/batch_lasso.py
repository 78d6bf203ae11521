"""L1 and elastic net for a batch of problems: proximal Newton on working sets, all certificates from one product.

A round takes the whole gradient of all blocks in one pass over the rows. That gives each block's duality gap, and
the entries with the largest pull, which join its support in a working set (Massias, Gramfort & Salmon 2018) for one
proximal Newton step (working_set). Blocks whose gap is small enough leave. One step a round: a gradient costs
less than the Hessian of a step, and steps on a working set that is still wrong are lost.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.block_fit import BlockFit
from penult_kernels.intercept import minimize_intercept
from penult_kernels.logit_loss import probabilities
from penult_kernels.refit_batch import Batch
from penult_kernels.working_set import Point, WorkingSet, duality_gap, mean_loss, newton_step

FEWEST_JOINING = 50
JOINING_SHARE = 0.25
"""Of the support: how many entries may join it in a round, if that is more."""
NEAR = 0.7
"""Entries whose pull is below this part of their l1 do not join."""


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
    loss: float
    l1: NDArray[np.float64]
    """(q, D + 1)."""
    l2: NDArray[np.float64]
    """(q, D + 1)."""
    pull: NDArray[np.float64]
    """(q, D + 1) gradient of the loss."""
    p: Array = None
    """(n, 1, q)."""
    objective: float = math.inf
    dual: float = -math.inf
    """Best so far."""
    steps: int = 0
    passes: int = 1
    is_stuck: bool = False

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
    unwanted: Callable[[], NDArray[np.bool_]] | None = None,
) -> list[BlockFit]:
    """Minimise every block of a batch whose l1 are all positive.

    Parameters
    ----------
    batch, start, tolerance, max_iterations, check, unwanted
        As in `batch_newton.newton`; the gap here is the duality gap, and the gradient norm in the answer that of
        the smallest subgradient.
    """
    limit = tolerance * math.log(max(int(start.shape[1]), 2))
    members = _members(batch, batch.mask(start))
    active: Sequence[_Block] = members
    for rounds in range(max_iterations + 1):
        if check is not None:
            check()
        _certify(batch, active)
        active = [block for block in active if block.gap > limit and not block.is_stuck]
        active = active if unwanted is None else _still_wanted(active, unwanted())
        if not active or rounds == max_iterations:
            break
        for block in active:
            _step(block)
    return [_solved(block, start, limit) for block in members]


def _still_wanted(active: Sequence[_Block], unwanted: NDArray[np.bool_]) -> Sequence[_Block]:
    return [block for block in active if not bool(unwanted[block.index])]


def _members(batch: Batch, start: Array) -> list[_Block]:
    logits = batch.logits(start) + batch.offset
    theta = to_host(start)
    members: list[_Block] = []
    for index in range(theta.shape[0]):
        own = batch.take(np.asarray([index], np.int64))
        l1, l2 = _penalties(own, theta[index].shape)
        mine = logits[:, index : index + 1, :]
        members.append(
            _Block(
                index=index,
                batch=own,
                theta=theta[index].copy(),
                logits=mine,
                loss=mean_loss(own, mine),
                l1=l1,
                l2=l2,
                pull=np.zeros_like(theta[index]),
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
        if float(block.batch.is_free[0]) > 0:
            bias = beside(block.theta[None, :, -1:], block.logits)
            bias, block.logits = minimize_intercept(block.batch, bias, block.logits)
            block.theta[:, -1:] = to_host(bias)[0]
            block.loss = mean_loss(block.batch, block.logits)
        block.p = probabilities(block.logits)
    residuals = xp.concat([block.batch.share[:, :, None] * (block.p - block.batch.target) for block in active], axis=1)
    part = (
        batch if len(active) == batch.n_blocks else batch.take(np.asarray([block.index for block in active], np.int64))
    )
    for block, pull in zip(active, to_host(part.adjoint(residuals)), strict=True):
        block.pull = pull if float(block.batch.is_fitted[0]) > 0 else _without_bias(pull)
        block.passes += 1
        block.objective = block.loss + float(np.sum(block.l1 * np.abs(block.theta) + 0.5 * block.l2 * block.theta**2))
        block.dual = max(block.dual, block.objective - _gap(block))


def _without_bias(pull: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([pull[:, :-1], np.zeros((pull.shape[0], 1))], axis=1)


def _gap(block: _Block) -> float:
    is_penalised = slice(None) if block.l1[0, -1] > 0 else slice(0, block.l1.shape[1] - 1)
    return duality_gap(
        block.batch,
        Point(block.theta[:, is_penalised].ravel(), block.logits, block.loss),
        block.p,
        pull=block.pull[:, is_penalised].ravel(),
        l1=block.l1[:, is_penalised].ravel(),
        l2=block.l2[:, is_penalised].ravel(),
    )


def _step(block: _Block) -> None:
    """Choose the working set by the pulls and move on it."""
    classes, features = np.nonzero(_chosen(block))
    at = WorkingSet(
        batch=block.batch,
        columns=block.batch.columns(features),
        of_class=classes,
        l1=block.l1[classes, features],
        l2=block.l2[classes, features],
    )
    here = Point(block.theta[classes, features], block.logits, block.loss)
    moved = newton_step(at, here, block.p, block.pull[classes, features])
    if moved is None:
        block.is_stuck = True
        return
    block.steps += 1
    block.logits, block.loss = moved.logits, moved.loss
    block.theta[classes, features] = moved.u


def _chosen(block: _Block) -> NDArray[np.bool_]:
    """(q, D + 1): the support, the fitted biases, and the entries with the largest pull that may join."""
    support = block.theta[:, :-1] != 0
    pulls = np.abs(block.pull[:, :-1])
    pulls[support] = 0.0
    most = max(FEWEST_JOINING, int(JOINING_SHARE * np.count_nonzero(support)))
    threshold = NEAR * float(block.l1[0, 0])
    if most < pulls.size:
        threshold = max(threshold, float(np.partition(pulls, pulls.size - most, axis=None)[pulls.size - most]))
    bias = np.full((support.shape[0], 1), float(block.batch.is_fitted[0]) > 0)
    return np.concatenate([support | (pulls >= threshold), bias], axis=1)


def _solved(block: _Block, like: Array, limit: float) -> BlockFit:
    slope = block.pull + block.l2 * block.theta
    moving = slope + block.l1 * np.sign(block.theta)
    resting = np.maximum(np.abs(slope) - block.l1, 0.0)
    subgradient = np.where(block.theta != 0, moving, resting)[block.l1 > 0]
    return BlockFit(
        theta=beside(block.theta, like),
        gap=block.gap,
        gradient_norm=float(np.sqrt(np.sum(subgradient**2))),
        iterations=block.steps,
        passes=block.passes,
        objective=block.objective,
        converged=block.gap <= limit,
    )
