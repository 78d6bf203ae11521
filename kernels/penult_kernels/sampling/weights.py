"""What the logits of a biased head say about the rows: weights, errors, environments and offsets of robust refits.

Logits of C classes are small, so all of this is host NumPy in float64. Only proportions of weights count:
the engine scales them to sum 1.

    AFR    mu_i ~ exp(-gamma p_i[y_i])                                   Qiu et al. 2023 (arXiv 2306.11074), eq. 2
    JTT    up where the head errs, else 1                                Liu et al. 2021 (arXiv 2107.09044)
    SELF   the k largest losses, or the k largest disagreements          LaBonte et al. 2023 (arXiv 2309.08534)
    EIIL   q_i = 1[g_i > 0], g_i = E_p[z] - z[y]                         Creager et al. 2021 (arXiv 2010.07249)
    LA     o_c = tau log p(c)                                            Menon et al. 2021 (arXiv 2007.07314), eq. 10
    uLA    o_ic = tau log p(c | prediction of row i)                     Tsirigotis et al. 2023 (arXiv 2306.01180)
"""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.loss import log_softmax
from penult_kernels.sampling.balancing import EmptyLabelError

Logits = NDArray[np.floating]
Floats = NDArray[np.float64]


def log_probabilities(logits: Logits) -> Floats:
    """log softmax of (N, C) logits. Raises ValueError unless they are finite."""
    logits64 = np.asarray(logits, np.float64)
    if not np.isfinite(logits64).all():
        raise ValueError("logits must be finite, got NaN or infinity")
    return log_softmax(logits64)


def cross_entropies(logits: Logits, y: NDArray[np.int64]) -> Floats:
    """(N,) losses -log p_i[y_i], nats."""
    return -log_probabilities(logits)[np.arange(y.size), y]


def confidence_weights(logits: Logits, y: NDArray[np.int64], gamma: float) -> Floats:
    """(N,) exp(-gamma (p_i[y_i] - min_j p_j[y_j])): AFR, shifted so that a large gamma leaves some weight."""
    probability = np.exp(-cross_entropies(logits, y))
    return np.exp(-gamma * (probability - probability.min()))


def misclassified(logits: Logits, y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) whether the largest logit, the first of equals, is of another class."""
    return log_probabilities(logits).argmax(axis=1) != y


def error_weights(is_error: NDArray[np.bool_], up: float) -> Floats:
    """(N,) `up` where the head errs, else 1."""
    return np.where(is_error, up, 1.0)


def eiil_environments(logits: Logits, y: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) 0 or 1: the environments that maximise the invariance penalty, in closed form.

    The penalty is the squared mean of q_i g_i, g_i the derivative of the loss of w z_i at w = 1; it is convex in the
    mean, so the maximum takes all positive g_i (or all negative ones: the same partition). For two classes
    g_i > 0 says that row i is misclassified.
    """
    log_p = log_probabilities(logits)
    logits64 = np.asarray(logits, np.float64)
    # Centering changes no g_i and keeps the two terms from cancelling.
    centered = logits64 - logits64.mean(axis=1, keepdims=True)
    g = (np.exp(log_p) * centered).sum(axis=1) - centered[np.arange(y.size), y]
    return (g > 0).astype(np.int64)


def disagreements(other: Logits, logits: Logits) -> Floats:
    """(N,) KL(softmax(other) | softmax(logits)): how far another, say early-stopped, head is from this one.

    Raises ValueError when the shapes differ.
    """
    if other.shape != logits.shape:
        raise ValueError(f"two heads disagree over the same rows and classes; got {other.shape} and {logits.shape}")
    log_q, log_p = log_probabilities(other), log_probabilities(logits)
    return (np.exp(log_q) * (log_q - log_p)).sum(axis=1)


def class_prior_offset(y: NDArray[np.int64], n_classes: int, weight: Floats, tau: float) -> Floats:
    """(N, C) tau log p(c) with the shares of the classes among the rows, each row counted `weight` times.

    Raises EmptyLabelError when a class has no weight.
    """
    mass = np.bincount(y, weights=weight, minlength=n_classes)
    if not mass.all():
        raise EmptyLabelError(int(np.argmin(mass)), n_classes)
    return np.broadcast_to(tau * np.log(mass / mass.sum()), (y.size, n_classes)).copy()


def prediction_prior_offset(logits: Logits, y: NDArray[np.int64], weight: Floats, tau: float) -> Floats:
    """(N, C) tau log p(c | k_i), k_i the class predicted for row i by a biased head.

    p(c, k) is the weighted mean of 1[y = c] p_i[k]: soft counts, which are never zero for a class that has rows.
    Raises EmptyLabelError when a class has no weight.
    """
    n_classes = logits.shape[1]
    log_p = log_probabilities(logits)
    joint = np.stack([(weight * (y == c)) @ np.exp(log_p) for c in range(n_classes)])
    if not joint.all():
        raise EmptyLabelError(int(np.argmin(joint.min(axis=1))), n_classes)
    conditional = joint / joint.sum(axis=0)
    return tau * np.log(conditional[:, log_p.argmax(axis=1)].T)
