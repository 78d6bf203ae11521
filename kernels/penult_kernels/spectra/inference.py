"""Spectral imbalance corrected for the sizes of the groups, with a confidence interval and a p-value.

lambda_1 of a sample covariance is biased upward, the more the fewer the rows, so rho = lambda_1(minority) /
lambda_1(majority) exceeds 1 for small minorities of the *same* distribution. Three statistics allow for that, each
from R replicates, all drawn from one seed:

* the matched ratio: lambda_1(minority) over the median of lambda_1 of R subsamples of the majority, drawn
  without replacement, of the minority's size. At equal sizes the biases are equal. (The median is the same for the
  ratio, its logarithm and its inverse; of an even R it is the geometric mean of the middle two.)
* its interval, a studentised bootstrap of the logarithm (Davison & Hinkley 1997, section 5.2). Rows repeat in a
  bootstrap sample, which biases lambda_1 upward once more (El Karoui & Purdom 2019, "The non-parametric bootstrap and
  spectral analysis in moderate and high dimension"), so no quantile of a bootstrapped lambda_1 is used as it is, only
  its spread about its own median: with both groups resampled at their own sizes,

      T_b = log lambda_1(minority*_b) - log lambda_1(majority*_b),   t_b = (T_b - median T) / s_b,

  and s the standard error of T by the influence function, the interval is log matched - s (quantiles of t). It
  covers the ratio of lambda_1 that the two populations have in samples of the minority's size.
* a permutation p-value of "the two groups have one covariance". The mean of each group is subtracted first, so that a
  difference of means is not mistaken for one of covariances; see `resampled_pair` and `_permutation_p`.

Of many rows all three are known without replicates: `asymptotic` says when, and takes one pass over them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import Array
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.moments.moments import matrix_shape
from penult_kernels.rows import RowSource
from penult_kernels.spectra.asymptotic import LEAST_ROWS, MOST_FEATURES, AsymptoticPairs, Asymptotics
from penult_kernels.spectra.resampled_pair import ResampledPair
from penult_kernels.spectra.top_eigenvalue import TopEigenvalues

SMALLEST_GROUP = 2
"""Rows that a group needs for a covariance; with fewer every answer is NaN."""
REPLICATES = 200
"""Replicates of each resampling where nobody says how many, and `asymptotic` does not hold."""


class Method(StrEnum):
    """How interval and p-value were found."""

    NONE = "none"
    RESAMPLED = "resampled"
    """By replicates."""
    ASYMPTOTIC = "asymptotic"
    """By the influence function, from all rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImbalanceInference:
    """One ratio of largest eigenvalues at equal sizes. NaN where a group has fewer than two rows."""

    matched_ratio: float
    """lambda_1(minority) / median over subsamples of the majority of the same size."""
    low: float
    """Lower end of the interval; 0 if resamples often have only one distinct row."""
    high: float
    """Upper end of the interval; infinite if resamples often have only one distinct row."""
    p_value: float
    """p-value of "both have one covariance"; by R permutations in [1 / (R + 1), 1]."""
    replicate_error: float
    """Largest certified relative error of a replicate's lambda_1; NaN without replicates."""
    method: Method = Method.RESAMPLED


NOT_DEFINED = ImbalanceInference(
    matched_ratio=math.nan,
    low=math.nan,
    high=math.nan,
    p_value=math.nan,
    replicate_error=math.nan,
    method=Method.NONE,
)


def from_asymptotics(found: Asymptotics) -> ImbalanceInference:
    """What one pass over all rows says."""
    return ImbalanceInference(
        matched_ratio=found.matched_ratio,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        replicate_error=math.nan,
        method=Method.ASYMPTOTIC,
    )


