"""A head of a hidden value that goes with the class here, and otherwise elsewhere (after Han & Zou 2024, GIC).

With p_v(z) the head's softmax over V values, and the soft table J_cv = mean_i 1[y_i = c] p_v(z_i) of the rows fitted
and J' that of a comparison set, maximise over the head

    I(y; v) + gamma * KL(P(y | v) || P'(y | v)) - l2/2 |W|^2,
    I = sum_cv J log(J / (J_c J_v)),    KL = sum_cv J (log(J / J_v) - log(J' / J'_v)).

The first asks for a value that predicts the class, the second for one that does so in another way where the comparison
set comes from: the class itself would score on the first alone. Tables are smoothed by `SMOOTHING`, so that a value
that a set does not have costs a finite number. The paper's terms (arXiv 2404.13815, section 3); the solver is ours:
features standardised by the rows fitted, full-batch ascent by Adam from several random heads, whose columns
make one product, and the highest objective in the end.

Shapes: N and M rows, C classes, V values, S starts; q columns of a head (1 for two values, else V).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, fits_float32, host_labels, to_host
from penult_kernels.linear.blocks.scaled_rows import ScaledRows, are_kept
from penult_kernels.linear.blocks.scaling import Scaling, fitted_scaling, tiles_of
from penult_kernels.linear.problem import Head
from penult_kernels.loss import hessian_vector_product, probabilities
from penult_kernels.products import product
from penult_kernels.rows import ArrayRows

SMOOTHING = 1e-3
"""Added to every entry of the tables, whose sum is 1."""
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HiddenValue(Head):
    """The head of the best start, on raw features and on the host."""

    information: float
    """I(y; v) on the rows fitted, nats."""
    divergence: float
    """KL(P(y | v) || P'(y | v)), nats."""
    objectives: NDArray[np.float64]
    """(S,) of every start, without the penalty."""


def hidden_value(
    features: Array,
    y: Array,
    other: Array,
    other_y: Array,
    *,
    n_classes: int,
    n_values: int = 2,
    gamma: float = 1.0,
    l2: float = 1e-3,
    learning_rate: float = 0.05,
    steps: int = 300,
    starts: int = 8,
    seed: int = 0,
    check: Callable[[], None] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> HiddenValue:
    """The head of the hidden value of rows (N, D) of classes `y`, compared with `other` (M, D) of classes `other_y`."""
    here = _table_rows(features, y, n_classes, "y")
    there = _table_rows(other, other_y, n_classes, "other_y")
    xp = array_namespace(features)
    scaling = fitted_scaling(features, None, check or _nothing)
    rows, compared = (_standardised(one, scaling) for one in (features, other))
    n_columns = 1 if n_values == 2 else n_values
    theta = np.random.default_rng(seed).standard_normal((features.shape[1] + 1, starts * n_columns))
    dtype = xp.float32 if fits_float32(features) else xp.float64
    theta = xp.astype(asarray_like(theta / features.shape[1] ** 0.5, features), dtype)
    first, second = xp.zeros_like(theta), xp.zeros_like(theta)
    fade, fade_squares = ADAM_BETAS
    for step in range(1, steps + 1):
        if check is not None:
            check()
        p, q = (_values(one.times(theta), n_columns) for one in (rows, compared))
        here_gradient, there_gradient = _gradients(_tables(here, p), _tables(there, q), gamma)
        gradient = rows.transposed_times(_pulled(here, p, here_gradient))
        gradient += compared.transposed_times(_pulled(there, q, there_gradient))
        gradient[:-1, :] -= l2 * theta[:-1, :]
        first = fade * first + (1 - fade) * gradient
        second = fade_squares * second + (1 - fade_squares) * gradient**2
        root = xp.sqrt(second / (1 - fade_squares**step)) + ADAM_EPSILON
        theta += learning_rate / (1 - fade**step) * first / root
        report(step, steps)
    information, divergence = _objective(
        *(_tables(one_hot, _values(one.times(theta), n_columns)) for one_hot, one in ((here, rows), (there, compared)))
    )
    objectives = information + gamma * divergence
    best = int(np.argmax(objectives))
    own = to_host(theta)[:, best * n_columns : (best + 1) * n_columns].astype(np.float64)
    columns = np.concatenate([0 * own, own], axis=1) if n_columns == 1 else own
    weight = (columns[:-1] / to_host(scaling.scale)[:, None]).T
    return HiddenValue(
        weight=weight,
        bias=columns[-1] - weight @ to_host(scaling.mean),
        information=float(information[best]),
        divergence=float(divergence[best]),
        objectives=objectives,
    )


def _nothing() -> None:
    pass


def _table_rows(features: Array, y: Array, n_classes: int, name: str) -> Array:
    """(N, C) one-hot classes over N: a product with values is a table."""
    classes = host_labels(y, features.shape[0], n_classes, name=name)
    if not classes.size:
        raise ValueError(f"{name} has no rows")
    one_hot = (classes[:, None] == np.arange(n_classes)) / classes.size
    xp = array_namespace(features)
    return xp.astype(asarray_like(one_hot, features), xp.float32 if fits_float32(features) else xp.float64)


class _KeptRows:
    """(N, D + 1) standardised rows with a column of ones, in memory."""

    def __init__(self, features: Array, scaling: Scaling) -> None:
        xp = array_namespace(features)
        self._rows = xp.ones(
            (features.shape[0], features.shape[1] + 1),
            dtype=xp.float32 if fits_float32(features) else xp.float64,
            device=features.device,
        )
        for tile, z in tiles_of(features, None):
            self._rows[tile, :-1] = xp.astype((z - scaling.mean) / scaling.scale, self._rows.dtype)

    def times(self, columns: Array) -> Array:
        """(N, K)"""
        return product(self._rows, columns)

    def transposed_times(self, residuals: Array) -> Array:
        """(D + 1, K)"""
        return product(self._rows.T, residuals)


def _standardised(features: Array, scaling: Scaling) -> _KeptRows | ScaledRows:
    if are_kept(int(features.shape[0]), features[:0, :]):
        return _KeptRows(features, scaling)
    xp = array_namespace(features)
    return ScaledRows(ArrayRows(features), scaling, xp.float32 if fits_float32(features) else xp.float64)


def _values(logits: Array, n_columns: int) -> Array:
    """(N, S, q) probabilities of the values from logits (N, S q); of two, that of the second."""
    return probabilities(array_namespace(logits).reshape(logits, (logits.shape[0], -1, n_columns)))


def _tables(one_hot: Array, p: Array) -> NDArray[np.float64]:
    """(S, C, V) smoothed soft counts, in float64 on the host."""
    xp = array_namespace(p)
    n_rows, n_starts, n_columns = p.shape
    joint = to_host(product(one_hot.T, xp.reshape(p, (n_rows, -1)))).astype(np.float64)
    found = joint.reshape(-1, n_starts, n_columns).transpose(1, 0, 2)
    if n_columns == 1:
        of_class = to_host(xp.sum(one_hot, axis=0)).astype(np.float64)[:, None]
        found = np.concatenate([np.maximum(of_class - found, 0), found], axis=2)
    found = found + SMOOTHING
    return found / found.sum(axis=(1, 2), keepdims=True)


def _objective(
    here: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S,) information and (S,) divergence of tables."""
    of_class = here.sum(axis=2, keepdims=True)
    given, given_there = (table / table.sum(axis=1, keepdims=True) for table in (here, there))
    information = (here * np.log(given / of_class)).sum(axis=(1, 2))
    return information, (here * np.log(given / given_there)).sum(axis=(1, 2))


def _gradients(
    here: NDArray[np.float64], there: NDArray[np.float64], gamma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, C, V) gradients of the objective in the entries of each table.

    The classes' own shares do not depend on the head. dI/dJ = log P(c | v) up to a number of each class, which shifts
    all values of a row alike and moves nothing; dKL/dJ = log P(c | v) - log P'(c | v);
    dKL/dJ' = J_v / J'_v - J / J'.
    """
    given, given_there = (np.log(table / table.sum(axis=1, keepdims=True)) for table in (here, there))
    of_value, of_value_there = (table.sum(axis=1, keepdims=True) for table in (here, there))
    return given + gamma * (given - given_there), gamma * (of_value / of_value_there - here / there)


def _pulled(one_hot: Array, p: Array, gradient: NDArray[np.float64]) -> Array:
    """(N, S q) gradients of the objective in the logits of the rows."""
    xp = array_namespace(p)
    n_rows, n_starts, n_columns = p.shape
    change = gradient[:, :, 1:] - gradient[:, :, :1] if n_columns == 1 else gradient
    by_class = asarray_like(np.ascontiguousarray(change.transpose(1, 0, 2)).reshape(gradient.shape[1], -1), p)
    of_rows = xp.reshape(one_hot @ xp.astype(by_class, p.dtype), (n_rows, n_starts, n_columns))
    return xp.reshape(hessian_vector_product(p, of_rows), (n_rows, n_starts * n_columns))
