"""The scaling of every problem: given, or fitted to its rows, without constant columns that a free bias replaces."""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.linear.blocks.constants import Constants, constant_columns
from penult_kernels.linear.blocks.content_ids import ContentIds
from penult_kernels.linear.blocks.inputs import checked_rows, checked_weight
from penult_kernels.linear.blocks.scaling import Scaling, fitted_scaling, fitted_scalings
from penult_kernels.linear.problem import Intercept, Problem, Scaler, Standardize


class ProblemScalings:
    """Scalings of problems over the same features (N, D), each made once.

    For trajectories constant columns stay: descent moves their weights together with the bias. At an optimum, where the
    bias is free, a constant column has no weight.
    """

    def __init__(self, features: Array, ids: ContentIds, check: Callable[[], None], *, for_trajectories: bool) -> None:
        self._features = features
        self._ids = ids
        self._check = check
        self._for_trajectories = for_trajectories
        self._made: dict[Hashable, Scaling] = {}
        self._of_problems: dict[Hashable, tuple[int, Scaling]] = {}
        self._constants: dict[int, Constants] = {}
        self._rows: dict[int, NDArray[np.int64] | None] = {}
        self._weights: dict[tuple[int, int], NDArray[np.float64] | None] = {}

    def rows(self, problem: Problem) -> NDArray[np.int64] | None:
        """Positions (n,) of a problem's rows, None for all rows; equal ones are checked once."""
        key = self._ids.of(problem.rows)
        if key not in self._rows:
            self._rows[key] = checked_rows(problem.rows, self._features.shape[0])
        return self._rows[key]

    def weight(self, problem: Problem) -> NDArray[np.float64] | None:
        """Weights (n,) of a problem's rows, None for equal ones; equal arrays are checked once."""
        rows = self.rows(problem)
        n_used = int(self._features.shape[0]) if rows is None else rows.size
        key = (self._ids.of(problem.weight), n_used)
        if key not in self._weights:
            self._weights[key] = checked_weight(problem.weight, n_used)
        return self._weights[key]

    def fit_together(self, problems: Sequence[Problem]) -> None:
        """Fit at once the scalings of problems that are standardised by their own rows; find all constant columns."""
        wanted = {
            self._ids.of(problem.rows): rows
            for problem in problems
            if problem.standardize is Standardize.ROWS and (rows := self.rows(problem)) is not None
        }
        if len(wanted) > 1:
            found = fitted_scalings(self._features, list(wanted.values()), self._check)
            self._made.update(zip(((Standardize.ROWS, rows_id) for rows_id in wanted), found, strict=True))
        with_constants: dict[int, NDArray[np.int64]] = {}
        for problem in problems:
            rows = self._rows_with_constants(problem) if self._takes_up_constants(problem) else None
            if rows is not None:
                with_constants.setdefault(self._ids.of(rows), rows)
        self._find_constants(with_constants)

    def of(self, problem: Problem) -> tuple[int, Scaling]:
        """The content id of a problem's scaling, and the scaling."""
        made_by, leaves_out = self._made_by(problem), self._takes_up_constants(problem)
        weight_id = self._ids.of(problem.weight) if leaves_out else None
        key = (made_by, leaves_out, self._ids.of(problem.rows), weight_id)
        if key not in self._of_problems:
            if made_by not in self._made:
                self._made[made_by] = self._make(problem.standardize, problem.rows)
            found = self._without_constants(problem, made_by) if leaves_out else made_by
            self._of_problems[key] = (self._ids.number(("scaling", found)), self._made[found])
        return self._of_problems[key]

    def taken_up(self, problem: Problem) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns (k,) with one value on all rows of positive weight, which a free bias replaces, and these values."""
        found = self._constants_of(problem) if self._takes_up_constants(problem) else None
        if found is None:
            return np.zeros(0, np.int64), np.zeros(0)
        return found.columns[found.is_exact], found.values[found.is_exact]

    def _takes_up_constants(self, problem: Problem) -> bool:
        return problem.intercept is Intercept.FREE and not self._for_trajectories

    def _made_by(self, problem: Problem) -> Hashable:
        """A key that is equal for scalings made from equal arrays."""
        wanted = problem.standardize
        if isinstance(wanted, Scaler):
            return ("given", self._ids.of(wanted.mean), self._ids.of(wanted.scale))
        return (wanted, self._ids.of(problem.rows) if wanted is Standardize.ROWS else None)

    def _make(self, wanted: Standardize | Scaler, rows: NDArray[np.int64] | None) -> Scaling:
        xp = array_namespace(self._features)
        n_features, device = self._features.shape[1], self._features.device
        if isinstance(wanted, Scaler):
            mean, scale = (xp.asarray(part, dtype=xp.float64, device=device) for part in (wanted.mean, wanted.scale))
            if mean.shape != (n_features,) or scale.shape != (n_features,):
                raise ValueError(f"a scaler needs mean and scale of shape ({n_features},), got {mean.shape}")
            if not bool(xp.all(xp.isfinite(mean) & (scale > 0))):
                raise ValueError("a scaler needs finite means and positive scales")
            return Scaling(mean, scale)
        if wanted is Standardize.ROWS:
            return fitted_scaling(self._features, rows, self._check)
        zero = xp.zeros((n_features,), dtype=xp.float64, device=device)
        return Scaling(zero, zero + 1.0)

    def _without_constants(self, problem: Problem, made_by: Hashable) -> Hashable:
        """Key of the scaling without the constant columns that the free bias cannot replace exactly after the solve.

        It can replace columns with exactly one value on the problem's rows. These stay, because problems with one
        scaling share their products, unless they have that value on all N rows.
        """
        own = self._constants_of(problem)
        found = [] if problem.standardize is Standardize.ROWS else [_leaving(self._constant_everywhere())]
        if own is not None and not own.is_exact.all():
            found.append(_leaving(own, ~own.is_exact))
        columns = np.concatenate([one[0] for one in found]) if found else np.zeros(0, np.int64)
        if columns.size == 0:
            return made_by
        # Without the values: where the scale is infinite the mean has no effect.
        key = (made_by, columns.tobytes())
        if key not in self._made:
            scaling = self._made[made_by]
            mean, scale = to_host(scaling.mean).copy(), to_host(scaling.scale).copy()
            mean[columns], scale[columns] = np.concatenate([one[1] for one in found]), np.inf
            self._made[key] = Scaling(asarray_like(mean, self._features), asarray_like(scale, self._features))
        return key

    def _constants_of(self, problem: Problem) -> Constants | None:
        """Columns that are constant on the rows of positive weight, but not on all N rows.

        None if the problem's own scaling has left them out already.
        """
        rows = self._rows_with_constants(problem)
        if rows is None:
            return None
        key = self._ids.of(rows)
        self._find_constants({key: rows})
        return self._constants[key]

    def _rows_with_constants(self, problem: Problem) -> NDArray[np.int64] | None:
        """The rows of positive weight, where they may have constant columns that the problem's scaling has not left
        out."""
        rows, weight = self.rows(problem), self.weight(problem)
        if weight is not None and not bool((weight > 0).all()):
            used = np.arange(self._features.shape[0], dtype=np.int64) if rows is None else rows
            return used[weight > 0]
        return None if problem.standardize is Standardize.ROWS else rows

    def _find_constants(self, sets: Mapping[int, NDArray[np.int64]]) -> None:
        """Find the constant columns of sets of rows, by their content ids, that have not been looked at."""
        new = {key: rows for key, rows in sets.items() if key not in self._constants}
        if new:
            everywhere = self._constant_everywhere().columns
            found = constant_columns(self._features, list(new.values()), self._check, known=everywhere)
            self._constants.update(zip(new, found, strict=True))

    def _constant_everywhere(self) -> Constants:
        key = self._ids.of(None)
        if key not in self._constants:
            (self._constants[key],) = constant_columns(self._features, [None], self._check)
        return self._constants[key]


def _leaving(
    found: Constants, which: NDArray[np.bool_] | slice = slice(None)
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Columns and their values, on the host."""
    return found.columns[which], found.values[which]
