"""The trajectories of one run: their problems, first iterates and scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.linear.blocks.blocks import Block, Preparation
from penult_kernels.linear.problem import Intercept, Link, Problem
from penult_kernels.trajectories.settings import Keep, Optimizer, TrajectorySettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """One trajectory."""

    index: int
    """Position of its problem in the call."""
    problem: Problem
    settings: TrajectorySettings
    parts: Sequence[Block]
    """One block, or with one-vs-rest one for each class."""

    @property
    def n_columns(self) -> int:
        """Columns of all blocks together."""
        return sum(part.n_columns for part in self.parts)


def starting_columns(preparation: Preparation, members: Sequence[Member], n_streams: int) -> Array:
    """First iterates theta (S, D + 1, K): the starts, or zero; biases that are not fitted are zero."""
    xp = array_namespace(preparation.features)
    parts = [part for member in members for part in member.parts]
    shape = (parts[0].n_columns, preparation.features.shape[1] + 1)
    zero = xp.zeros(shape, dtype=xp.float64, device=preparation.features.device)
    theta = _columns([zero if part.start is None else part.start for part in parts], n_streams)
    moves = np.asarray([part.intercept is not Intercept.NONE for part in parts], np.float64)
    theta[:, -1, :] *= asarray_like(np.repeat(moves, shape[0]).reshape(n_streams, -1), theta)
    return theta


def center_columns(preparation: Preparation, members: Sequence[Member], n_streams: int) -> Array | None:
    """Centers (S, D + 1, K) of all columns, which only weight decay needs; None if there are none."""
    centers = [preparation.center(member.problem) for member in members]
    if all(center is None for center in centers):
        return None
    xp = array_namespace(preparation.features)
    shape = (preparation.n_classes, preparation.features.shape[1] + 1)
    zero = xp.zeros(shape, dtype=xp.float64, device=preparation.features.device)
    whole = [zero if center is None else center for center in centers]
    is_difference = members[0].n_columns == 1
    return _columns([one[1:, :] - one[:1, :] if is_difference else one for one in whole], n_streams)


def _columns(rows: Sequence[Array], n_streams: int) -> Array:
    """(S, D + 1, K) from the (columns, D + 1) of each trajectory."""
    xp = array_namespace(rows[0])
    stacked = xp.reshape(xp.concat(rows, axis=0), (n_streams, -1, rows[0].shape[1]))
    return xp.matrix_transpose(stacked) + 0.0


def stays_in_row_space(members: Sequence[Member], theta: Array, center: Array | None) -> bool:
    """Whether all iterates stay in the span of the rows. A start, a center or steps entry by entry may leave it."""
    xp = array_namespace(theta)
    decays = any(member.settings.weight_decay > 0 for member in members)
    return not (
        members[0].settings.optimizer is Optimizer.ADAMW
        or any(part.l1 > 0 for member in members for part in member.parts)
        or bool(xp.any(theta != 0))
        or (decays and center is not None and bool(xp.any(center != 0)))
    )


def doubled(preparation: Preparation, members: Sequence[Member]) -> list[float]:
    """For every block, 2 if its column is the difference of two rows of a softmax, which move oppositely; else 1."""
    is_reduced = preparation.n_classes == 2 and members[0].n_columns == 1
    links = [member.problem.link for member in members for _ in member.parts]
    return [2.0 if is_reduced and link is Link.SOFTMAX else 1.0 for link in links]


class Scoreboard:
    """Scores of P trajectories after every step, and the step with the best score of each."""

    def __init__(self, settings: Sequence[TrajectorySettings]) -> None:
        self._keeps_best = np.asarray([one.keep is Keep.BEST for one in settings])
        self._best = np.full(len(settings), -np.inf)
        self._reached = np.zeros(len(settings), np.int64)
        self._scores: list[NDArray[np.float64]] = []

    def record(self, step: int, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Record scores (P,); returns (P,) whether the iterate is the first with the highest score, and to be kept."""
        self._scores.append(scores)
        better = np.logical_and(self._keeps_best, scores > self._best)
        self._best = np.where(better, scores, self._best)
        self._reached[better] = step
        return better

    def keeps_best(self, place: int) -> bool:
        """Whether the answer is the best iterate, not the last."""
        return bool(self._keeps_best[place])

    def best(self, place: int) -> tuple[int, float]:
        """The step of a trajectory's best iterate, and its score."""
        return int(self._reached[place]), float(self._best[place])

    def by_step(self) -> NDArray[np.float64]:
        """(P, steps) all scores."""
        return np.stack(self._scores, axis=1) if self._scores else np.zeros((self._best.size, 0))

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Go on with some of the trajectories."""
        self._keeps_best, self._best, self._reached = (
            values[kept] for values in (self._keeps_best, self._best, self._reached)
        )
        self._scores = [each[kept] for each in self._scores]
