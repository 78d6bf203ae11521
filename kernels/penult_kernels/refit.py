"""Refits of the last layer: one softmax fit, and the balanced one averaged over random draws."""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, beside, host_classes_and_groups, host_labels, to_host
from penult_kernels.moments import matrix_shape
from penult_kernels.newton import Certificate, minimize
from penult_kernels.selection import (
    BalanceBy,
    BalanceMethod,
    EmptyLabelError,
    draw_epoch,
    kept_rows,
    loss_weights,
)
from penult_kernels.softmax_loss import SoftmaxLoss

DRAWN_WITH_REPLACEMENT = (BalanceMethod.UPSAMPLING, BalanceMethod.MIXTURE)
DETERMINISTIC = (BalanceMethod.NONE, BalanceMethod.UPWEIGHTING)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A head that acts on raw features: logits = features @ weight.T + bias."""

    weight: Array
    """(C, D) float64."""
    bias: Array
    """(C,) float64."""
    certificate: Certificate
    """Of the problem that was solved: the standardised one with `standardize`."""


@dataclass(frozen=True, slots=True, eq=False)
class BalancedFit:
    """The mean of the heads of several balanced draws."""

    weight: Array
    """(C, D) float64."""
    bias: Array
    """(C,) float64."""
    certificate: Certificate
    """The worst over the draws: all converged; largest gap, gradient norm and iterations; sum of passes; mean
    of the objectives. It speaks of the draws' problems, not of the mean head."""
    n_rows: int
    """Rows of each draw."""


@dataclass(frozen=True, slots=True, eq=False)
class _Scaling:
    """z = (x - mean) / scale."""

    mean: Array
    scale: Array


