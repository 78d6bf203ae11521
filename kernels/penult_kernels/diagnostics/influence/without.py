"""Problems without some of their rows, for the real refits that an influence is held against."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.problem import Head, Problem, Scaler


def without(
    features: Array,
    y: Array,
    n_classes: int,
    problems: Sequence[Problem],
    optima: Sequence[Head],
    removed: NDArray[np.int64],
    *,
    is_mean: bool = True,
) -> list[Problem]:
    """The same problems without the rows at `removed`: same scaling, same weights of the others, started at the optima.

    With `is_mean` False the penalty keeps its size beside the sum of the weighted losses; else beside their mean.

    Raises
    ------
    ValueError
        When a problem has no other row of positive weight.
    """
    preparation = Preparation(features, y, n_classes)
    preparation.fit_scalings(problems)
    n, found = int(features.shape[0]), list[Problem]()
    for problem, optimum in zip(problems, optima, strict=True):
        rows = np.arange(n, dtype=np.int64) if problem.rows is None else problem.rows
        weight = np.ones(rows.size) if problem.weight is None else problem.weight
        is_kept = ~np.isin(rows, removed)
        if not weight[is_kept].sum() > 0:
            raise ValueError("nothing is left of the rows that were fitted: leave out fewer")
        penalty = 1.0 if is_mean else float(weight.sum() / weight[is_kept].sum())
        scaling = preparation.scaling(problem)
        found.append(
            replace(
                problem,
                rows=rows[is_kept],
                weight=weight[is_kept],
                l1=problem.l1 * penalty,
                l2=problem.l2 * penalty,
                standardize=Scaler(mean=scaling.mean, scale=scaling.scale),
                start=optimum,
            )
        )
    return found
