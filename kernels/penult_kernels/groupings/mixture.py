"""Mixtures by expectation maximisation: of Gaussians, and of Gaussians and categories together.

    maximise over pi, phi      mean_i log sum_s pi_s prod_v p_v(x_iv | phi_sv)^w_v

over components s and views v (`views.py`) with weights w: one Gaussian view is the Gaussian mixture; Gaussians with
the labels and predictions as categories are Domino's mixture (Eyuboglu et al. 2022, eq. 2), with weights g and ghat;
with the predicted probabilities as a second Gaussian it is that of FACTS (Yenamandra et al. 2023). With a weight
other than 0 or 1 this is no longer the ascent of a likelihood; what it stops by is the same.

Many runs go in step: their components stand below each other, (K, q), and a pass over the rows holds nothing of more
than a tile. Each run alone: a step M from responsibilities, then E and M by turns until the mean log-density changed
by less than the tolerance.

Shapes: n rows, K components of all R runs, k of one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import Array, asarray_like, blocks, to_host
from penult_kernels.groupings.views import View
from penult_kernels.products import product


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """k components, with their parameters in the views."""

    weight: Array
    """(k,) of sum 1."""
    views: tuple[Any, ...]
    """`GaussianView` or `CategoricalView`, each with k components."""
    bound: float = math.nan
    """Mean log-density of the rows before the last step."""
    n_iterations: int = 0
    converged: bool = False

    @property
    def k(self) -> int:
        """Components."""
        return int(self.weight.shape[0])


def fit_mixtures(
    views: Sequence[View],
    starts: Sequence[NDArray[Any]],
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    check: Callable[[], None] | None = None,
) -> list[Mixture]:
    """A mixture from every start, all in step; in the order of the starts.

    Parameters
    ----------
    views : sequence of View
        Of the same rows, without parameters.
    starts : sequence of arrays of shape (n, k)
        Responsibilities on the host, rows of sum 1: of hard clusters or soft.
    tolerance : float
        A run has converged when its mean log-density changed by less.
    check : callable, optional
        Called before every pass; what it raises ends the fit (cancellation).
    """
    found = [Mixture(weight=weight, views=now) for weight, now in _first_step(views, starts)]
    going = list(range(len(starts)))
    for iteration in range(1, max_iterations + 1):
        if not going:
            break
        if check is not None:
            check()
        bounds, stepped = _step(views, [found[run] for run in going])
        ended: list[int] = []
        for run, bound, (weight, now) in zip(going, bounds, stepped, strict=True):
            converged = abs(bound - found[run].bound) < tolerance
            found[run] = Mixture(weight=weight, views=now, bound=bound, n_iterations=iteration, converged=converged)
            if converged:
                ended.append(run)
        going = [run for run in going if run not in ended]
    return found


def best_of(runs: Sequence[Mixture]) -> Mixture:
    """The run of the largest bound, the first of equals."""
    return max(runs, key=lambda run: run.bound)


def responsibilities(mixture: Mixture, views: Sequence[View]) -> NDArray[np.float64]:
    """(n, k) how likely each row belongs to each component, on the host.

    `views` hold the rows, which may be others than those fitted; the parameters are the mixture's.
    """
    found: list[NDArray[np.float64]] = []
    for block in _blocks(views):
        statistics = [view.statistics(block) for view in views]
        log_joint = _log_joint([mixture], statistics)
        found.append(to_host(_normalised(log_joint, [slice(0, mixture.k)])[0]).T)
    return np.concatenate(found)


def log_density(mixture: Mixture, views: Sequence[View]) -> float:
    """Mean over the rows of log sum_s pi_s prod_v p_v^w_v."""
    total = 0.0
    for block in _blocks(views):
        log_joint = _log_joint([mixture], [view.statistics(block) for view in views])
        total += float(_normalised(log_joint, [slice(0, mixture.k)])[1][0])
    return total / int(views[0].rows.shape[0])


def bic(mixture: Mixture, views: Sequence[View]) -> float:
    """Bayesian information criterion of a fit to the rows of the views: lower is better."""
    n = int(views[0].rows.shape[0])
    parameters = mixture.k - 1 + sum(view.n_parameters(mixture.k) for view in views)
    return -2.0 * n * log_density(mixture, views) + parameters * math.log(n)


def hard(labels: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Responsibilities (n, k) of labels (n,)."""
    return np.eye(k, dtype=np.bool_)[labels]