def fit_softmax(
    features: Array,
    y: Array,
    n_classes: int,
    *,
    l2: float,
    sample_weight: Array | None = None,
    standardize: bool = True,
    start: Fit | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> Fit:
    """Minimise sum_i s_i CE(W z_i + b, y_i) / sum_i s_i + l2/2 |W|^2; see softmax_loss.

    With `standardize`, z = (x - mean) / scale with the unweighted mean and standard deviation (divisor N) of
    the rows given; a constant column has scale 1. The penalty and the certificate act on that problem. Its
    solution has bias and columns of W with mean 0 over the classes, which folding the scaling into the head
    (W / scale, b - (W / scale) mean) keeps.

    Parameters
    ----------
    features : array of shape (N, D)
        Any real floating type; a float64 copy is made.
    y : array of shape (N,)
        Class of each row; on the host or beside `features`.
    n_classes : int
        C; every class needs a row of positive weight.
    l2 : float
        At least 0, on the scale of the mean loss. In scikit-learn's terms C = 1 / (l2 N); its
        one-vector form for two classes has half the penalty, C = 2 / (l2 N).
    sample_weight : array of shape (N,), optional
        At least 0; only their proportions count. 1 when left out.
    standardize : bool
        Whether to standardise.
    start : Fit, optional
        A head near the answer; zero when left out. It changes the time, not the answer.
    tolerance : float
        Converged when gap <= tolerance * log(C); see newton.minimize for l2 = 0.
    max_iterations : int
        Newton steps at most.

    Returns
    -------
    Fit
        With certificate.converged False, after a ConvergenceWarning, when it stopped early.

    Raises
    ------
    EmptyLabelError
        When a class has no row of positive weight.
    ValueError
        When shapes, labels, weights or numbers are not as described.
    """
    xp = array_namespace(features)
    n_rows, _ = matrix_shape(features, name="features")
    labels = host_labels(y, n_rows, n_classes, name="y")
    shares = _shares(sample_weight, n_rows)
    _check_classes(labels, shares, n_classes)
    if not (math.isfinite(l2) and l2 >= 0):
        raise ValueError(f"l2 must be a finite number of at least 0, got {l2}")
    wide = xp.astype(features, xp.float64)
    if not bool(xp.all(xp.isfinite(wide))):
        raise ValueError("features must be finite, got NaN or infinity: look at how the features were made")
    scaling = _scaling(wide, standardize=standardize)
    scaled = (wide - scaling.mean) / scaling.scale if standardize else wide
    basis = _row_space(scaled)
    loss = SoftmaxLoss(
        features=scaled if basis is None else scaled @ basis,
        is_label=beside(labels[:, None] == np.arange(n_classes), features),
        share=beside(shares, features),
        l2=float(l2),
    )
    theta, certificate = minimize(
        loss,
        start=None if start is None else _unfold(start, scaling, basis),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    weight = theta[:, :-1] if basis is None else theta[:, :-1] @ basis.T
    weight = weight / scaling.scale
    return Fit(weight=weight, bias=theta[:, -1] - weight @ scaling.mean, certificate=certificate)


def _row_space(features: Array) -> Array | None:
    """Orthonormal basis (D, N) of the rows, where it makes the problem at least half as wide; else None.

    A component of W across all rows changes no logit and can only cost penalty: the optimum lies in the row
    space; an orthonormal basis leaves |W| and every gradient norm as they are.
    """
    n_rows, n_features = features.shape
    if 2 * n_rows > n_features:
        return None
    return array_namespace(features).linalg.qr(features.T)[0]


def _scaling(wide: Array, *, standardize: bool) -> _Scaling:
    """Mean and standard deviation (divisor N) of the columns; 0 and 1 when not standardising."""
    xp = array_namespace(wide)
    if not standardize:
        zero = xp.zeros((wide.shape[1],), dtype=xp.float64, device=wide.device)
        return _Scaling(mean=zero, scale=zero + 1.0)
    # Compared exactly: the rounded mean of a constant column differs from it, and so would its scale from 0.
    smallest = xp.min(wide, axis=0)
    is_constant = smallest == xp.max(wide, axis=0)
    mean = xp.where(is_constant, smallest, xp.mean(wide, axis=0))
    scale = xp.sqrt(xp.mean((wide - mean) ** 2, axis=0))
    return _Scaling(mean=mean, scale=xp.where(is_constant, 1.0, scale))


def _unfold(head: Fit, scaling: _Scaling, basis: Array | None) -> Array:
    """The head [W, b] that does to the features solved for what `head` does to raw ones."""
    xp = array_namespace(head.weight)
    bias = head.bias + head.weight @ scaling.mean
    weight = head.weight * scaling.scale
    return xp.concat([weight if basis is None else weight @ basis, bias[:, None]], axis=1)


def _shares(sample_weight: Array | None, n_rows: int) -> NDArray[np.float64]:
    """Sample weights scaled to sum 1."""
    weights = np.ones(n_rows) if sample_weight is None else to_host(sample_weight).astype(np.float64)
    if weights.shape != (n_rows,):
        raise ValueError(f"sample_weight must have one entry per row, shape ({n_rows},), got {weights.shape}")
    total = float(weights.sum())
    if not (math.isfinite(total) and total > 0 and weights.min() >= 0):
        raise ValueError("sample_weight must hold finite numbers of at least 0 with a positive sum")
    return weights / total


def _check_classes(y: NDArray[np.int64], shares: NDArray[np.float64], n_classes: int) -> None:
    """Without a row of positive weight the bias of a class would fall for ever."""
    is_fitted = np.bincount(y, weights=shares, minlength=n_classes) > 0
    if not is_fitted.all():
        raise EmptyLabelError(int(np.argmin(is_fitted)), n_classes)


def balanced_refit(
    features: Array,
    y: Array,
    g: Array,
    n_classes: int,
    n_groups: int,
    *,
    method: BalanceMethod,
    by: BalanceBy,
    ratio: float = 1.0,
    l2: float,
    standardize: bool = True,
    repeats: int = 1,
    seed: int,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> BalancedFit:
    """Refit the last layer on balanced rows, and average the heads over random draws.

    Draw r depends on (seed, r) alone. Subsetting and mixture draw the rows kept; upsampling and mixture
    then draw as many rows with replacement, which enter as whole-number weights; upweighting weighs. The
    certificate's objective is the mean over the distinct draws.
    Standardisation is that of the rows kept, drawn once, often or never. Methods without randomness are
    solved once, whatever `repeats`. Subsetting over groups, averaged, is deep feature reweighting
    (Kirichenko et al. 2023, arXiv 2204.02937) with an l2 penalty.

    Parameters
    ----------
    features, y, n_classes, l2, standardize, tolerance, max_iterations
        As in `fit_softmax`.
    g : array of shape (N,)
        Group of each row, g = y * n_attributes + a; on the host or beside `features`.
    n_groups : int
        G, a multiple of n_classes.
    method, by, ratio
        As in `selection.kept_rows`; `by` says whether classes or groups are balanced.
    repeats : int
        Draws, at least 1.
    seed : int
        At least 0.

    Raises
    ------
    EmptyLabelError
        When a class or group to be balanced has no row, or a class has none in a draw.
    ValueError
        When shapes, labels or numbers are not as described.
    """
    xp = array_namespace(features)
    n_rows, _ = matrix_shape(features, name="features")
    classes, groups = host_classes_and_groups(y, g, n_rows, n_classes=n_classes, n_groups=n_groups)
    labels, n_labels = (classes, n_classes) if by is BalanceBy.CLASS else (groups, n_groups)
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    draws = [
        _draw(labels, n_labels, method=method, ratio=ratio, seed=seed, repeat=repeat)
        for repeat in range(1 if method in DETERMINISTIC else repeats)
    ]
    # Draws that came out the same (all of them, on rows that are balanced already) are solved once.
    distinct = {_key(draw): draw for draw in draws}
    fits = {
        key: fit_softmax(
            features if rows.size == n_rows else xp.take(features, beside(rows, features), axis=0),
            classes[rows],
            n_classes,
            l2=l2,
            sample_weight=weights,
            standardize=standardize,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        for key, (rows, weights) in distinct.items()
    }
    drawn = [fits[_key(draw)] for draw in draws]
    return BalancedFit(
        weight=sum(fit.weight for fit in drawn) / len(drawn),
        bias=sum(fit.bias for fit in drawn) / len(drawn),
        certificate=_worst([fit.certificate for fit in fits.values()]),
        n_rows=draws[0][0].size,
    )


def _key(draw: tuple[NDArray[np.int64], NDArray[np.float64]]) -> bytes:
    rows, weights = draw
    return rows.tobytes() + weights.tobytes()


def _draw(
    labels: NDArray[np.int64], n_labels: int, *, method: BalanceMethod, ratio: float, seed: int, repeat: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of one draw, ascending, and their weights."""
    keeping, drawing = np.random.SeedSequence((seed, repeat)).generate_state(2, np.uint64)
    rows = kept_rows(labels, n_labels, method=method, ratio=ratio, seed=int(keeping))
    if method in DRAWN_WITH_REPLACEMENT:
        rng = np.random.default_rng(int(drawing))
        drawn = draw_epoch(labels, n_labels, rows, method=method, rng=rng)
        return rows, np.bincount(drawn, minlength=labels.size)[rows].astype(np.float64)
    return rows, loss_weights(labels[rows], n_labels, method=method)


def _worst(certificates: list[Certificate]) -> Certificate:
    return Certificate(
        converged=all(one.converged for one in certificates),
        gap=max(one.gap for one in certificates),
        gradient_norm=max(one.gradient_norm for one in certificates),
        iterations=max(one.iterations for one in certificates),
        passes=sum(one.passes for one in certificates),
        objective=sum(one.objective for one in certificates) / len(certificates),
    )
