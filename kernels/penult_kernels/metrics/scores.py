"""Scores of the probabilities of a head: log-loss, Brier score, calibration error, AUROC. Also Wilson's interval."""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.loss import log_softmax

ECE_BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017 (arXiv 1706.04599)."""
Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilityScores:
    """Scores of softmax probabilities p; NaN without rows, or where a logit is NaN."""

    loss: float
    """Mean of -log p[y], nats."""
    brier: float
    """Mean of sum_c (p_c - 1[y = c])^2, halved for two classes, where it is (p_1 - y)^2: scikit-learn's convention."""
    ece: float
    """Expected calibration error: sum_b n_b / N |accuracy_b - mean largest probability_b| over bins of equal width,
    each closed above (Guo et al. 2017, eq. 3). Also for two classes it is that of the predicted class."""
    ece_bins: int
    auroc: float
    """Area under the ROC curve, ties counted half: of class 1 against class 0; for more classes the mean over the
    classes against the rest. NaN when a class has no row."""


def probability_scores(logits: Array, y: NDArray[np.int64], *, bins: int = ECE_BINS) -> ProbabilityScores:
    """Scores of logits (N, C) for classes `y` (N,) on the host, already checked."""
    xp = array_namespace(logits)
    if not y.size:
        return ProbabilityScores(loss=math.nan, brier=math.nan, ece=math.nan, ece_bins=bins, auroc=math.nan)
    label = asarray_like(y, logits)[:, None]
    logits64 = xp.astype(logits, xp.float64)
    log_p = log_softmax(logits64)
    p = xp.exp(log_p)
    p_label = xp.take_along_axis(p, label, axis=1)[:, 0]
    loss = -float(xp.mean(xp.take_along_axis(log_p, label, axis=1)))
    # sum_c (p_c - 1[y = c])^2 = sum_c p_c^2 - 2 p_y + 1, written so that it does not cancel near p_y = 1.
    off_label = xp.sum(p * p, axis=1) - p_label * p_label
    brier = float(xp.mean((1.0 - p_label) ** 2 + off_label)) / (2 if logits.shape[1] == 2 else 1)
    return ProbabilityScores(
        loss=loss,
        brier=brier,
        ece=_calibration_error(to_host(xp.max(p, axis=1)), to_host(xp.argmax(p, axis=1)) == y, bins),
        ece_bins=bins,
        auroc=_auroc(logits64, log_p, y),
    )


def _calibration_error(confidence: NDArray[np.float64], is_correct: NDArray[np.bool_], bins: int) -> float:
    """Guo et al. 2017, eq. 3: bin b holds confidences in (b / bins, (b + 1) / bins]."""
    if np.isnan(confidence).any():
        return math.nan
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    surplus = np.bincount(bin_of, weights=confidence - is_correct, minlength=bins)
    return float(np.abs(surplus).sum() / confidence.size)


def _auroc(logits: Array, log_p: Array, y: NDArray[np.int64]) -> float:
    """AUROC of class 1 for two classes (by the difference of logits, which never saturates), else the mean over all."""
    n_classes = logits.shape[1]
    if n_classes < 2 or np.bincount(y, minlength=n_classes).min() == 0:
        return math.nan
    if n_classes == 2:
        return _area(logits[:, 1] - logits[:, 0], y == 1)
    return math.fsum(_area(log_p[:, c], y == c) for c in range(n_classes)) / n_classes


def _area(score: Array, is_positive: NDArray[np.bool_]) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2 (Mann & Whitney)."""
    xp = array_namespace(score)
    if bool(xp.any(xp.isnan(score))):
        return math.nan
    # By numbers, not by a mask: how many it lets through a device says only when it is done.
    negatives, positives = (
        xp.take(score, asarray_like(np.flatnonzero(chosen), score), axis=0) for chosen in (~is_positive, is_positive)
    )
    negatives = xp.sort(negatives)
    below = xp.searchsorted(negatives, positives, side="left")
    not_above = xp.searchsorted(negatives, positives, side="right")
    pairs = negatives.shape[0] * int(is_positive.sum())
    return float(xp.sum(xp.astype(below + not_above, xp.float64))) / (2 * pairs)


def wilson_interval(correct: NDArray[np.int64], count: NDArray[np.int64], *, z: float = Z_95) -> NDArray[np.float64]:
    """Wilson's score interval of each proportion correct / count, shape (..., 2); NaN where the count is 0.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)  (Wilson 1927). It does not allow
    for the choice of the worst of several groups, whose accuracy is too small on average.
    """
    n = np.where(count > 0, count, np.nan)
    p = correct / n
    center = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = np.stack([center - half, center + half], axis=-1) / (1 + z**2 / n)[..., None]
    # At p = 0 and p = 1 an end is exactly p; rounding may leave it just outside.
    return np.clip(ends, 0.0, 1.0)
