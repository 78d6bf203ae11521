"""The saddle points of robust risks, in rounds of weighted refits (see `linear.robust` of the kernels)."""

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.certificate import Certificate
from penult_kernels.linear.problem import Head
from penult_kernels.linear.robust import Ascent, GroupRisk, TailRisk
from penult_kernels.linear.solve import Fit
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refits.problems import ProblemMaker, Task
from penult_server.compute.refits.work import Logits, Rounds, Solve, Work

MOST_ROUNDS = 400
"""Rounds of weights at most."""


def robust(request: pb.RefitRequest, task: Task, maker: ProblemMaker) -> Rounds[Fit]:
    """The saddle point of a robust risk over the weighted rows of a draw; each round starts from the last head."""
    rows, weight = task.draw.rows, task.draw.weight / task.draw.weight.sum()
    if request.risk.kind == pb.RISK_KIND_GROUP_DRO:
        risk: GroupRisk | TailRisk = GroupRisk(group=maker.group_positions(task.draw), weight=weight)
    else:
        risk = TailRisk(weight=weight, alpha=request.risk.alpha)
    limit = request.tolerance * math.log(maker.n_classes)
    ascent, problem, best, passes, norm = Ascent(risk), task.problem, None, 0, math.inf
    center = problem.center
    at_center = np.zeros((rows.size, maker.n_classes))
    if center is not None:
        ((logits,),) = yield [Logits(digest=request.feature_set, heads=[center])]
        at_center = maker.own_logits(logits, task)
    while ascent.gap > limit and ascent.rounds < MOST_ROUNDS:
        asked: list[Work] = [
            Solve(
                digest=request.feature_set,
                problems=[replace(problem, weight=ascent.weights())],
                tolerance=ascent.accuracy / math.log(maker.n_classes),
                max_iterations=request.max_iterations,
            )
        ]
        ((fit,),) = yield asked
        ((logits,),) = yield [Logits(digest=request.feature_set, heads=[fit])]
        certificate = fit.certificate
        way = _Way(maker, task, at_center, maker.own_logits(logits, task) - at_center)
        # The rest of the objective is penalty; on standardised features only the kernels can compute it.
        penalty = certificate.objective - float(ascent.weights() @ way.losses(1.0))
        fraction = ascent.tell(
            objective=certificate.objective,
            gap=certificate.gap,
            penalty=partial(_penalty, penalty, task.problem.l1 > 0),
            losses=way.losses,
        )
        if fraction is not None or best is None:
            best, norm = _between(center, fit, 1.0 if fraction is None else fraction), certificate.gradient_norm
        passes += certificate.passes + 1
        problem = replace(problem, start=fit)
    if best is None:
        raise ValueError("a robust risk needs a tolerance below the loss of the zero head")
    certificate = Certificate(
        converged=ascent.gap <= limit,
        gap=ascent.gap,
        gradient_norm=norm,
        iterations=ascent.rounds,
        passes=passes,
        objective=ascent.upper,
    )
    return replace(best, certificate=certificate)


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """The line from the center of a penalty to a head."""

    maker: ProblemMaker
    task: Task
    at_center: NDArray[np.float64]
    """(n, C) logits of the center."""
    change: NDArray[np.float64]
    """(n, C) logits of the head minus those of the center."""

    def losses(self, fraction: float) -> NDArray[np.float64]:
        """(n,) losses at a fraction of the way."""
        return self.maker.losses(self.at_center + fraction * self.change, self.task)


def _penalty(of_head: float, has_l1: bool, fraction: float) -> float:
    """An upper bound of the penalty at a fraction of the way from the center."""
    return of_head * (fraction if has_l1 else fraction**2)


def _between(center: Head | None, fit: Fit, fraction: float) -> Fit:
    """The head at a fraction of the way."""
    if center is None:
        return replace(fit, weight=fraction * fit.weight, bias=fraction * fit.bias)
    weight = center.weight + fraction * (fit.weight - center.weight)
    return replace(fit, weight=weight, bias=center.bias + fraction * (fit.bias - center.bias))
