"""Trajectories with the same rows, scaling, optimiser, batch size, schedule and number of steps, computed together.

A step is two products for all of them: rows times parameters, which also gives the logits of the watched rows, and
rows times residuals.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.problem import Head
from penult_kernels.trajectories.loss import trajectory_loss
from penult_kernels.trajectories.members import (
    Member,
    Scoreboard,
    center_columns,
    doubled,
    starting_columns,
    stays_in_row_space,
)
from penult_kernels.trajectories.minibatches import Streams
from penult_kernels.trajectories.settings import Keep, Trajectory, Watch
from penult_kernels.trajectories.space import TrajectorySpace
from penult_kernels.trajectories.steps import Stepper, column_numbers, taken

LOOK_EVERY = 16
"""Steps after which it is asked again which trajectories are still wanted."""


class TrajectoryRun:
    """The trajectories of S streams of minibatches, P of each; theta is (S, W, K), see `trajectories.steps`.

    Parameters
    ----------
    preparation : Preparation
    streams : sequence of S sequences of P Members
    watch : Watch, optional
    """

    def __init__(self, preparation: Preparation, streams: Sequence[Sequence[Member]], watch: Watch | None) -> None:
        self._preparation = preparation
        self._members: list[Member] = [member for stream in streams for member in stream]
        self._shape = (len(streams), len(streams[0]))
        self._indices = np.asarray([member.index for member in self._members], np.int64)
        first = self._members[0]
        self._settings, self._n_parts, self._per_problem = first.settings, len(first.parts), first.n_columns
        parts = [part for member in self._members for part in member.parts]
        theta = starting_columns(preparation, self._members, len(streams))
        center = center_columns(preparation, self._members, len(streams))
        self._space = TrajectorySpace(
            preparation.features,
            parts[0].rows,
            parts[0].scaling,
            watched=None if watch is None else watch.features,
            in_row_space=stays_in_row_space(self._members, theta, center),
        )
        if self._space.is_in_row_space:
            theta, center = theta[:, : self._space.width, :] * 0.0, None
        # Parameters have the type of the products, as in the training loops that are reproduced.
        xp = array_namespace(theta)
        theta = xp.astype(theta, self._space.dtype)
        center = None if center is None else xp.astype(center, self._space.dtype)
        self._theta, self._kept = theta, theta + 0.0
        self._loss = trajectory_loss(
            parts, len(streams), preparation.features, self._space.dtype, is_relative=self._settings.normalize
        )
        numbers = column_numbers(
            parts, [one.settings for one in self._members], doubled(preparation, self._members), len(streams)
        )
        self._stepper = Stepper(numbers, self._settings.optimizer, self._per_problem, center, theta)
        self._draws = Streams([stream[0].settings for stream in streams], self._space.n_fitted)
        self._rate_factors = self._settings.rate_factors(self._space.n_fitted)
        self._watch = watch
        self._center_outputs = None if watch is None else self._outputs_of_centers(watch)
        self._scores = Scoreboard([one.settings for one in self._members])
        self._heads: dict[int, list[tuple[int, Array, Array]]] = {
            one.index: [] for one in self._members if one.settings.keep is Keep.EVERY
        }

    def follow(
        self,
        check: Callable[[], None] | None,
        is_wanted: Callable[[int], bool] | None,
        report: Callable[[int], None] = lambda step: None,
    ) -> dict[int, Trajectory]:
        """Take all steps; answers by the indices of the problems. `report` is told how many steps are taken."""
        found: dict[int, Trajectory] = {}
        n_steps = self._settings.steps
        for step in range(1, n_steps + 1):
            if check is not None:
                check()
            if is_wanted is not None and step % LOOK_EVERY == 1:
                self._drop(is_wanted, step - 1, found)
                if not self._members:
                    return found
            logits = self._logits()
            if step > 1:
                self._look(step - 1, logits)
            self._theta = self._stepper.step(self._theta, self._gradient(logits), float(self._rate_factors[step - 1]))
            if self._heads:
                self._keep_every(step)
            report(step)
        if self._watch is not None:
            self._look(n_steps, self._logits())
        return found | self._answers(range(len(self._members)), n_steps)

    def _logits(self) -> Array:
        """(n + M, S K) logits of the rows fitted and watched, or with minibatches of the rows watched only."""
        if self._settings.batch_size is None:
            return self._space.times(_side_by_side(self._theta))
        return None if self._watch is None else self._space.watched_times(_side_by_side(self._theta))

    def _gradient(self, logits: Array) -> Array:
        """Gradient of the loss without penalties (S, W, K), over all rows or over a minibatch of each stream."""
        xp = array_namespace(self._theta)
        n_fitted = self._space.n_fitted
        if self._settings.batch_size is None:
            residuals = self._loss.residuals(logits[None, :n_fitted, :])
            return self._space.transposed_times(residuals[0, :, :])[None, :, :]
        drawn = self._draws.next()
        flat = self._space.take(drawn.reshape(-1))
        rows = xp.reshape(flat, (*drawn.shape, -1))
        residuals = self._loss.on_rows(drawn).residuals(rows @ self._theta)
        return xp.matrix_transpose(rows) @ residuals

    def _look(self, step: int, logits: Array) -> None:
        """Score the iterates after `step` steps, and keep those that are better than before."""
        if self._watch is None:
            return
        outputs = self._outputs(logits[logits.shape[0] - self._space.n_watched :, :])
        better = self._scores.record(step, np.asarray(self._watch.score(self._indices, outputs), np.float64))
        if better.any():
            xp = array_namespace(self._theta)
            columns = np.repeat(better, self._per_problem).reshape(self._shape[0], 1, -1)
            self._kept = xp.where(asarray_like(columns, self._theta), self._theta, self._kept)

    def _outputs(self, logits: Array) -> Array:
        """Margins (M, P) of two classes, else logits (M, P, C): those of the columns plus those of the centers."""
        xp = array_namespace(logits)
        found = logits
        if self._per_problem > 1:
            found = xp.reshape(logits, (logits.shape[0], -1, self._per_problem))
            found = found if self._preparation.n_classes > 2 else found[:, :, 1] - found[:, :, 0]
        return found if self._center_outputs is None else found + self._center_outputs

    def _outputs_of_centers(self, watch: Watch) -> Array | None:
        """Outputs of the centers, with a 1 in place of P if all are equal; None without centers."""
        centers = [member.problem.center for member in self._members]
        if all(center is None for center in centers):
            return None
        xp = array_namespace(self._theta)
        shape = (watch.features.shape[0], self._preparation.n_classes)
        zero = xp.zeros(shape, dtype=xp.float64, device=self._theta.device)
        numbers = [self._preparation.center_id(member.problem) for member in self._members]
        distinct = dict(zip(numbers, centers, strict=True))
        made = {
            key: zero if center is None else self._preparation.logits(watch.features, center)
            for key, center in distinct.items()
        }
        few = numbers[:1] if len(distinct) == 1 else numbers
        logits = xp.stack([made[number] for number in few], axis=1)
        found = logits if self._preparation.n_classes > 2 else logits[:, :, 1] - logits[:, :, 0]
        return xp.astype(found, self._space.dtype)

    def _drop(self, is_wanted: Callable[[int], bool], step: int, found: dict[int, Trajectory]) -> None:
        """Drop cancelled trajectories: single ones if there is one stream, else whole streams."""
        n_streams, n_trajectories = self._shape
        wanted = np.asarray([is_wanted(member.index) for member in self._members]).reshape(n_streams, n_trajectories)
        streams = np.flatnonzero(wanted.any(axis=1))
        trajectories = np.flatnonzero(wanted[0]) if n_streams == 1 else np.arange(n_trajectories)
        stays = np.zeros((n_streams, n_trajectories), bool)
        stays[np.ix_(streams, trajectories)] = True
        if not stays.all():
            found.update(self._answers(np.flatnonzero(~stays).tolist(), step))
            self._go_on_with(np.flatnonzero(stays), streams, trajectories)

    def _go_on_with(self, kept: NDArray[np.int64], streams: NDArray[np.int64], trajectories: NDArray[np.int64]) -> None:
        self._members = [self._members[int(place)] for place in kept]
        if not self._members:
            return
        self._shape = (streams.size, trajectories.size)
        self._indices = self._indices[kept]
        columns = _spread(trajectories, self._per_problem)
        self._theta, self._kept = taken(self._theta, streams, columns), taken(self._kept, streams, columns)
        self._stepper.keep(streams, columns, self._theta)
        self._loss = self._loss.take(streams, _spread(trajectories, self._n_parts))
        self._draws.keep(streams)
        self._scores.keep(kept)
        if self._center_outputs is not None and self._center_outputs.shape[1] > 1:
            xp = array_namespace(self._theta)
            self._center_outputs = xp.take(self._center_outputs, asarray_like(kept, self._theta), axis=1)

    def _keep_every(self, step: int) -> None:
        wanted = [
            place
            for place, member in enumerate(self._members)
            if (one := member.settings).keep is Keep.EVERY and (step % one.every == 0 or step == one.steps)
        ]
        if wanted:
            rows = self._rows(self._theta)
            for place, head in zip(wanted, self._made(wanted, [rows] * len(wanted)), strict=True):
                self._heads[self._members[place].index].append((step, head.weight, head.bias))

    def _answers(self, places: Sequence[int] | range, step: int) -> dict[int, Trajectory]:
        """The answers of the trajectories at `places` after `step` steps."""
        last, kept, scores = self._rows(self._theta), self._rows(self._kept), self._scores.by_step()
        is_finite = to_host(array_namespace(last).all(array_namespace(last).isfinite(last), axis=1))
        heads = self._made(places, [kept if self._scores.keeps_best(place) else last for place in places])
        found: dict[int, Trajectory] = {}
        for place, head in zip(places, heads, strict=True):
            index, keeps_best = self._members[place].index, self._scores.keeps_best(place)
            own = slice(place * self._per_problem, (place + 1) * self._per_problem)
            ends = step, float(scores[place, -1]) if scores.shape[1] else math.nan
            reached, score = self._scores.best(place) if keeps_best else ends
            found[index] = Trajectory(
                weight=head.weight,
                bias=head.bias,
                step=reached,
                diverged=not bool(is_finite[own].all()),
                score=score,
                scores=scores[place],
                kept=tuple(self._heads.get(index, ())),
            )
        return found

    def _rows(self, theta: Array) -> Array:
        """All columns (S K, D + 1) as rows [V, c] of the space solved; a copy, because theta is written to."""
        xp = array_namespace(theta)
        return self._space.unfolded(xp.astype(_side_by_side(theta), xp.float64, copy=True))

    def _made(self, places: Sequence[int] | range, rows: Sequence[Array]) -> list[Head]:
        """Heads (C, D), (C,) of some trajectories on raw features, each from its own of the `rows` given."""
        width = self._per_problem
        own = [given[place * width : (place + 1) * width, :] for place, given in zip(places, rows, strict=True)]
        return self._preparation.heads([self._members[place].problem for place in places], own)


def _side_by_side(theta: Array) -> Array:
    """(W, S K) columns of all streams."""
    xp = array_namespace(theta)
    return (
        theta[0, :, :]
        if theta.shape[0] == 1
        else xp.concat([theta[stream, :, :] for stream in range(theta.shape[0])], axis=1)
    )


def _spread(places: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Positions of the columns of things that have `width` each."""
    return (places[:, None] * width + np.arange(width)).reshape(-1)
