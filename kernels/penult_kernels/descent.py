"""The exact iterate path of early-stopped methods (AFR, SELF, classifier retraining), for many settings at once.

One step of gradient descent on F (see refit_problem) from theta_0, the problem's start:

    g = dF(theta_t)  [+ weight_decay * theta_t]        g <- g min(1, clip_norm / (|g| + 1e-6))
    GD, SGD   v_t = momentum v_{t-1} + g  (v_0 = g, as in torch),    theta_{t+1} = theta_t - learning_rate v_t
    ADAMW     theta_{t+1} = (1 - learning_rate weight_decay) theta_t - learning_rate m_hat / (sqrt(v_hat) + 1e-8)

The clip comes after the penalty's gradient and before weight decay, as torch's clip_grad_norm_ does. The l1
penalty enters by its subgradient, sign(V - V0) with sign(0) = 0. A minibatch of m rows estimates the loss by
(1/m) sum n s_i CE_i, whose mean is F's own when rows are drawn evenly.

Products with float32 features are float32, as in the training loops that are followed; with float64 ones float64.
Steps are those of the problem as it is solved: on standardised features where it is standardised, on
the bias too unless the intercept is NONE. A softmax of two classes moves its rows oppositely and is followed as one
column, which halves the work: with d = V_1 - V_0 the step in d is twice the row's, the norm of both rows sqrt(2) times
one's. Where that symmetry is broken (a start that is not symmetric, weight decay about a centre) both are kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside
from penult_kernels.refit_batch import Batch, make_batch, narrowed, row_space, starting_point
from penult_kernels.refit_blocks import Block, Preparation, Scaling
from penult_kernels.refit_problem import Link, Problem

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
CLIP_EPSILON = 1e-6
SYMMETRIC = 1e-12
"""Relative size of the mean of two rows below which they count as opposite."""


class Optimizer(StrEnum):
    """How a step follows the gradient."""

    GD = "gd"
    """All rows in every step."""
    SGD = "sgd"
    """Minibatches of `batch_size` rows."""
    ADAMW = "adamw"
    """Loshchilov & Hutter 2019 with torch's defaults; minibatches where there is a `batch_size`."""


class Keep(StrEnum):
    """Which iterates come back."""

    BEST = "best"
    """The first with the highest score."""
    LAST = "last"
    EVERY = "every"
    """Each `every`-th, and the last."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathSettings:
    """How one problem is descended."""

    optimizer: Optimizer = Optimizer.GD
    learning_rate: float
    steps: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    """torch's: added to the gradient for GD and SGD, decoupled for ADAMW; on all parameters."""
    clip_norm: float | None = None
    batch_size: int | None = None
    sampler: NDArray[np.float64] | None = None
    """Weight of each row used in draws with replacement; epochs of shuffled rows when left out."""
    keep: Keep = Keep.LAST
    every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be a positive finite number, got {self.learning_rate}")
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every must be at least 1, got {self.steps} and {self.every}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be a finite number of at least 0, got {self.weight_decay}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")
        if self.optimizer is Optimizer.GD and self.batch_size is not None:
            raise ValueError("gd uses all rows: leave batch_size out, or use sgd")
        if self.optimizer is Optimizer.SGD and self.batch_size is None:
            raise ValueError("sgd needs a batch_size; with all rows in every step it is gd")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathFit:
    """The iterates of one problem that were asked for; heads act on raw features."""

    weight: Array
    """(C, D) of the iterate kept: the best, or the last."""
    bias: Array
    """(C,)."""
    step: int
    """Steps taken when it was reached."""
    score: float
    """Of that iterate; NaN without a score."""
    scores: NDArray[np.float64]
    """(steps,) after every step; empty without a score."""
    kept: tuple[tuple[int, Array, Array], ...]
    """(step, weight, bias) of each, with Keep.EVERY."""