def _blocks(views: Sequence[View]) -> list[slice]:
    return list(blocks(int(views[0].rows.shape[0]), budget.of(views[0].rows).rows_per_tile))


def _first_step(views: Sequence[View], starts: Sequence[NDArray[Any]]) -> list[tuple[Array, tuple[View, ...]]]:
    """Parameters from the responsibilities that runs start with."""
    sums = _Sums(views, [int(start.shape[1]) for start in starts])
    for block in _blocks(views):
        shares = asarray_like(np.concatenate([start[block].T for start in starts]).astype(np.float64), views[0].rows)
        sums.add(shares, [view.statistics(block) for view in views])
    return sums.parameters()


def _step(views: Sequence[View], runs: Sequence[Mixture]) -> tuple[list[float], list[tuple[Array, tuple[View, ...]]]]:
    """The mean log-densities of the runs, and their parameters after steps E and M."""
    sums = _Sums(views, [run.k for run in runs])
    bounds = np.zeros(len(runs))
    for block in _blocks(views):
        statistics = [view.statistics(block) for view in views]
        shares, log_density = _normalised(_log_joint(runs, statistics), sums.members)
        bounds += to_host(log_density)
        sums.add(shares, statistics)
    return (bounds / int(views[0].rows.shape[0])).tolist(), sums.parameters()


def _log_joint(runs: Sequence[Mixture], statistics: Sequence[Array]) -> Array:
    """(K, t) log pi_s + sum_v w_v log p_v."""
    xp = array_namespace(statistics[0])
    log_weight = xp.log(xp.concat([run.weight for run in runs]))[:, None]
    total = log_weight
    for place, of_view in enumerate(statistics):
        total = total + xp.concat([run.views[place].log_density(of_view) for run in runs], axis=0)
    return total


def _normalised(log_joint: Array, members: Sequence[slice]) -> tuple[Array, Array]:
    """Responsibilities (K, t), and the sum over the rows of the log-densities (R,)."""
    xp = array_namespace(log_joint)
    shares: list[Array] = []
    bounds: list[Array] = []
    for of_run in members:
        own = log_joint[of_run, :]
        largest = xp.max(own, axis=0)
        shifted = xp.exp(own - largest[None, :])
        total = xp.sum(shifted, axis=0)
        shares.append(shifted / total[None, :])
        bounds.append(xp.sum(largest + xp.log(total)))
    return xp.concat(shares, axis=0), xp.stack(bounds)


class _Sums:
    """Weighted sums of the statistics of all views, over the components of all runs."""

    def __init__(self, views: Sequence[View], sizes: Sequence[int]) -> None:
        ends = np.cumsum(sizes).tolist()
        self.members = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        self._views = views
        self._n = int(views[0].rows.shape[0])
        self._count: Array = None
        self._sums: list[Array] = []

    def add(self, shares: Array, statistics: Sequence[Array]) -> None:
        """Take in a tile: responsibilities (K, t) and the statistics (t, q) of each view."""
        xp = array_namespace(shares)
        count = xp.sum(shares, axis=1)
        sums = [product(shares, of_view) for of_view in statistics]
        self._count = count if self._count is None else self._count + count
        self._sums = sums if not self._sums else [a + b for a, b in zip(self._sums, sums, strict=True)]

    def parameters(self) -> list[tuple[Array, tuple[View, ...]]]:
        """The weights of the components of each run, and its views with their parameters."""
        xp = array_namespace(self._count)
        # A component that has lost its rows keeps a finite mean.
        count = self._count + 10.0 * float(xp.finfo(xp.float64).eps)
        views = [view.estimated(sums, count) for view, sums in zip(self._views, self._sums, strict=True)]
        return [
            (count[of_run] / xp.sum(count[of_run]), tuple(view.members(of_run) for view in views))
            for of_run in self.members
        ]
