"""The scaling of every problem: given, or fitted to its rows, without the columns that its free bias takes up."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, to_host
from penult_kernels.linear.blocks.content_ids import ContentIds
from penult_kernels.linear.blocks.inputs import checked_rows
from penult_kernels.linear.blocks.scaling import Constants, Scaling, constant_columns, fitted_scaling, fitted_scalings
from penult_kernels.linear.problem import Intercept, Problem, Scaler, Standardize


class ProblemScalings:
    """Scalings of problems over the same features (N, D), each made once.

    Trajectories are followed in the space that is given, where a column that is constant moves with the bias; at an
    optimum it has no weight.
    """

    def __init__(self, features: Array, ids: ContentIds, check: Callable[[], None], *, for_trajectories: bool) -> None:
        self._features = features
        self._ids = ids
        self._check = check
        self._for_trajectories = for_trajectories
        self._made: dict[Hashable, Scaling] = {}
        self._of_problems: dict[Hashable, tuple[int, Scaling]] = {}
        self._constants: dict[int, Constants] = {}

    def fit_together(self, problems: Sequence[Problem]) -> None:
        """Standardise at once what many problems want standardised, each by its own rows."""
        wanted = {
            self._ids.of(problem.rows): rows
            for problem in problems
            if problem.standardize is Standardize.ROWS
            and (rows := checked_rows(problem.rows, self._features.shape[0])) is not None
        }
        if len(wanted) > 1:
            found = fitted_scalings(self._features, list(wanted.values()), self._check)
            self._made.update(zip(((Standardize.ROWS, rows_id) for rows_id in wanted), found, strict=True))

    def of(self, problem: Problem) -> tuple[int, Scaling]:
        """The scaling of a problem, and its number among all."""
        made_by, leaves_out = self._made_by(problem), self._takes_up_constants(problem)
        weight_id = self._ids.of(problem.weight) if leaves_out else None
        key = (made_by, leaves_out, self._ids.of(problem.rows), weight_id)
        if key not in self._of_problems:
            if made_by not in self._made:
                self._made[made_by] = self._make(problem.standardize, problem.rows)
            found = self._without_constants(problem, made_by) if leaves_out else made_by
            self._of_problems[key] = (self._ids.number(("scaling", found)), self._made[found])
        return self._of_problems[key]

    def taken_up(self, problem: Problem) -> tuple[NDArray[np.int64], Array]:
        """Columns (k,) that have one value on the rows of positive weight, which the free bias takes up, and it."""
        found = self._constants_of(problem) if self._takes_up_constants(problem) else None
        if found is None:
            return np.zeros(0, np.int64), None
        xp = array_namespace(found.values)
        at = beside(np.flatnonzero(found.is_exact), found.values)
        return found.columns[found.is_exact], xp.take(found.values, at, axis=0)

    def _takes_up_constants(self, problem: Problem) -> bool:
        return problem.intercept is Intercept.FREE and not self._for_trajectories

    def _made_by(self, problem: Problem) -> Hashable:
        """Equal for scalings that are made of the same."""
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
        """Leaves out the columns that the free bias takes up, of those that it cannot take up exactly after the solve.

        Those with one value on the rows can; they stay, since a scaling that many problems share lets them share their
        products. They are only left out where they have that value on all rows there are.
        """
        own = self._constants_of(problem)
        found = [] if problem.standardize is Standardize.ROWS else [_leaving(self._constant_everywhere())]
        if own is not None and not own.is_exact.all():
            found.append(_leaving(own, ~own.is_exact))
        columns = np.concatenate([one[0] for one in found]) if found else np.zeros(0, np.int64)
        if columns.size == 0:
            return made_by
        # Not by the values: of a column whose scale is infinite the mean changes nothing.
        key = (made_by, columns.tobytes())
        if key not in self._made:
            scaling = self._made[made_by]
            mean, scale = to_host(scaling.mean).copy(), to_host(scaling.scale).copy()
            mean[columns], scale[columns] = np.concatenate([one[1] for one in found]), np.inf
            self._made[key] = Scaling(beside(mean, self._features), beside(scale, self._features))
        return key

    def _constants_of(self, problem: Problem) -> Constants | None:
        """Columns that are constant on the rows of positive weight, but not on all rows there are.

        None where the scaling of these very rows has left them out.
        """
        rows, weight = problem.rows, problem.weight
        if weight is not None and not bool((weight > 0).all()):
            used = np.arange(self._features.shape[0], dtype=np.int64) if rows is None else rows
            rows = used[weight > 0]
        elif rows is None or problem.standardize is Standardize.ROWS:
            return None
        key = self._ids.of(rows)
        if key not in self._constants:
            everywhere = self._constant_everywhere().columns
            self._constants[key] = constant_columns(self._features, rows, self._check, known=everywhere)
        return self._constants[key]

    def _constant_everywhere(self) -> Constants:
        key = self._ids.of(None)
        if key not in self._constants:
            self._constants[key] = constant_columns(self._features, None, self._check)
        return self._constants[key]


def _leaving(
    found: Constants, which: NDArray[np.bool_] | slice = slice(None)
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Columns and their values, on the host."""
    return found.columns[which], to_host(found.values)[which]