Score = Callable[[NDArray[np.int64], Array, Array], NDArray[np.float64]]
"""(positions (P,) of problems, weights (P, C, D), biases (P, C)) -> (P,) scores on the host, higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watch:
    """Rows whose logits are scored after every step: much cheaper than scoring heads, which must be unfolded first."""

    features: Array
    """(M, D)."""
    score: Callable[[NDArray[np.int64], Array], NDArray[np.float64]]
    """(positions (P,) of problems, logits (M, P, C)) -> (P,) scores on the host, higher is better."""


def descend(
    features: Array,
    y: Array | None,
    n_classes: int,
    problems: Sequence[Problem],
    settings: Sequence[PathSettings],
    *,
    score: Score | None = None,
    watch: Watch | None = None,
    check: Callable[[], None] | None = None,
) -> list[PathFit]:
    """Follow the path of every problem under its settings; equal rows and scaling share every product.

    Parameters
    ----------
    features, y, n_classes, problems
        As in `refit_engine.solve`; each problem's start is its centre, or zero, when left out.
    settings : sequence of PathSettings
        One per problem.
    score : callable, optional
        Scores the heads after every step, all problems that run together in one call; Keep.BEST needs it or `watch`.
    watch : Watch, optional
        Scores the logits of some rows instead.
    check : callable, optional
        Called before every step; what it raises ends the descent.

    Raises
    ------
    EmptyLabelError
        As in `solve`.
    ValueError
        When something is not as described, or a path leaves the finite numbers (lower the learning rate).
    """
    if len(settings) != len(problems):
        raise ValueError(f"every problem needs settings: {len(problems)} problems, {len(settings)} settings")
    if score is not None and watch is not None:
        raise ValueError("score heads or watched logits, not both")
    if score is None and watch is None and any(one.keep is Keep.BEST for one in settings):
        raise ValueError("keeping the best iterate needs a score")
    preparation = Preparation(features, y, n_classes, check=check)
    alike: dict[tuple[object, ...], list[tuple[int, list[Block]]]] = {}
    for index, (problem, one) in enumerate(zip(problems, settings, strict=True)):
        parts = list(preparation.blocks_of(index, problem, reduce=_is_symmetric(preparation, problem, one)))
        rows = None if problem.rows is None else problem.rows.tobytes()
        same = (rows, id(parts[0].scaling), parts[0].n_columns, len(parts), one.optimizer, one.batch_size, one.steps)
        alike.setdefault(same, []).append((index, parts))
    found: dict[int, PathFit] = {}
    for members in alike.values():
        run = _Run(preparation, problems, settings, members)
        found.update(run.follow(score, watch, check))
    return [found[index] for index in range(len(problems))]


def _is_symmetric(preparation: Preparation, problem: Problem, settings: PathSettings) -> bool:
    """Whether the two rows of a softmax of two classes stay opposite along the path."""
    if preparation.n_classes > 2 or problem.link is Link.OVR:
        return True
    if settings.weight_decay > 0 and problem.center is not None:
        return False
    xp = array_namespace(preparation.features)
    start = preparation.start(problem)
    if start is None:
        return True
    return float(xp.max(xp.abs(start[0, :] + start[1, :]))) <= SYMMETRIC * float(xp.max(xp.abs(start)))


class _Run:
    """Paths that share rows, scaling, optimiser, batch size and number of steps.

    Where there are fewer rows than columns and nothing but the rows has a say in the direction of a step, the path
    stays in the span of the rows, and is followed in an orthonormal basis of it: every norm stays as it is.
    """

    def __init__(
        self,
        preparation: Preparation,
        problems: Sequence[Problem],
        settings: Sequence[PathSettings],
        members: list[tuple[int, list[Block]]],
    ) -> None:
        self._preparation = preparation
        self._problems = problems
        self._indices = np.asarray([index for index, _ in members], np.int64)
        self._settings = [settings[index] for index, _ in members]
        self._n_parts = len(members[0][1])
        parts = [block for _, parts in members for block in parts]
        self._scaling = parts[0].scaling
        batch = make_batch(preparation.features, parts, dense=True)
        theta = batch.mask(starting_point(preparation.features, parts))
        self._decayed = self._centers(theta)
        self._basis = None if self._leaves_the_rows(parts, theta) else row_space(batch.dense)
        if self._basis is not None:
            batch = batch.turned(self._basis)
            theta = theta[:, :, -self._basis.shape[1] - 1 :] * 0.0
            self._decayed = theta
        self._batch, self._theta = _in_their_precision(batch), theta
        doubled = [
            2.0 if preparation.n_classes == 2 and problems[one.problem].link is Link.SOFTMAX and one.n_columns == 1
            else 1.0
            for one in parts
        ]  # fmt: skip
        self._doubled = self._numbers(doubled)
        self._learning_rate = self._per_block([one.learning_rate for one in self._settings])
        self._rate = self._learning_rate * self._doubled[:, None, None]
        self._decay = self._per_block([one.weight_decay for one in self._settings])
        self._momentum = self._per_block([one.momentum for one in self._settings])
        self._longest = self._numbers([math.inf if one.clip_norm is None else one.clip_norm for one in self._settings])
        self._decays = any(one.weight_decay > 0 for one in self._settings)
        self._has_l1 = any(one.l1 > 0 for one in parts)
        self._first: Array = None
        self._second: Array = None

    def _leaves_the_rows(self, parts: Sequence[Block], theta: Array) -> bool:
        """Whether steps may leave the span of the rows: by a start, a centre, or by looking at entries one by one."""
        xp = array_namespace(theta)
        return (
            self._settings[0].optimizer is Optimizer.ADAMW
            or any(one.l1 > 0 for one in parts)
            or bool(xp.any(theta != 0))
            or bool(xp.any(self._decayed != 0) and any(one.weight_decay > 0 for one in self._settings))
        )

    def follow(self, score: Score | None, watch: Watch | None, check: Callable[[], None] | None) -> dict[int, PathFit]:
        """Take all the steps."""
        xp = array_namespace(self._theta)
        watched = None if watch is None else _Watched(watch, self._scaling, self._basis, self._center_logits(watch))
        draws = [_Draws(one, int(self._batch.share.shape[0])) for one in self._settings]
        is_best = np.asarray([one.keep is Keep.BEST for one in self._settings])
        best = np.full(len(self._settings), -math.inf)
        reached = np.zeros(len(self._settings), np.int64)
        kept = self._theta
        scores: list[NDArray[np.float64]] = []
        heads: list[list[tuple[int, Array, Array]]] = [[] for _ in self._settings]
        n_steps = self._settings[0].steps
        for step in range(1, n_steps + 1):
            if check is not None:
                check()
            self._step(step, draws)
            if watched is not None:
                scores.append(watched.scores(self._indices, self._theta, self._n_parts))
            elif score is not None:
                scores.append(np.asarray(score(self._indices, *self._heads(self._theta)), np.float64))
            takes = ~is_best
            if scores:
                takes = takes | (scores[-1] > best)
                best = np.where(takes, scores[-1], best)
            reached[takes] = step
            of_blocks = beside(np.repeat(takes, self._n_parts)[:, None, None], self._theta)
            kept = self._theta if takes.all() else xp.where(of_blocks, self._theta, kept)
            self._keep_every(step, heads)
        self._check_finite()
        weight, bias = self._heads(kept)
        curves = np.stack(scores, axis=1) if scores else np.zeros((len(self._settings), 0))
        return {
            int(index): PathFit(
                weight=weight[place, :, :],
                bias=bias[place, :],
                step=int(reached[place]),
                score=float(best[place]) if scores else math.nan,
                scores=curves[place],
                kept=tuple(heads[place]),
            )
            for place, index in enumerate(self._indices)
        }

    def _keep_every(self, step: int, heads: list[list[tuple[int, Array, Array]]]) -> None:
        wanted = [
            place
            for place, one in enumerate(self._settings)
            if one.keep is Keep.EVERY and (step % one.every == 0 or step == one.steps)
        ]
        if wanted:
            weight, bias = self._heads(self._theta)
            for place in wanted:
                heads[place].append((step, weight[place, :, :], bias[place, :]))

    def _center_logits(self, watch: Watch) -> Array | None:
        """Logits (M, P, C) of the centres on the rows watched; None when there are none."""
        centers = [self._problems[int(index)].center for index in self._indices]
        if all(center is None for center in centers):
            return None
        xp = array_namespace(self._theta)
        dtype = xp.float32 if watch.features.dtype == xp.float32 else xp.float64
        z = xp.astype(watch.features, xp.float64)
        zero = xp.zeros((z.shape[0], self._preparation.n_classes), dtype=xp.float64, device=z.device)
        made = {id(center): zero if center is None else self._preparation.logits(z, center) for center in centers}
        if len(made) == 1:
            return xp.astype(made[id(centers[0])][:, None, :], dtype)
        return xp.astype(xp.stack([made[id(center)] for center in centers], axis=1), dtype)

    def _step(self, step: int, draws: Sequence["_Draws"]) -> None:
        """Move all problems once."""
        xp = array_namespace(self._theta)
        gradient = self._gradient(draws)
        gradient = gradient + self._batch.l2_weights(self._theta) * self._theta
        if self._has_l1:
            gradient = gradient + self._batch.l1_weights(self._theta) * xp.sign(self._theta)
        gradient = self._clipped(gradient)
        if self._settings[0].optimizer is Optimizer.ADAMW:
            moved = self._adam(gradient, step)
            shrunk = self._batch.mask(self._learning_rate * self._decay * (self._theta + self._decayed))
            self._theta = self._theta - shrunk - self._rate * moved
            return
        # In d = V_1 - V_0 a row's decay w V_1 reads w d / 2; the rate's factor 2 makes it w d again.
        if self._decays:
            halves = 1.0 / self._doubled[:, None, None]
            gradient = gradient + self._batch.mask(self._decay * halves * (self._theta + self._decayed))
        self._first = gradient if self._first is None else self._momentum * self._first + gradient
        self._theta = self._theta - self._rate * self._first

    def _gradient(self, draws: Sequence["_Draws"]) -> Array:
        """Of the loss alone, over all rows or over a batch of each problem's own."""
        batch = self._batch
        if self._settings[0].batch_size is None:
            return batch.loss_gradient(self._theta)
        drawn = [one.next() for one in draws]
        if all(np.array_equal(rows, drawn[0]) for rows in drawn[1:]):
            return batch.on_rows(drawn[0]).loss_gradient(self._theta)
        xp = array_namespace(self._theta)
        parts: list[Array] = []
        for place, rows in enumerate(drawn):
            own = np.arange(place * self._n_parts, (place + 1) * self._n_parts)
            theta = xp.take(self._theta, beside(own, self._theta), axis=0)
            parts.append(batch.take(own).on_rows(rows).loss_gradient(theta))
        return xp.concat(parts, axis=0)

    def _adam(self, gradient: Array, step: int) -> Array:
        xp = array_namespace(gradient)
        one, two = ADAM_BETAS
        zero = xp.zeros_like(gradient)
        self._first = one * (zero if self._first is None else self._first) + (1 - one) * gradient
        self._second = two * (zero if self._second is None else self._second) + (1 - two) * gradient**2
        root = xp.sqrt(self._second / (1 - two**step))
        return self._first / (1 - one**step) / (root + ADAM_EPSILON)

    def _clipped(self, gradient: Array) -> Array:
        """Gradients cut to each problem's largest norm, over all its classes together."""
        if all(one.clip_norm is None for one in self._settings):
            return gradient
        xp = array_namespace(gradient)
        squares = xp.sum(gradient * gradient, axis=(1, 2)) * self._doubled
        norms = xp.sqrt(xp.sum(xp.reshape(squares, (-1, self._n_parts)), axis=1))
        factor = xp.minimum(self._longest / (norms + CLIP_EPSILON), xp.ones_like(norms))
        return gradient * xp.repeat(factor, self._n_parts)[:, None, None]

    def _heads(self, theta: Array) -> tuple[Array, Array]:
        """Heads on raw features (P, C, D), (P, C)."""
        xp = array_namespace(theta)
        if self._basis is not None:
            theta = xp.concat([theta[:, :, :-1] @ self._basis.T, theta[:, :, -1:]], axis=2)
        stacked = xp.reshape(theta, (-1, theta.shape[1] * self._n_parts, theta.shape[2]))
        heads = [
            self._preparation.head(self._problems[int(index)], stacked[place, :, :])
            for place, index in enumerate(self._indices)
        ]
        return xp.stack([head.weight for head in heads]), xp.stack([head.bias for head in heads])

    def _centers(self, theta: Array) -> Array:
        """Centre of every block (B, q, D + 1), which weight decay sees and the penalty does not."""
        xp = array_namespace(theta)
        zero = xp.zeros_like(theta[0, :, :])
        found: list[Array] = []
        for index in self._indices:
            center = self._preparation.center(self._problems[int(index)])
            if center is None:
                found.extend([zero] * self._n_parts)
            elif theta.shape[1] == 1 and self._n_parts == 1:
                found.append(center[1:, :] - center[:1, :])
            elif self._n_parts == 1:
                found.append(center)
            else:
                found.extend(center[k : k + 1, :] for k in range(self._n_parts))
        return xp.stack(found)

    def _check_finite(self) -> None:
        xp = array_namespace(self._theta)
        if not bool(xp.all(xp.isfinite(self._theta))):
            raise ValueError("a descent left the finite numbers: lower learning_rate, or clip")

    def _per_block(self, values: list[float]) -> Array:
        """(B, 1, 1) one number of each problem for all its blocks."""
        return self._numbers([value for value in values for _ in range(self._n_parts)])[:, None, None]

    def _numbers(self, values: list[float]) -> Array:
        return beside(np.asarray(values, np.float64), self._theta)