def infer_imbalance(
    minority: Array | RowSource,
    majority: Array | RowSource,
    *,
    replicates: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    stream: int = 0,
    center: bool = True,
    check: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> ImbalanceInference:
    """Matched ratio, interval and p-value for lambda_1(minority) / lambda_1(majority).

    Parameters
    ----------
    minority : array of shape (N_a, D), or a row source
        Rows of one group, real floating, finite.
    majority : array of shape (N_b, D), or a row source
        Rows of the other, N_b >= N_a, in the same library and on the same device.
    replicates : int or None
        R, at least 1; each of the three answers has R of its own: of a source the rows are read twice, and float32
        residuals are kept. None: without replicates where `asymptotic` holds, for which rows are an array, else
        REPLICATES.
    confidence : float
        Of the interval, between 0 and 1.
    seed : int
        Of all draws, not negative.
    stream : int
        Makes the draws of several comparisons independent, such as the class; not negative.
    center : bool
        Covariances about the mean; second moments about zero when False.
    check : callable
        Called between steps; may raise, to stop.
    report : callable
        Called now and then with the number of resamples that are solved, and how many there are: 5 R.

    Raises
    ------
    ValueError
        When the shapes disagree, the majority is the smaller, a row is not finite, or an option is out of
        its range.
    """
    _check_groups(minority, majority)
    _check_options(replicates, confidence, seed, stream)
    if minority.shape[0] < SMALLEST_GROUP:
        return NOT_DEFINED
    if replicates is None:
        found = _asymptotically(minority, majority, confidence, center=center, check=check)
        if found is not None:
            return from_asymptotics(found)
        replicates = REPLICATES
    pair = ResampledPair(
        minority, majority, replicates, seed=seed, stream=stream, center=center, check=check, report=report
    )
    observed = (pair.of_group(0), pair.of_group(1))
    matches = pair.matches()
    resampled = (pair.bootstrap(0), pair.bootstrap(1))
    permuted = (pair.permutation(0), pair.permutation(1))
    # For rows of one group the factor n / (n - 1) is taken out; for rows drawn from both groups it is put in.
    middle = float(_logs(observed[0].values)[0] - np.median(_logs(matches.values))) - pair.log_factor
    low, high = _studentised_interval(middle, observed, resampled, confidence)
    return ImbalanceInference(
        matched_ratio=math.exp(middle),
        low=low,
        high=high,
        p_value=_permutation_p(float(_log_ratio(*observed)[0]), _log_ratio(*permuted) + pair.log_factor),
        replicate_error=_worst_error([*observed, matches, *resampled, *permuted]),
    )


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """p-values adjusted for multiple comparisons, so that the probability of any false rejection is bounded.

    Holm (1979), "A simple sequentially rejective multiple test procedure": in ascending order, the k-th of m
    becomes the largest of (m - j + 1) p_(j) for j <= k, at most 1. NaN stay NaN and do not count.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return adjusted


def may_be_asymptotic(n_minority: int, n_features: int) -> bool:
    """Whether a pair of this size is looked at for asymptotic answers; its rows decide then."""
    return n_minority >= LEAST_ROWS and n_features <= MOST_FEATURES


def _asymptotically(
    minority: Array, majority: Array, confidence: float, *, center: bool, check: Callable[[], None]
) -> Asymptotics | None:
    """The answers without replicates, where they hold."""
    if not may_be_asymptotic(int(minority.shape[0]), int(minority.shape[1])):
        return None
    groups = (minority, majority)
    pairs = AsymptoticPairs(
        [(0, 1)],
        lambda index: moments_of(groups[index], np.zeros(groups[index].shape[0], np.int64), n_groups=1),
        center=center,
        check=check,
    )
    if not pairs.could_hold()[0]:
        return None
    for index, rows in enumerate(groups):
        pairs.add(rows, np.full(int(rows.shape[0]), index, dtype=np.int64))
    return pairs.infer(confidence)[0]


def _logs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms; of 0 (one distinct row) minus infinity."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0.0))


def _log_ratio(numerator: TopEigenvalues, denominator: TopEigenvalues) -> NDArray[np.float64]:
    """log of a ratio; NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        return _logs(numerator.values) - _logs(denominator.values)


def _log_error(numerator: TopEigenvalues, denominator: TopEigenvalues) -> NDArray[np.float64]:
    """Standard error of the log of a ratio of independent eigenvalues."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.hypot(*(one.standard_errors / one.values for one in (numerator, denominator)))


def _studentised_interval(
    middle: float,
    observed: tuple[TopEigenvalues, TopEigenvalues],
    resampled: tuple[TopEigenvalues, TopEigenvalues],
    confidence: float,
) -> tuple[float, float]:
    """The interval of the module's docstring; NaN where it is not defined.

    A resample with only one distinct row has log 0: it counts as infinitely far away, so that an end of the interval
    that such resamples reach is 0 or infinite.
    """
    replicates = _log_ratio(*resampled)
    with np.errstate(invalid="ignore", divide="ignore"):
        studentised = (replicates - np.median(replicates)) / _log_error(*resampled)
    studentised = np.where(np.isinf(replicates), replicates, studentised)
    error = float(_log_error(*observed)[0])
    if not math.isfinite(middle + error) or np.isnan(studentised).any():
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(studentised, [tail, 1 - tail], method="inverted_cdf")
    with np.errstate(over="ignore"):
        ends = np.exp(middle - error * np.asarray([high, low]))
    return float(ends[0]), float(ends[1])


def _permutation_p(observed: float, permuted: NDArray[np.float64]) -> float:
    """(1 + exceedances) / (1 + R) for the distance of log rho from the median of its permutation distribution.

    Two-sided. With groups of different sizes log rho is not 0 under the null either, so distances are from the median
    of all R + 1 values, the observed one included, which keeps them exchangeable.
    """
    everything = np.concatenate([[observed], permuted])
    if not np.isfinite(everything).all():
        return math.nan
    distances = np.abs(everything - np.median(everything))
    return float(np.count_nonzero(distances >= distances[0])) / everything.size


def _worst_error(found: Sequence[TopEigenvalues]) -> float:
    """Largest certified error relative to its eigenvalue; eigenvalues that are 0 do not count."""
    values = np.concatenate([one.values for one in found])
    errors = np.concatenate([one.errors for one in found])
    known = values > 0
    return float(np.max(errors[known] / values[known], initial=0.0))


def _check_groups(minority: Array | RowSource, majority: Array | RowSource) -> None:
    n_a, width = matrix_shape(minority, name="minority")
    n_b, other = matrix_shape(majority, name="majority")
    if width != other:
        raise ValueError(f"both groups must have the same number of features, got {width} and {other}")
    if n_b < n_a:
        raise ValueError(f"the majority must have at least as many rows as the minority, got {n_b} and {n_a}")


def _check_options(replicates: int | None, confidence: float, seed: int, stream: int) -> None:
    if replicates is not None and replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if seed < 0 or stream < 0:
        raise ValueError(f"seed and stream must be at least 0, got {seed} and {stream}")
