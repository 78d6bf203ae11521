"""The exact iterate path of early-stopped methods (AFR, SELF, classifier retraining), for many settings at once.

One step of gradient descent on F (see refit_problem) from theta_0, the problem's start:

    g = dF(theta_t)  [+ weight_decay * theta_t]        g <- g min(1, clip_norm / (|g| + 1e-6))
    GD, SGD   v_t = momentum v_{t-1} + g  (v_0 = g, as in torch),    theta_{t+1} = theta_t - learning_rate v_t
    ADAMW     theta_{t+1} = (1 - learning_rate weight_decay) theta_t - learning_rate m_hat / (sqrt(v_hat) + 1e-8)

The clip comes after the penalty's gradient and before weight decay, as torch's clip_grad_norm_ does. The l1
penalty enters by its subgradient, sign(V - V0) with sign(0) = 0. A minibatch of m rows estimates the loss by
(1/m) sum n s_i CE_i, whose mean is F's own when rows are drawn evenly.

Steps are those of the problem as it is solved: on standardised features where it is standardised, on
the bias too unless the intercept is NONE. A softmax of two classes moves its rows oppositely and is followed as one
column, which halves the work: with d = V_1 - V_0 the step in d is twice the row's, the norm of both rows sqrt(2) times
one's. Where that symmetry is broken (a start that is not symmetric, weight decay about a centre) both are kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside
from penult_kernels.refit_batch import make_batch, starting_point
from penult_kernels.refit_blocks import Block, Preparation
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


def descend(
    features: Array,
    y: Array | None,
    n_classes: int,
    problems: Sequence[Problem],
    settings: Sequence[PathSettings],
    *,
    score: Score | None = None,
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
        Scores the heads after every step, all problems that run together in one call; needed by Keep.BEST.
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
    if score is None and any(one.keep is Keep.BEST for one in settings):
        raise ValueError("keeping the best iterate needs a score")
    preparation = Preparation(features, y, n_classes)
    alike: dict[tuple[object, ...], list[tuple[int, list[Block]]]] = {}
    for index, (problem, one) in enumerate(zip(problems, settings, strict=True)):
        parts = list(preparation.blocks_of(index, problem, reduce=_is_symmetric(preparation, problem, one)))
        rows = None if problem.rows is None else problem.rows.tobytes()
        same = (rows, id(parts[0].scaling), parts[0].n_columns, len(parts), one.optimizer, one.batch_size, one.steps)
        alike.setdefault(same, []).append((index, parts))
    found: dict[int, PathFit] = {}
    for members in alike.values():
        run = _Run(preparation, problems, settings, members)
        found.update(run.follow(score, check))
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
    """Paths that share rows, scaling, optimiser, batch size and number of steps."""

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
        blocks = [block for _, parts in members for block in parts]
        self._batch = make_batch(preparation.features, blocks, dense=True)
        self._theta = self._batch.mask(starting_point(preparation.features, blocks))
        self._doubled = [
            2.0 if preparation.n_classes == 2 and problems[block.problem].link is Link.SOFTMAX and block.n_columns == 1
            else 1.0
            for block in blocks
        ]  # fmt: skip
        self._decayed = self._centers()
        self._first: Array = None
        self._second: Array = None

    def follow(self, score: Score | None, check: Callable[[], None] | None) -> dict[int, PathFit]:
        """Take all the steps."""
        scores: list[NDArray[np.float64]] = []
        keeping = [_Kept() for _ in self._settings]
        draws = [_Draws(one, int(self._batch.share.shape[0])) for one in self._settings]
        n_steps = self._settings[0].steps
        for step in range(1, n_steps + 1):
            if check is not None:
                check()
            self._step(step, draws)
            wanted = [one.keep is Keep.EVERY and step % one.every == 0 for one in self._settings]
            if score is None and step < n_steps and not any(wanted):
                continue
            weight, bias = self._heads()
            if score is not None:
                scores.append(np.asarray(score(self._indices, weight, bias), np.float64))
            for place, (kept, one) in enumerate(zip(keeping, self._settings, strict=True)):
                now = float(scores[-1][place]) if score is not None else math.nan
                is_best = one.keep is Keep.BEST and (kept.step == 0 or now > kept.score)
                if is_best or (one.keep is not Keep.BEST and step == n_steps):
                    kept.step, kept.score = step, now
                    kept.weight, kept.bias = weight[place, :, :], bias[place, :]
                if wanted[place] or (one.keep is Keep.EVERY and step == n_steps):
                    kept.heads.append((step, weight[place, :, :], bias[place, :]))
        self._check_finite()
        curves = np.stack(scores, axis=1) if scores else np.zeros((len(keeping), 0))
        return {
            int(index): PathFit(
                weight=kept.weight,
                bias=kept.bias,
                step=kept.step,
                score=kept.score,
                scores=curves[place],
                kept=tuple(kept.heads),
            )
            for place, (index, kept) in enumerate(zip(self._indices, keeping, strict=True))
        }

    def _step(self, step: int, draws: Sequence["_Draws"]) -> None:
        """Move all problems once."""
        xp = array_namespace(self._theta)
        gradient = self._gradient(draws)
        gradient = gradient + self._batch.l2_weights(self._theta) * self._theta
        gradient = gradient + self._batch.l1_weights(self._theta) * xp.sign(self._theta)
        gradient = self._clipped(gradient)
        rate = self._per_block([one.learning_rate for one in self._settings]) * self._numbers(self._doubled)
        decay = self._per_block([one.weight_decay for one in self._settings])
        optimizer = self._settings[0].optimizer
        rate, decay = rate[:, None, None], decay[:, None, None]
        if optimizer is Optimizer.ADAMW:
            moved = self._adam(gradient, step)
            shrunk = self._per_block([one.learning_rate for one in self._settings])[:, None, None] * decay
            self._theta = self._theta - shrunk * (self._theta + self._decayed) - rate * moved
            return
        # In d = V_1 - V_0 a row's decay w V_1 reads w d / 2; the rate's factor 2 makes it w d again.
        halves = 1.0 / self._numbers(self._doubled)[:, None, None]
        gradient = gradient + self._batch.mask(decay * halves * (self._theta + self._decayed))
        momentum = self._per_block([one.momentum for one in self._settings])[:, None, None]
        self._first = gradient if self._first is None else momentum * self._first + gradient
        self._theta = self._theta - rate * self._first

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
        squares = xp.sum(gradient * gradient, axis=(1, 2)) * self._numbers(self._doubled)
        norms = xp.sqrt(xp.sum(xp.reshape(squares, (-1, self._n_parts)), axis=1))
        longest = self._numbers([math.inf if one.clip_norm is None else one.clip_norm for one in self._settings])
        factor = xp.minimum(longest / (norms + CLIP_EPSILON), xp.ones_like(norms))
        return gradient * xp.repeat(factor, self._n_parts)[:, None, None]

    def _heads(self) -> tuple[Array, Array]:
        """Heads on raw features (P, C, D), (P, C)."""
        xp = array_namespace(self._theta)
        n_columns = self._theta.shape[1] * self._n_parts
        stacked = xp.reshape(self._theta, (-1, n_columns, self._theta.shape[2]))
        heads = [
            self._preparation.head(self._problems[int(index)], stacked[place, :, :])
            for place, index in enumerate(self._indices)
        ]
        return xp.stack([head.weight for head in heads]), xp.stack([head.bias for head in heads])

    def _centers(self) -> Array:
        """Centre of every block (B, q, D + 1), which weight decay sees and the penalty does not."""
        xp = array_namespace(self._theta)
        zero = xp.zeros_like(self._theta[0, :, :])
        found: list[Array] = []
        for index in self._indices:
            center = self._preparation.center(self._problems[int(index)])
            if center is None:
                found.extend([zero] * self._n_parts)
            elif self._theta.shape[1] == 1 and self._n_parts == 1:
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
        return self._numbers([value for value in values for _ in range(self._n_parts)])

    def _numbers(self, values: list[float]) -> Array:
        return beside(np.asarray(values, np.float64), self._theta)


@dataclass(slots=True, eq=False)
class _Kept:
    """What a path has kept so far."""

    step: int = 0
    score: float = math.nan
    weight: Array = None
    bias: Array = None
    heads: list[tuple[int, Array, Array]] = field(default_factory=list[tuple[int, Array, Array]])


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
