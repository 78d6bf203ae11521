"""From problems to blocks: what the solvers work on, checked, in the space solved, and back to heads.

A block is one convex problem of q columns: q = 1 is a binary problem (a softmax of two classes with half
its l2, or one class against the rest), else q = C. The penalty's centre becomes an offset of the logits, so
every block is penalised around zero. Blocks refer to what problems share and cut their rows out when asked.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, beside, blocks, host_labels, to_host
from penult_kernels.refit_problem import Head, Intercept, Link, Problem, Scaler, Standardize
from penult_kernels.row_scaling import (
    Constants,
    Scaling,
    constant_columns,
    fitted_scaling,
    fitted_scalings,
)
from penult_kernels.selection import EmptyLabelError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """One convex problem of q columns over n rows, penalised around zero."""

    problem: int
    """Position of the problem it belongs to."""
    rows: NDArray[np.int64] | None
    weight: NDArray[np.float64] | None
    full_target: NDArray[np.float64]
    """(N, q): distributions, or for q = 1 the probability of the one."""
    full_offset: NDArray[np.float64] | None
    """(N, q)."""
    l1: float
    l2: float
    intercept: Intercept
    intercept_scale: float
    scaling: Scaling
    start: Array | None
    """(q, D + 1) [V, c] in the space solved, less the centre."""
    sources: tuple[object, object]
    """What the target and the offset were taken from; equal for equal ones."""

    @property
    def n_columns(self) -> int:
        """q."""
        return self.full_target.shape[1]

    @property
    def n_used(self) -> int:
        """n."""
        return self.full_target.shape[0] if self.rows is None else self.rows.size

    @property
    def rows_key(self) -> bytes | None:
        """Equal for equal rows."""
        return None if self.rows is None else self.rows.tobytes()

    def used(self) -> NDArray[np.int64]:
        """(n,) the rows, also where it is all of them."""
        return np.arange(self.n_used, dtype=np.int64) if self.rows is None else self.rows

    def share(self) -> NDArray[np.float64]:
        """(n,) weights, sum 1."""
        return np.full(self.n_used, 1.0 / self.n_used) if self.weight is None else self.weight / self.weight.sum()

    def target(self) -> NDArray[np.float64]:
        """(n, q) of the rows used."""
        return self.full_target if self.rows is None else self.full_target[self.rows]

    def offset(self) -> NDArray[np.float64]:
        """(n, q) of the rows used; zeros when there is none."""
        if self.full_offset is None:
            return np.zeros(self.target().shape)
        return self.full_offset if self.rows is None else self.full_offset[self.rows]


class Preparation:
    """Turns problems into blocks and heads back; what problems share (targets, scalings, centres) is made once.

    `check` is called between tiles of rows, and may raise. Trajectories are followed in the space that is given, where
    a column that is constant moves with the bias; at an optimum it has no weight.
    """

    def __init__(
        self,
        features: Array,
        y: Array | None,
        n_classes: int,
        *,
        check: Callable[[], None] | None = None,
        for_trajectories: bool = False,
    ) -> None:
        if n_classes < 2:
            raise ValueError(f"n_classes must be at least 2, got {n_classes}")
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(f"features must be (N, D) with at least one row and column, got shape {features.shape}")
        self._check = check if check is not None else _nothing
        _check_finite(features, self._check)
        self.features = features
        self.n_classes = n_classes
        self._y = y
        self._targets: dict[int, NDArray[np.float64]] = {}
        self._offsets: dict[tuple[int, int], NDArray[np.float64] | None] = {}
        self._seen_offsets: dict[tuple[int, int, bool], NDArray[np.float64]] = {}
        self._scalings: dict[tuple[str, object], Scaling] = {}
        self._for_trajectories = for_trajectories
        self._of_problem: dict[int, tuple[Problem, Scaling]] = {}
        self._constants: dict[bytes | None, Constants] = {}

    def fit_scalings(self, problems: Sequence[Problem]) -> None:
        """Standardise at once what many problems want standardised, each by its own rows."""
        wanted = {
            rows.tobytes(): rows
            for rows in (
                _checked_rows(problem.rows, self.features.shape[0])
                for problem in problems
                if problem.standardize is Standardize.ROWS
            )
            if rows is not None
        }
        if len(wanted) > 1:
            found = fitted_scalings(self.features, list(wanted.values()), self._check)
            self._scalings.update(zip((("rows", key) for key in wanted), found, strict=True))

    def blocks_of(self, index: int, problem: Problem, *, reduce: bool = True) -> Iterator[Block]:
        """Blocks of one problem, in the order of the classes; `reduce` makes a softmax of two classes binary.

        Raises ValueError for what is not as `Problem` says, EmptyLabelError when a free intercept has no minimum.
        """
        n_rows, _ = self.features.shape
        rows = _checked_rows(problem.rows, n_rows)
        weight = _checked_weight(problem.weight, n_rows if rows is None else rows.size)
        target = self._target(problem.target)
        self._check_mass(problem, rows, weight, target)
        offset = self._offset(problem)
        start = self.start(problem)
        for columns, halves in self._columns(problem.link, reduce=reduce):
            one_offset = None if offset is None else self._columns_of(offset, columns, halves=halves)
            yield Block(
                sources=((id(target), columns.start), id(one_offset)),
                problem=index,
                rows=rows,
                weight=weight,
                full_target=target[:, columns],
                full_offset=one_offset,
                l1=problem.l1,
                l2=problem.l2 / 2 if halves and problem.link is Link.SOFTMAX else problem.l2,
                intercept=problem.intercept,
                intercept_scale=problem.intercept_scale,
                scaling=self.scaling(problem),
                start=None if start is None else _difference(start, columns, halves),
            )

    def head(self, problem: Problem, solved: Array) -> Head:
        """Head on raw features from the (M, D + 1) columns of all blocks of a problem."""
        xp = array_namespace(solved)
        if solved.shape[0] == 1:
            solved = xp.concat([-0.5 * solved, 0.5 * solved], axis=0)
        scaling = self.scaling(problem)
        weight = solved[:, :-1] / (scaling.unit if self._for_trajectories else scaling.scale)
        bias = solved[:, -1] - weight @ scaling.mean
        if problem.intercept is Intercept.FREE and not self._for_trajectories:
            weight, bias = self._without_constants(problem, weight, bias)
        if problem.center is not None:
            weight = weight + self._wide(problem.center.weight)
            bias = bias + self._wide(problem.center.bias)
        return Head(weight=weight, bias=bias)

    def _without_constants(self, problem: Problem, weight: Array, bias: Array) -> tuple[Array, Array]:
        """A column that has one value on the rows of positive weight is taken up by the free bias, exactly."""
        found = self._constants_of(problem)
        if found is None or not found.is_exact.any():
            return weight, bias
        columns, values = found.columns[found.is_exact], found.values
        xp = array_namespace(weight)
        values = xp.take(values, beside(np.flatnonzero(found.is_exact), weight), axis=0)
        moved = xp.take(weight, beside(columns, weight), axis=1)
        at = np.zeros(int(weight.shape[1]), np.bool_)
        at[columns] = True
        is_constant = beside(at, weight)
        return xp.where(is_constant, 0.0, weight), bias + moved @ values

    def _constants_of(self, problem: Problem) -> Constants | None:
        """Columns that are constant on the rows of positive weight, but not on all rows there are.

        None where the scaling of these very rows has left them out.
        """
        rows, weight = problem.rows, problem.weight
        if weight is not None and not bool((weight > 0).all()):
            used = np.arange(self.features.shape[0], dtype=np.int64) if rows is None else rows
            rows = used[weight > 0]
        elif rows is None or problem.standardize is Standardize.ROWS:
            return None
        key = rows.tobytes()
        if key not in self._constants:
            everywhere = self._constant_everywhere().columns
            self._constants[key] = constant_columns(self.features, rows, self._check, known=everywhere)
        return self._constants[key]

    def _constant_everywhere(self) -> Constants:
        if None not in self._constants:
            self._constants[None] = constant_columns(self.features, None, self._check)
        return self._constants[None]

    def scaling(self, problem: Problem) -> Scaling:
        """The scaling of a problem; equal ones are one object."""
        if id(problem) not in self._of_problem:
            # The problem is kept, so that no other takes its place.
            self._of_problem[id(problem)] = (problem, self._find_scaling(problem))
        return self._of_problem[id(problem)][1]

    def _find_scaling(self, problem: Problem) -> Scaling:
        wanted = problem.standardize
        is_own = wanted is Standardize.ROWS
        key = ("rows", None if problem.rows is None else problem.rows.tobytes()) if is_own else ("given", id(wanted))
        if key not in self._scalings:
            self._scalings[key] = self._make_scaling(wanted, problem.rows)
        if problem.intercept is not Intercept.FREE or self._for_trajectories:
            return self._scalings[key]
        return self._leaving_out_constants(problem, key)

    def _leaving_out_constants(self, problem: Problem, key: tuple[str, object]) -> Scaling:
        """Without the columns that the free bias takes up, of those that it cannot take up exactly after the solve.

        Those with one value on the rows can; they stay, since a scaling that many problems share lets them share their
        products. They are only left out where they have that value on all rows there are.
        """
        own = self._constants_of(problem)
        found = [] if key[0] == "rows" else [self._leaving(self._constant_everywhere())]
        if own is not None and not own.is_exact.all():
            found.append(self._leaving(own, ~own.is_exact))
        columns = np.concatenate([one[0] for one in found]) if found else np.zeros(0, np.int64)
        scaling = self._scalings[key]
        if columns.size == 0:
            return scaling
        own_key = (f"{key[0]} without {columns.tobytes().hex()}", key[1])
        if own_key not in self._scalings:
            mean, scale = to_host(scaling.mean).copy(), to_host(scaling.scale).copy()
            mean[columns], scale[columns] = np.concatenate([one[1] for one in found]), np.inf
            self._scalings[own_key] = Scaling(beside(mean, self.features), beside(scale, self.features))
        return self._scalings[own_key]

    @staticmethod
    def _leaving(
        found: Constants, which: NDArray[np.bool_] | slice = slice(None)
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns and their values, on the host."""
        return found.columns[which], to_host(found.values)[which]

    def _columns(self, link: Link, *, reduce: bool) -> list[tuple[slice, bool]]:
        """Columns of each block's target, and whether they stand for the difference of two classes."""
        if self.n_classes == 2 and (reduce or link is Link.OVR):
            return [(slice(1, 2), True)]
        if link is Link.SOFTMAX:
            return [(slice(0, self.n_classes), False)]
        return [(slice(k, k + 1), False) for k in range(self.n_classes)]

    def _target(self, target: Array | None) -> NDArray[np.float64]:
        given = self._y if target is None else target
        if given is None:
            raise ValueError("a problem needs a target, its own or the shared y")
        if id(given) not in self._targets:
            self._targets[id(given)] = _distributions(given, self.features.shape[0], self.n_classes)
        return self._targets[id(given)]

    def _check_mass(
        self,
        problem: Problem,
        rows: NDArray[np.int64] | None,
        weight: NDArray[np.float64] | None,
        target: NDArray[np.float64],
    ) -> None:
        """Without a row of positive weight the free bias of a class would fall for ever."""
        if problem.intercept is not Intercept.FREE or self._for_trajectories:
            return
        used = target if rows is None else target[rows]
        mass = used.sum(axis=0) if weight is None else weight @ used
        if not bool((mass > 0).all()):
            raise EmptyLabelError(int(np.argmin(mass)), self.n_classes)

    def _offset(self, problem: Problem) -> NDArray[np.float64] | None:
        """(N, C) logits to start from: the problem's own offset and those of its centre."""
        key = (id(problem.offset), id(problem.center))
        if key not in self._offsets:
            self._offsets[key] = self._make_offset(problem)
        return self._offsets[key]

    def _make_offset(self, problem: Problem) -> NDArray[np.float64] | None:
        shape = (self.features.shape[0], self.n_classes)
        total = None
        if problem.offset is not None:
            total = to_host(problem.offset).astype(np.float64)
            if total.shape != shape or not bool(np.isfinite(total).all()):
                raise ValueError(f"offset must be finite and of shape {shape}, got shape {total.shape}")
        if problem.center is not None:
            self._check_head(problem.center, "center")
            logits = to_host(self.logits(self.features, problem.center))
            total = logits if total is None else total + logits
        return total

    def _columns_of(self, offset: NDArray[np.float64], columns: slice, *, halves: bool) -> NDArray[np.float64]:
        """Columns of an offset (N, C) that a block sees, one array for all blocks that see the same."""
        key = (id(offset), columns.start, halves)
        if key not in self._seen_offsets:
            self._seen_offsets[key] = _difference(offset.T, columns, halves).T
        return self._seen_offsets[key]

    def logits(self, rows: Array, head: Head) -> Array:
        """Logits (M, C) of a head on rows (M, D) of features."""
        xp = array_namespace(rows)
        weight, bias = self._wide(head.weight), self._wide(head.bias)
        tiles = blocks(rows.shape[0], budget.DEFAULT.rows_per_tile)
        return xp.concat([xp.astype(rows[tile, :], xp.float64) @ weight.T + bias for tile in tiles], axis=0)

    def start(self, problem: Problem) -> Array | None:
        """[V, c] (C, D + 1) to start from in the space solved, less the centre."""
        if problem.start is None:
            return None
        self._check_head(problem.start, "start")
        start = self._unfolded(problem.start, self.scaling(problem))
        center = self.center(problem)
        return start if center is None else start - center

    def center(self, problem: Problem) -> Array | None:
        """The centre [V0, c0] (C, D + 1) in the space solved."""
        if problem.center is None:
            return None
        self._check_head(problem.center, "center")
        return self._unfolded(problem.center, self.scaling(problem))

    def _unfolded(self, head: Head, scaling: Scaling) -> Array:
        xp = array_namespace(self.features)
        weight, bias = self._wide(head.weight), self._wide(head.bias)
        return xp.concat([weight * scaling.unit, (bias + weight @ scaling.mean)[:, None]], axis=1)

    def _check_head(self, head: Head, name: str) -> None:
        expected = (self.n_classes, self.features.shape[1])
        if tuple(head.weight.shape) != expected or tuple(head.bias.shape) != expected[:1]:
            raise ValueError(f"{name} must be {expected} with bias {expected[:1]}, got {tuple(head.weight.shape)}")
        for part in (head.weight, head.bias):
            if not bool(np.isfinite(to_host(part)).all()):
                raise ValueError(f"{name} holds NaN or infinity; a head must be finite")

    def _make_scaling(self, wanted: Standardize | Scaler, rows: NDArray[np.int64] | None) -> Scaling:
        xp = array_namespace(self.features)
        n_features = self.features.shape[1]
        if isinstance(wanted, Scaler):
            mean, scale = self._wide(wanted.mean), self._wide(wanted.scale)
            if mean.shape != (n_features,) or scale.shape != (n_features,):
                raise ValueError(f"a scaler needs mean and scale of shape ({n_features},), got {mean.shape}")
            if not bool(xp.all(xp.isfinite(mean) & (scale > 0))):
                raise ValueError("a scaler needs finite means and positive scales")
            return Scaling(mean, scale)
        if wanted is Standardize.ROWS:
            return fitted_scaling(self.features, rows, self._check)
        zero = xp.zeros((n_features,), dtype=xp.float64, device=self.features.device)
        return Scaling(zero, zero + 1.0)

    def _wide(self, values: Array) -> Array:
        """`values` in float64 beside the features."""
        xp = array_namespace(self.features)
        return xp.asarray(values, dtype=xp.float64, device=self.features.device)


