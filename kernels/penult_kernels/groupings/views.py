"""What the components of a mixture say about a row: Gaussians of its points, categories of its soft labels.

A view has, of every component, a log-density that is theta (K, q) times statistics (t, q) of a tile of rows, or the
logarithm of such a product; so one product serves the components of all runs, and the sums that its parameters are
estimated from are responsibilities (K, t) times the same statistics. A Gaussian's statistics are 1, x and x^2, or all
x_i x_j: both of its terms of size |x|^2 / variance cancel, which is safe because points stand about their mean and a
variance is at least `floor`: the error is about eps |x|^2 / floor.

Shapes: n rows, t rows of a tile, K components of all runs, p features, C categories, q statistics.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.products import product

Covariance: TypeAlias = Literal["full", "diag"]


class View(Protocol):
    """One kind of evidence about rows; K components of it once it is estimated."""

    @property
    def rows(self) -> Array:
        """(n, ...) on the device."""
        ...

    def statistics(self, block: slice) -> Array:
        """(t, q) of consecutive rows; the first column need not be 1."""
        ...

    def estimated(self, sums: Array, count: Array) -> "View":
        """The view with its parameters, from the weighted sums (K, q) of its statistics and of the weights (K,)."""
        ...

    def log_density(self, statistics: Array) -> Array:
        """(K, t) times the view's weight."""
        ...

    def members(self, which: slice) -> "View":
        """The view of some components only."""
        ...

    def n_parameters(self, k: int) -> int:
        """Free parameters of k components."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaussianView:
    """Points, normally distributed in every component."""

    rows: Array
    """(n, p) float64."""
    center: Array
    """(p,) what is subtracted before anything is squared: the mean of the rows that are fitted."""
    covariance_type: Covariance
    floor: float = 1e-6
    """Added to every variance."""
    weight: float = 1.0
    """Multiplies the log-density."""
    mean: Array = None
    """(K, p) about the center."""
    covariance: Array = None
    """(K, p, p), or (K, p) variances."""
    theta: Array = None
    """(K, q) coefficients of the statistics."""

    def statistics(self, block: slice) -> Array:
        """[1, x, x_i x_j of i <= j] or [1, x, x^2]."""
        xp = array_namespace(self.rows)
        x = self.rows[block, :] - self.center
        ones = xp.ones((x.shape[0], 1), dtype=x.dtype, device=x.device)
        if self.covariance_type == "diag":
            return xp.concat([ones, x, x**2], axis=1)
        first, second = (asarray_like(index, x) for index in np.triu_indices(int(x.shape[1])))
        return xp.concat([ones, x, xp.take(x, first, axis=1) * xp.take(x, second, axis=1)], axis=1)

    def estimated(self, sums: Array, count: Array) -> "GaussianView":
        """Means and covariances (divisor: the sum of the responsibilities)."""
        xp = array_namespace(sums)
        p = int(self.rows.shape[1])
        mean = sums[:, 1 : p + 1] / count[:, None]
        squares = sums[:, p + 1 :] / count[:, None]
        if self.covariance_type == "diag":
            variance = squares - mean**2
            return self.with_parameters(mean, xp.maximum(variance, xp.zeros_like(variance)) + self.floor)
        place = np.zeros((p, p), np.int64)
        place[np.triu_indices(p)] = np.arange(squares.shape[1])
        place = np.triu(place) + np.triu(place, 1).T
        second = xp.reshape(xp.take(squares, asarray_like(place.reshape(-1), sums), axis=1), (-1, p, p))
        floor = self.floor * xp.eye(p, dtype=sums.dtype, device=sums.device)
        return self.with_parameters(mean, second - mean[:, :, None] * mean[:, None, :] + floor)

    def with_parameters(self, mean: Array, covariance: Array) -> "GaussianView":
        """With means about the center, and covariances that have the floor."""
        xp = array_namespace(mean)
        p = int(mean.shape[1])
        if self.covariance_type == "diag":
            log_det = xp.sum(xp.log(covariance), axis=1)
            linear, quadratic = mean / covariance, -0.5 / covariance
        else:
            factor = xp.linalg.cholesky(covariance)
            log_det = 2.0 * xp.sum(xp.log(xp.linalg.diagonal(factor)), axis=1)
            identity = xp.zeros_like(covariance) + xp.eye(p, dtype=mean.dtype, device=mean.device)
            inverse = xp.linalg.solve(factor, identity)
            precision = xp.matmul(xp.matrix_transpose(inverse), inverse)
            linear = xp.matmul(precision, mean[:, :, None])[:, :, 0]
            rows, columns = np.triu_indices(p)
            halves = asarray_like(np.where(rows == columns, -0.5, -1.0), mean)
            flat = xp.reshape(precision, (-1, p * p))
            quadratic = xp.take(flat, asarray_like(rows * p + columns, mean), axis=1) * halves
        constant = -0.5 * (xp.sum(mean * linear, axis=1) + log_det + p * math.log(2.0 * math.pi))
        theta = xp.concat([constant[:, None], linear, quadratic], axis=1)
        return replace(self, mean=mean, covariance=covariance, theta=self.weight * theta)

    def log_density(self, statistics: Array) -> Array:
        """(K, t) times the weight."""
        return product(self.theta, statistics.T)

    def members(self, which: slice) -> "GaussianView":
        """The view of some components only."""
        return replace(
            self, mean=self.mean[which, ...], covariance=self.covariance[which, ...], theta=self.theta[which, :]
        )

    def n_parameters(self, k: int) -> int:
        """Means and covariances."""
        p = int(self.rows.shape[1])
        return k * (p + (p if self.covariance_type == "diag" else p * (p + 1) // 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CategoricalView:
    """Soft labels, each marginalised: log of the sum over categories of label times the component's probability."""

    rows: Array
    """(n, C) float64, at least 0, rows of sum 1."""
    weight: float = 1.0
    """Multiplies the log-density."""
    probability: Array = None
    """(K, C)"""

    def statistics(self, block: slice) -> Array:
        """The labels themselves."""
        return self.rows[block, :]

    def estimated(self, sums: Array, count: Array) -> "CategoricalView":
        """Mean labels of each component."""
        return replace(self, probability=sums / count[:, None])

    def log_density(self, statistics: Array) -> Array:
        """(K, t) times the weight; a category that a component never has counts as one of probability eps."""
        xp = array_namespace(statistics)
        return self.weight * xp.log(product(self.probability, statistics.T) + float(xp.finfo(xp.float64).eps))

    def members(self, which: slice) -> "CategoricalView":
        """The view of some components only."""
        return replace(self, probability=self.probability[which, :])

    def n_parameters(self, k: int) -> int:
        """Probabilities that sum to 1."""
        return k * (int(self.rows.shape[1]) - 1)
