"""Blocks, which the solvers minimise: made from checked problems, and made into heads again.

A block is one convex problem of q columns: q = 1 is a binary problem (a softmax of two classes with half
its l2, or one class against the rest), else q = C. The penalty's center becomes an offset of the logits, so
every block is penalised around zero. Blocks refer to arrays of all N rows and take their own rows when asked.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.linear.blocks.content_ids import ContentIds
from penult_kernels.linear.blocks.inputs import (
    check_features,
    check_head,
    checked_offset,
    distributions,
)
from penult_kernels.linear.blocks.scaling import Scaling
from penult_kernels.linear.blocks.scalings import ProblemScalings
from penult_kernels.linear.problem import Head, Intercept, Link, Problem
from penult_kernels.rows import ArrayRows, RowSource, is_source
from penult_kernels.sampling.balancing import EmptyLabelError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """One convex problem of q columns over n rows, penalised around zero."""

    problem: int
    """Position of the problem it belongs to."""
    rows: NDArray[np.int64] | None
    weight: NDArray[np.float64] | None
    full_target: NDArray[np.float64]
    """(N, q): distributions, or for q = 1 the probability of outcome 1."""
    full_offset: NDArray[np.float64] | None
    """(N, q)."""
    l1: float
    l2: float
    intercept: Intercept
    intercept_scale: float
    scaling: Scaling
    start: Array | None
    """(q, D + 1) [V, c] in the space solved, less the center."""
    rows_id: int
    """Equal for blocks of one call whose rows have equal contents."""
    weight_id: int
    """Equal for blocks of one call whose weights have equal contents."""
    target_id: int
    """Equal for blocks of one call whose targets have equal contents."""
    offset_id: int
    """Equal for blocks of one call whose offsets have equal contents."""
    scaling_id: int
    """Equal for blocks of one call whose scalings have equal contents."""
    place: int = 0
    """Position among all blocks of one call."""

    @property
    def bias_penalty(self) -> float:
        """The factor of c in the penalty: 1 / intercept_scale where the intercept is penalised, else 0."""
        return 1 / self.intercept_scale if self.intercept is Intercept.PENALIZED else 0.0

    @property
    def n_columns(self) -> int:
        """q."""
        return self.full_target.shape[1]

    @property
    def n_used(self) -> int:
        """n."""
        return self.full_target.shape[0] if self.rows is None else self.rows.size

    def used(self) -> NDArray[np.int64]:
        """(n,) positions of the rows, also if all rows are used."""
        return np.arange(self.n_used, dtype=np.int64) if self.rows is None else self.rows

    def sample_weight(self) -> NDArray[np.float64]:
        """(n,) s of the objective: the weights of the rows scaled to sum 1."""
        return np.full(self.n_used, 1.0 / self.n_used) if self.weight is None else self.weight / self.weight.sum()

    def target(self) -> NDArray[np.float64]:
        """(n, q) targets of the rows used."""
        return self.full_target if self.rows is None else self.full_target[self.rows]

    def offset(self) -> NDArray[np.float64]:
        """(n, q) offsets of the rows used; zeros without an offset."""
        if self.full_offset is None:
            return np.zeros(self.target().shape)
        return self.full_offset if self.rows is None else self.full_offset[self.rows]


def union(members: Sequence[Block]) -> NDArray[np.int64]:
    """Ascending positions of all rows that the blocks use."""
    distinct = {block.rows_id: block.used() for block in members}
    # A mark for each row: sorting what many draws use would take as long as a pass over the rows.
    is_used = np.zeros(max((int(rows.max()) + 1 for rows in distinct.values() if rows.size), default=0), np.bool_)
    for rows in distinct.values():
        is_used[rows] = True
    return np.flatnonzero(is_used)


class Preparation:
    """Makes blocks from problems, and heads from solved blocks; equal targets, scalings and centers are made once.

    `check` is called between tiles of rows, and may raise. `for_trajectories` keeps constant columns, see
    `ProblemScalings`.
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
        check = check if check is not None else _nothing
        check_features(features, check)
        self.features = features
        self.n_classes = n_classes
        self._y = y
        self._for_trajectories = for_trajectories
        self._ids = ContentIds()
        self._scalings = ProblemScalings(features, self._ids, check, for_trajectories=for_trajectories)
        self._targets: dict[int, NDArray[np.float64]] = {}
        self._offsets: dict[int, NDArray[np.float64] | None] = {}
        self._seen_offsets: dict[int, NDArray[np.float64]] = {}
        self._with_mass: set[tuple[int, int, int]] = set()

    def fit_scalings(self, problems: Sequence[Problem]) -> None:
        """Fit at once the scalings of all problems that are standardised by their own rows."""
        self._scalings.fit_together(problems)

    def blocks_of(self, index: int, problem: Problem, *, reduce: bool = True) -> Iterator[Block]:
        """Blocks of one problem, in the order of the classes; `reduce` makes a softmax of two classes binary.

        Raises ValueError for what is not as `Problem` says, EmptyLabelError when a free intercept has no minimum.
        """
        rows, weight = self._scalings.rows(problem), self._scalings.weight(problem)
        target_id, target = self._target(problem.target)
        if problem.intercept is Intercept.FREE and not self._for_trajectories:
            ids = (self._ids.of(problem.rows), self._ids.of(problem.weight), target_id)
            self._check_mass(ids, rows, weight, target)
        offset_id, offset = self._offset(problem)
        start = self.start(problem)
        scaling_id, scaling = self._scalings.of(problem)
        for columns, halves in self._columns(problem.link, reduce=reduce):
            seen = (columns.start, columns.stop, halves)
            own_offset_id = self._ids.number(("offset", None if offset is None else (offset_id, *seen)))
            yield Block(
                problem=index,
                rows=rows,
                weight=weight,
                full_target=target[:, columns],
                full_offset=None if offset is None else self._columns_of(own_offset_id, offset, columns, halves),
                l1=problem.l1,
                l2=problem.l2 / 2 if halves and problem.link is Link.SOFTMAX else problem.l2,
                intercept=problem.intercept,
                intercept_scale=problem.intercept_scale,
                scaling=scaling,
                start=None if start is None else _difference(start, columns, halves),
                rows_id=self._ids.of(rows),
                weight_id=self._ids.of(weight),
                target_id=self._ids.number(("target", target_id, columns.start, columns.stop)),
                offset_id=own_offset_id,
                scaling_id=scaling_id,
            )

    def heads(self, problems: Sequence[Problem], solved: Sequence[Array]) -> list[Head]:
        """Heads on raw features from the (M, D + 1) columns of all blocks of each problem."""
        alike: dict[Hashable, list[int]] = {}
        for place, problem in enumerate(problems):
            columns, values = self._scalings.taken_up(problem)
            key = (self._scalings.of(problem)[0], int(solved[place].shape[0]), columns.tobytes(), values.tobytes())
            alike.setdefault(key, []).append(place)
        found: dict[int, Head] = {}
        for places in alike.values():
            some = [problems[place] for place in places]
            found.update(zip(places, self._heads_alike(some, [solved[place] for place in places]), strict=True))
        return [found[place] for place in range(len(problems))]

    def _heads_alike(self, problems: Sequence[Problem], solved: Sequence[Array]) -> list[Head]:
        """The heads of problems with equal scalings and constant columns, computed together."""
        xp = array_namespace(solved[0])
        stack = xp.stack(list(solved))
        if stack.shape[1] == 1:
            stack = xp.concat([-0.5 * stack, 0.5 * stack], axis=1)
        scaling = self.scaling(problems[0])
        weight = stack[:, :, :-1] / (scaling.unit if self._for_trajectories else scaling.scale)
        bias = stack[:, :, -1] - weight @ scaling.mean
        columns, values = self._scalings.taken_up(problems[0])
        if columns.size:
            moved = xp.take(weight, asarray_like(columns, weight), axis=2)
            is_constant = asarray_like(np.isin(np.arange(int(weight.shape[2])), columns), weight)
            weight, bias = xp.where(is_constant, 0.0, weight), bias + moved @ asarray_like(values, weight)
        return [self._around_center(problem, weight[k, :, :], bias[k, :]) for k, problem in enumerate(problems)]

    def _around_center(self, problem: Problem, weight: Array, bias: Array) -> Head:
        if problem.center is not None:
            weight = weight + self._in_float64(problem.center.weight)
            bias = bias + self._in_float64(problem.center.bias)
        return Head(weight=weight, bias=bias)

    def scaling(self, problem: Problem) -> Scaling:
        """The scaling of a problem."""
        return self._scalings.of(problem)[1]

    def center_id(self, problem: Problem) -> int:
        """Equal for problems whose centers are equal."""
        center = problem.center
        key = None if center is None else (self._ids.of(center.weight), self._ids.of(center.bias))
        return self._ids.number(("center", key))

    def _columns(self, link: Link, *, reduce: bool) -> list[tuple[slice, bool]]:
        """Columns of each block's target, and whether they stand for the difference of two classes."""
        if link is Link.HINGE:
            if self._for_trajectories:
                raise ValueError("hinge losses are solved to the optimum: a trajectory has softmax or ovr")
            return [(slice(0, self.n_classes), False)]
        if self.n_classes == 2 and (reduce or link is Link.OVR):
            return [(slice(1, 2), True)]
        if link is Link.SOFTMAX:
            return [(slice(0, self.n_classes), False)]
        return [(slice(k, k + 1), False) for k in range(self.n_classes)]

    def _target(self, target: Array | None) -> tuple[int, NDArray[np.float64]]:
        """The content id of the (N, C) distributions, and these."""
        given = self._y if target is None else target
        if given is None:
            raise ValueError("a problem needs a target, its own or the shared y")
        key = self._ids.of(given)
        if key not in self._targets:
            self._targets[key] = distributions(given, self.features.shape[0], self.n_classes)
        return key, self._targets[key]

    def _check_mass(
        self,
        key: tuple[int, int, int],
        rows: NDArray[np.int64] | None,
        weight: NDArray[np.float64] | None,
        target: NDArray[np.float64],
    ) -> None:
        """Without a row of positive weight the optimal free bias of a class is minus infinity.

        `key` is the content ids of rows, weight and target, which are looked at once.
        """
        if key in self._with_mass:
            return
        used = target if rows is None else target[rows]
        mass = used.sum(axis=0) if weight is None else weight @ used
        if not bool((mass > 0).all()):
            raise EmptyLabelError(int(np.argmin(mass)), self.n_classes)
        self._with_mass.add(key)

    def _offset(self, problem: Problem) -> tuple[int, NDArray[np.float64] | None]:
        """The content id of a block's offset, and (N, C): the problem's own plus the logits of its center."""
        key = self._ids.number(("logits", self._ids.of(problem.offset), self.center_id(problem)))
        if key not in self._offsets:
            self._offsets[key] = self._make_offset(problem)
        return key, self._offsets[key]

    def _make_offset(self, problem: Problem) -> NDArray[np.float64] | None:
        shape = (self.features.shape[0], self.n_classes)
        total = None if problem.offset is None else checked_offset(problem.offset, shape)
        if problem.center is not None:
            self._check_head(problem.center, "center")
            logits = to_host(self.logits(self.features, problem.center))
            total = logits if total is None else total + logits
        return total

    def _columns_of(self, key: int, offset: NDArray[np.float64], columns: slice, halves: bool) -> NDArray[np.float64]:
        """Columns of an offset (N, C) for one block; one array for all blocks with the same."""
        if key not in self._seen_offsets:
            self._seen_offsets[key] = _difference(offset.T, columns, halves).T
        return self._seen_offsets[key]

    def logits(self, rows: Array | RowSource, head: Head) -> Array:
        """Logits (M, C) of a head on rows (M, D) of features."""
        source = rows if is_source(rows) else ArrayRows(rows)
        xp = array_namespace(source.like)
        weight, bias = self._in_float64(head.weight), self._in_float64(head.bias)
        tiles = blocks(source.shape[0], budget.of(source.like).rows_per_tile)
        return xp.concat([xp.astype(source.block(tile), xp.float64) @ weight.T + bias for tile in tiles], axis=0)

    def start(self, problem: Problem) -> Array | None:
        """[V, c] (C, D + 1) to start from in the space solved, less the center."""
        if problem.start is None:
            return None
        self._check_head(problem.start, "start")
        start = self._unfolded(problem.start, self.scaling(problem))
        center = self.center(problem)
        return start if center is None else start - center

    def center(self, problem: Problem) -> Array | None:
        """The center [V0, c0] (C, D + 1) in the space solved."""
        if problem.center is None:
            return None
        self._check_head(problem.center, "center")
        return self._unfolded(problem.center, self.scaling(problem))

    def _unfolded(self, head: Head, scaling: Scaling) -> Array:
        xp = array_namespace(self.features)
        weight, bias = self._in_float64(head.weight), self._in_float64(head.bias)
        return xp.concat([weight * scaling.unit, (bias + weight @ scaling.mean)[:, None]], axis=1)

    def _check_head(self, head: Head, name: str) -> None:
        check_head(head, name, (self.n_classes, int(self.features.shape[1])))

    def _in_float64(self, values: Array) -> Array:
        """`values` in float64 on the device of the features."""
        xp = array_namespace(self.features)
        return xp.asarray(values, dtype=xp.float64, device=self.features.device)


def _difference(values: Array, columns: slice, halves: bool) -> Array:
    """Rows `columns` of (C, ...) values, less those of the other class where a block stands for a difference."""
    return values[1:2, ...] - values[0:1, ...] if halves else values[columns, ...]


def _nothing() -> None:
    return