def _difference(values: Array, columns: slice, halves: bool) -> Array:
    """Rows `columns` of (C, ...) values, less those of the other class where a block stands for a difference."""
    return values[1:2, ...] - values[0:1, ...] if halves else values[columns, ...]


def _nothing() -> None:
    return


def _check_finite(features: Array, check: Callable[[], None]) -> None:
    xp = array_namespace(features)
    for tile in blocks(features.shape[0], budget.DEFAULT.rows_per_tile):
        check()
        if not bool(xp.all(xp.isfinite(features[tile, :]))):
            raise ValueError("features must be finite, got NaN or infinity: look at how the features were made")


def _checked_rows(rows: NDArray[np.int64] | None, n_rows: int) -> NDArray[np.int64] | None:
    if rows is None:
        return None
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(f"rows must be at least one whole number, got shape {rows.shape} of {rows.dtype}")
    if rows[0] < 0 or rows[-1] >= n_rows or bool((np.diff(rows) <= 0).any()):
        raise ValueError(f"rows must be ascending positions in 0 ... {n_rows - 1} without repeats")
    return rows.astype(np.int64, copy=False)


def _checked_weight(weight: NDArray[np.float64] | None, n_used: int) -> NDArray[np.float64] | None:
    if weight is None:
        return None
    found = to_host(weight).astype(np.float64, copy=False)
    if found.shape != (n_used,):
        raise ValueError(f"weight must have one entry per row used, shape ({n_used},), got {found.shape}")
    total = float(found.sum())
    if not (math.isfinite(total) and total > 0 and found.min() >= 0):
        raise ValueError("weight must hold finite numbers of at least 0 with a positive sum")
    return found


def _distributions(target: Array, n_rows: int, n_classes: int) -> NDArray[np.float64]:
    """(N, C) distributions from classes (N,) or soft targets (N, C)."""
    found = to_host(target)
    if found.ndim == 1:
        labels = host_labels(found, n_rows, n_classes, name="y or target")
        return (labels[:, None] == np.arange(n_classes)).astype(np.float64)
    if found.shape != (n_rows, n_classes):
        raise ValueError(f"target must be ({n_rows},) classes or ({n_rows}, {n_classes}) soft, got {found.shape}")
    soft = found.astype(np.float64)
    if not (bool((soft >= 0).all()) and bool((np.abs(soft.sum(axis=1) - 1.0) <= 1e-6).all())):
        raise ValueError("every row of a soft target must be at least 0 and sum to 1")
    return soft / soft.sum(axis=1, keepdims=True)
