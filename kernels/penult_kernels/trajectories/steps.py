"""One step of descent for many trajectories at once: penalties, clipping, decay, momentum or Adam.

Parameters are theta (S, W, K): S streams of minibatches, W - 1 features and a bias, K columns of the problems of a
stream, those of one problem next to each other. Arrays with a number for each column are (S, 1, K).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.problem import Intercept
from penult_kernels.trajectories.settings import Optimizer, TrajectorySettings

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
CLIP_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnNumbers:
    """Settings of each column: host arrays (S, 1, K)."""

    learning_rate: NDArray[np.float64]
    decay: NDArray[np.float64]
    momentum: NDArray[np.float64]
    longest: NDArray[np.float64]
    """Largest norm of the gradient of the whole problem; infinite for none."""
    normalized: NDArray[np.float64]
    """1 where the gradient of the whole problem is divided by its norm, else 0."""
    doubled: NDArray[np.float64]
    """2 where the column is the difference of two rows that move oppositely, else 1."""
    l1: NDArray[np.float64]
    l2: NDArray[np.float64]
    bias_penalty: NDArray[np.float64]
    """1 / intercept_scale where the intercept is penalised, else 0: the factor of c in the penalty."""
    is_fitted: NDArray[np.float64]
    """1 where the bias is fitted, else 0."""

    def take(self, streams: NDArray[np.int64], columns: NDArray[np.int64]) -> "ColumnNumbers":
        """The settings of some streams and columns."""
        return ColumnNumbers(**{one.name: getattr(self, one.name)[streams][:, :, columns] for one in fields(self)})


def column_numbers(
    parts: Sequence[Block], settings: Sequence[TrajectorySettings], doubled: Sequence[float], n_streams: int
) -> ColumnNumbers:
    """The settings of the columns, from the blocks of all problems (equally many each) and the problems' settings."""
    per_problem = len(parts) // len(settings)
    of_blocks = [one for one in settings for _ in range(per_problem)]

    def numbers(values: Sequence[float]) -> NDArray[np.float64]:
        return np.repeat(np.asarray(values, np.float64), parts[0].n_columns).reshape(n_streams, 1, -1)

    return ColumnNumbers(
        learning_rate=numbers([one.learning_rate for one in of_blocks]),
        decay=numbers([one.weight_decay for one in of_blocks]),
        momentum=numbers([one.momentum for one in of_blocks]),
        longest=numbers([math.inf if one.clip_norm is None else one.clip_norm for one in of_blocks]),
        normalized=numbers([float(one.normalize) for one in of_blocks]),
        doubled=numbers(doubled),
        l1=numbers([block.l1 for block in parts]),
        l2=numbers([block.l2 for block in parts]),
        bias_penalty=numbers([block.bias_penalty for block in parts]),
        is_fitted=numbers([float(block.intercept is not Intercept.NONE) for block in parts]),
    )


