"""Problems without some of their rows, for the real refits that an influence is held against."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.influence.fitted import Fitted
from penult_kernels.linear.problem import Problem, Scaler


def without(fitted: Fitted, removed: NDArray[np.int64], places: Sequence[int] | None = None) -> list[Problem]:
    """The problems, or those at `places`, without the rows at `removed`: same scaling, same weights of the others,
    started at the optima.

    Raises
    ------
    ValueError
        When a problem has no other row of positive weight.
    """
    found = list[Problem]()
    for place in range(len(fitted.problems)) if places is None else places:
        problem, rows = fitted.problems[place], fitted.rows(place)
        weight = np.ones(rows.size) if problem.weight is None else problem.weight
        is_kept = ~np.isin(rows, removed)
        if not weight[is_kept].sum() > 0:
            raise ValueError("nothing is left of the rows that were fitted: leave out fewer")
        # Where the penalty stands beside the sum of the losses, it keeps its size.
        penalty = 1.0 if fitted.is_mean else float(weight.sum() / weight[is_kept].sum())
        scaling = fitted.preparation.scaling(problem)
        found.append(
            replace(
                problem,
                rows=rows[is_kept],
                weight=weight[is_kept],
                l1=problem.l1 * penalty,
                l2=problem.l2 * penalty,
                standardize=Scaler(mean=scaling.mean, scale=scaling.scale),
                start=fitted.optima[place],
            )
        )
    return found
