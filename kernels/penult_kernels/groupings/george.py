"""The decisions of GEORGE (Sohoni et al. 2020, arXiv 2011.12945, appendix): how many clusters, and which parts to keep.

Host arrays of labels, silhouettes and losses in, decisions out; clusters and silhouettes are made elsewhere.

Shapes: n rows of one class, k clusters, F parts that each cluster was split into.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.silhouette import by_cluster


def mean_over_clusters(silhouettes: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean over the clusters of their mean silhouette: a small cluster counts as much as a large one."""
    return float(np.nanmean(by_cluster(silhouettes, labels, int(labels.max()) + 1)))


def last_best(scores: Sequence[float]) -> int:
    """Place of the largest score, the last of equals: of equally good numbers of clusters the larger."""
    return len(scores) - 1 - int(np.argmax(np.asarray(scores)[::-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a part of a cluster must reach to become a group of its own."""

    silhouette: float = 0.0
    share: float = 0.005
    """Of the rows of the class."""
    n_rows: int = 25


def kept_parts(
    parts: NDArray[np.int64],
    sampled: NDArray[np.int64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    losses: NDArray[np.float64],
    held_out: NDArray[np.int64] | None,
    k: int,
    n_parts: int,
    thresholds: Thresholds,
) -> NDArray[np.bool_]:
    """(k, F) whether a part of a cluster is a group of its own.

    It is when the mean silhouette of its rows rose by splitting and is above the threshold, its mean loss is at least
    its cluster's, and it has rows enough, also among those that nothing was fitted on.

    Parameters
    ----------
    parts : array of shape (n,)
        cluster * F + part of each row.
    sampled : array of shape (m,)
        The rows that silhouettes were taken over.
    before, after : arrays of shape (m,)
        Their silhouettes as clusters, and as parts.
    losses : array of shape (n,)
    held_out : array, optional
        cluster * F + part of rows that were not fitted.
    """
    every = k * n_parts
    old = by_cluster(before, parts[sampled], every)
    new = by_cluster(after, parts[sampled], every)
    loss = by_cluster(losses, parts, every)
    of_cluster = np.repeat(by_cluster(losses, parts // n_parts, k), n_parts)
    count = np.bincount(parts, minlength=every)
    with np.errstate(invalid="ignore"):
        kept = (new > np.maximum(old, thresholds.silhouette)) & (loss >= of_cluster)
    kept &= count >= max(thresholds.share * parts.size, thresholds.n_rows)
    if held_out is not None:
        kept &= np.bincount(held_out, minlength=every) >= thresholds.n_rows
    return kept.reshape(k, n_parts)


def merged(kept: NDArray[np.bool_], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """(k, F) the group of each part; no group is empty.

    Parts that are not kept share one group of their cluster, which comes first. Where none of these has a row (`count`,
    (k, F)), they belong to the largest part that is kept.
    """
    found = np.empty(kept.shape, np.int64)
    groups = 0
    for cluster, of_cluster in enumerate(kept):
        has_rest = bool((count[cluster] > 0)[~of_cluster].any())
        rest, groups = groups, groups + has_rest
        found[cluster, of_cluster] = groups + np.arange(of_cluster.sum())
        groups += int(of_cluster.sum())
        largest = int(np.argmax(np.where(of_cluster, count[cluster], -1)))
        found[cluster, ~of_cluster] = rest if has_rest else found[cluster, largest]
    return found
