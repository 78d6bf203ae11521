"""What Domino and FACTS share: a mixture over features and predictions, its starts, and its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.kmeans import kmeans, nearest
from penult_kernels.groupings.mixture import Mixture, hard
from penult_kernels.groupings.points import Points
from penult_kernels.linear.problem import Head
from penult_kernels.loss import log_softmax
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Floats, Inputs, Rows
from penult_server.compute.groupings.methods.predicted import head_logits, logits_of
from penult_server.errors import ServiceError


def probabilities(logits: Floats) -> Floats:
    """(n, C) by softmax. Raises ServiceError (NOT_FINITE) for logits that are no numbers."""
    return np.exp(log_softmax(finite(logits)))


def finite(logits: Floats) -> Floats:
    """Logits in float64. Raises ServiceError (NOT_FINITE) for NaN and infinity."""
    if not np.isfinite(logits).all():
        raise ServiceError(
            ErrorKind.NOT_FINITE, "the logits of some rows hold NaN or infinity, which predict nothing: leave them out"
        )
    return logits.astype(np.float64)


def head_arrays(head: Head | None) -> dict[str, NDArray[Any]]:
    """A head as arrays of a rule; none where predictions are the logits that rows have."""
    return {} if head is None else {"head_weight": np.asarray(head.weight), "head_bias": np.asarray(head.bias)}


def stored_logits(rule: Mapping[str, NDArray[Any]], rows: Rows) -> Floats:
    """(n, C) of the head of a rule; of a rule without one the rows' own."""
    if "head_weight" not in rule:
        return logits_of(rows)
    check_width(rows, rule["head_weight"].shape[1])
    return head_logits(Head(weight=rule["head_weight"], bias=rule["head_bias"]), rows)


def check_width(rows: Rows, n_features: int) -> None:
    """Raise ServiceError (WRONG_SHAPE) for rows of another number of features than a rule is about."""
    if int(rows.features.shape[1]) != n_features:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"the groups were found among rows of {n_features} features, these have {rows.features.shape[1]}: assign "
            "rows of the same checkpoint",
        )


def confusion_start(labels: Floats, predicted: Floats, k: int, noise: float, rng: np.random.Generator) -> Floats:
    """(n, k) responsibilities: component j begins as cell j of the confusion matrix, in turn, with some noise."""
    cells = (labels[:, :, None] * predicted[:, None, :]).reshape(len(labels), -1)
    tiled: Floats = np.tile(cells, (1, -(-k // cells.shape[1])))[:, :k]
    tiled /= np.sum(tiled, axis=1, keepdims=True)
    tiled += rng.random(tiled.shape) * noise
    tiled /= np.sum(tiled, axis=1, keepdims=True)
    return tiled


def kmeans_start(points: Points, k: int, rng: np.random.Generator, inputs: Inputs) -> Floats:
    """(n, k) of one k-means, as scikit-learn's mixtures begin."""
    (found,) = kmeans(points, [k], rng=rng, n_init=1, check=inputs.check)
    return hard(nearest(points, found.center), k).astype(np.float64)


def check_components(k: int, n_cells: int, start: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for components that the cells of a confusion matrix cannot begin."""
    if start == "confusion" and k < n_cells:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{k} components cannot begin as the {n_cells} cells of the confusion matrix: give components={n_cells} or "
            "more, or start='kmeans'",
            field="numbers",
        )


def not_converged(mixture: Mixture) -> str:
    """What to say of a mixture that was stopped."""
    return (
        f"the mixture of {mixture.k} components had not come to rest after {mixture.n_iterations} rounds; give more "
        "with max_iterations"
    )