def _in_their_precision(batch: Batch) -> Batch:
    """Products in float32 over float32 features, as a training loop on them has it; sums and heads stay float64."""
    return narrowed(batch) if batch.features.dtype == array_namespace(batch.share).float32 else batch


class _Watched:
    """Rows whose logits are scored, in the space where the paths are followed."""

    def __init__(self, watch: Watch, scaling: Scaling, basis: Array | None, center_logits: Array | None) -> None:
        xp = array_namespace(watch.features)
        z = (xp.astype(watch.features, xp.float64) - scaling.mean) / scaling.scale
        z = z if basis is None else z @ basis
        self._score = watch.score
        self._z = xp.astype(z, xp.float32) if watch.features.dtype == xp.float32 else z
        self._center_logits = center_logits

    def scores(self, problems: NDArray[np.int64], theta: Array, n_parts: int) -> NDArray[np.float64]:
        """(P,) scores of the heads at theta (P n_parts, q, D + 1)."""
        xp = array_namespace(theta)
        n_columns = theta.shape[1] * n_parts
        flat = xp.reshape(theta, (theta.shape[0] * theta.shape[1], theta.shape[2]))
        flat = xp.astype(flat, self._z.dtype)
        logits = xp.reshape(self._z @ flat[:, :-1].T + flat[:, -1], (self._z.shape[0], problems.size, n_columns))
        if n_columns == 1:
            # One column is the difference of two rows that move oppositely.
            logits = logits * xp.asarray([-0.5, 0.5], dtype=logits.dtype, device=logits.device)
        if self._center_logits is not None:
            logits = logits + self._center_logits
        return np.asarray(self._score(problems, logits), np.float64)


class _Draws:
    """Minibatches of row positions of one path: shuffled epochs, or drawn with replacement by the sampler."""

    def __init__(self, settings: PathSettings, n_rows: int) -> None:
        self._rng = np.random.default_rng(settings.seed)
        self._n_rows = n_rows
        self._size = settings.batch_size or n_rows
        self._left = np.zeros(0, np.int64)
        self._chances = None
        if settings.sampler is not None:
            sampler = np.asarray(settings.sampler, np.float64)
            if sampler.shape != (n_rows,) or not (
                np.isfinite(sampler).all() and (sampler >= 0).all() and sampler.any()
            ):
                raise ValueError(f"sampler must hold {n_rows} finite weights of at least 0, one per row used")
            self._chances = sampler / sampler.sum()

    def next(self) -> NDArray[np.int64]:
        """Positions of the next minibatch; the last of an epoch may be smaller."""
        if self._chances is not None:
            return self._rng.choice(self._n_rows, size=self._size, p=self._chances)
        if self._left.size == 0:
            self._left = self._rng.permutation(self._n_rows)
        batch, self._left = self._left[: self._size], self._left[self._size :]
        return batch