class Stepper:
    """Moves theta by the gradient of the loss; keeps the momentum of every trajectory.

    Parameters
    ----------
    numbers : ColumnNumbers
    optimizer : Optimizer
    per_problem : int
        Columns of a problem, over which its gradient is clipped.
    center : array (S, W, K), optional
        The centers, which weight decay adds to theta; the penalties are around theta = 0.
    """

    def __init__(
        self, numbers: ColumnNumbers, optimizer: Optimizer, per_problem: int, center: Array, like: Array
    ) -> None:
        self._numbers = numbers
        self._optimizer = optimizer
        self._per_problem = per_problem
        self._center = center
        self._first: Array = None
        self._second: Array = None
        self._steps = 0
        self._place(like)

    def _place(self, like: Array) -> None:
        """Copy the settings to the device of the parameters, and see which operations are needed."""
        numbers = self._numbers
        self._is_any = {one.name: bool(np.any(getattr(numbers, one.name) != 0)) for one in fields(numbers)}
        self._clips = bool(np.isfinite(numbers.longest).any()) or self._is_any["normalized"]
        self._moves_all = bool(np.all(numbers.is_fitted == 1))
        self._bias_differs = bool(np.any(numbers.bias_penalty != 1))
        xp = array_namespace(like)

        def placed(values: NDArray[np.float64]) -> Array:
            return xp.astype(asarray_like(values, like), like.dtype)

        self._device = {one.name: placed(getattr(numbers, one.name)) for one in fields(numbers)}
        self._rate = placed(numbers.learning_rate * numbers.doubled)

    def keep(self, streams: NDArray[np.int64], columns: NDArray[np.int64], like: Array) -> None:
        """Keep some streams and, of these, some columns."""
        self._numbers = self._numbers.take(streams, columns)
        self._center, self._first, self._second = (
            None if values is None else taken(values, streams, columns)
            for values in (self._center, self._first, self._second)
        )
        self._place(like)

    def step(self, theta: Array, gradient: Array, rate_factor: float = 1.0) -> Array:
        """theta after a step at `rate_factor` times the learning rates; both arrays are written to."""
        self._steps += 1
        self._add_penalties(gradient, theta)
        if not self._moves_all:
            gradient[:, -1:, :] *= self._device["is_fitted"]
        factor = self._clipping(gradient) if self._clips else 1.0
        if self._optimizer is Optimizer.ADAMW:
            gradient *= factor
            gradient = self._adam(gradient, theta, rate_factor)
            factor = 1.0
        elif self._is_any["decay"] or self._is_any["momentum"]:
            gradient *= factor
            gradient = self._follow(gradient, theta)
            factor = 1.0
        theta -= gradient * (self._rate * rate_factor * factor)
        return theta

    def _add_penalties(self, gradient: Array, theta: Array) -> None:
        xp = array_namespace(theta)
        for name, power in (("l2", 2), ("l1", 1)):
            if not self._is_any[name]:
                continue
            subgradient = theta if name == "l2" else xp.sign(theta)
            gradient += self._device[name] * subgradient
            if self._bias_differs:
                extra = self._device["bias_penalty"] ** power - 1.0
                gradient[:, -1:, :] += self._device[name] * extra * subgradient[:, -1:, :]

    def _clipping(self, gradient: Array) -> Array:
        """(S, 1, K) factors that cut each problem's gradient, over all its columns, to its largest norm, or make it 1.

        A gradient of 0 stays 0.
        """
        xp = array_namespace(gradient)
        norm = self._scaled_norms(gradient) if self._is_any["normalized"] else self._norms(gradient)
        factor = self._device["longest"] / (norm + CLIP_EPSILON)
        factor = xp.minimum(factor, xp.ones_like(factor))
        if not self._is_any["normalized"]:
            return factor
        # The reciprocal of a smaller norm overflows: rows are then separated beyond what this type can tell.
        least = 1e-37 if gradient.dtype == xp.float32 else 1e-307
        whole = 1.0 / xp.where(norm > least, norm, xp.ones_like(norm))
        return xp.where(self._device["normalized"] > 0, whole, factor)

    def _norms(self, gradient: Array) -> Array:
        """(S, 1, K) each problem's norm, for each of its columns."""
        xp = array_namespace(gradient)
        squares = xp.sum(gradient * gradient, axis=1, keepdims=True) * self._device["doubled"]
        return xp.sqrt(self._of_problems(squares, xp.sum))

    def _scaled_norms(self, gradient: Array) -> Array:
        """`_norms` of gradients that fall like exp(-margin), as of separated rows: their squares would underflow."""
        xp = array_namespace(gradient)
        largest = self._of_problems(xp.max(xp.abs(gradient), axis=1, keepdims=True), xp.max)
        return self._norms(gradient / xp.where(largest > 0, largest, xp.ones_like(largest))) * largest

    def _of_problems(self, values: Array, reduce: Callable[..., Array]) -> Array:
        """(S, 1, K) values of columns, reduced over those of each problem."""
        if self._per_problem == 1:
            return values
        xp = array_namespace(values)
        of_problems = reduce(xp.reshape(values, (values.shape[0], 1, -1, self._per_problem)), axis=3)
        return xp.repeat(of_problems, self._per_problem, axis=2)

    def _follow(self, gradient: Array, theta: Array) -> Array:
        if self._is_any["decay"]:
            # In d = V_1 - V_0 a row's decay w V_1 reads w d / 2; the rate's factor 2 makes it w d again.
            gradient += self._decay(theta) / self._device["doubled"]
        if not self._is_any["momentum"]:
            return gradient
        self._first = gradient if self._first is None else self._device["momentum"] * self._first + gradient
        return self._first

    def _adam(self, gradient: Array, theta: Array, rate_factor: float) -> Array:
        xp = array_namespace(gradient)
        one, two = ADAM_BETAS
        zero = xp.zeros_like(gradient)
        self._first = one * (zero if self._first is None else self._first) + (1 - one) * gradient
        self._second = two * (zero if self._second is None else self._second) + (1 - two) * gradient**2
        if self._is_any["decay"]:
            theta -= self._device["learning_rate"] * rate_factor * self._decay(theta)
        root = xp.sqrt(self._second / (1 - two**self._steps))
        return self._first / (1 - one**self._steps) / (root + ADAM_EPSILON)

    def _decay(self, theta: Array) -> Array:
        decayed = self._device["decay"] * (theta if self._center is None else theta + self._center)
        decayed[:, -1:, :] *= self._device["is_fitted"]
        return decayed


def taken(values: Array, streams: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
    """Some streams and columns of (S, W, K)."""
    xp = array_namespace(values)
    return xp.take(xp.take(values, asarray_like(streams, values), axis=0), asarray_like(columns, values), axis=2)
