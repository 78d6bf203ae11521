"""GEORGE's first stage (Sohoni et al. 2020, arXiv 2011.12945): clusters of each class, and the parts that stand out.

The features of a class are reduced, clustered for every k from 2 on, and the k of the largest mean over clusters of
the mean silhouette is taken. Each cluster is then cut into parts, and a part becomes a group of its own where it is
better separated than before, has a loss of at least its cluster's, and rows enough. Taking off the mean of a class
first, as an option of the authors' code does, changes nothing here: each class is clustered by itself about its own
mean.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.george import Thresholds, kept_parts, last_best, mean_over_clusters, merged
from penult_kernels.groupings.points import Points
from penult_kernels.loss import log_softmax
from penult_server.compute.groupings.found import Found, Inputs, Integers
from penult_server.compute.groupings.methods.clustering.classes import (
    ClassTask,
    Partition,
    Scores,
    by_size,
    find_by_class,
    rows_of_class,
)
from penult_server.compute.groupings.methods.clustering.clusters import (
    clusterings,
    sampled,
    searched,
    silhouettes_of,
)
from penult_server.compute.groupings.methods.clustering.gmm import mixtures
from penult_server.compute.groupings.methods.clustering.joint import finite
from penult_server.compute.groupings.methods.clustering.models import ClassPartition, Model
from penult_server.compute.groupings.methods.clustering.spaces import (
    Space,
    UmapSpace,
    reduced_space,
    whole_space,
)
from penult_server.compute.groupings.methods.predicted import logits_of

Labeled = tuple[Model, Integers]


def find(inputs: Inputs) -> Found:
    """The groups of GEORGE."""
    rule = "centroids" if inputs.words["model"] == "kmeans" else "mixture"
    return find_by_class(inputs, _fit, k=2, rule=rule)


def _fit(task: ClassTask) -> tuple[Partition, Scores]:
    space = _space(task)
    points = space.points(task.rows, task.index)
    candidates = _candidates(task, points)
    silhouettes = silhouettes_of(task, points, [labels for _, labels in candidates])
    rows = sampled(task)
    scores = [mean_over_clusters(of_k, labels[rows]) for of_k, (_, labels) in zip(silhouettes, candidates, strict=True)]
    best = last_best(scores)
    base, labels = candidates[best]
    partition = _cut(task, space, points, base, labels, silhouettes[best])
    return partition, {"silhouette": scores[best], "clusters": base.k, "groups": partition.n_values}


def _space(task: ClassTask) -> Space | UmapSpace:
    reduction, components = task.inputs.words["reduction"], task.number("components")
    if reduction == "pca":
        return reduced_space(task, components)
    if reduction == "umap":
        return UmapSpace(task, components)
    return whole_space(task, "margin" if reduction == "hardness" else "features")


def _candidates(task: ClassTask, points: Points) -> list[Labeled]:
    ks = range(2, task.largest_k(task.number("max_k")) + 1)
    found = searched(task, points, ks)
    if task.inputs.words["model"] == "kmeans":
        return list(found)
    return _whole(mixtures(task, points, found)) or list(found)


def _whole(found: Sequence[Labeled]) -> list[Labeled]:
    """The clusterings none of whose clusters is empty."""
    return [(model, labels) for model, labels in found if np.unique(labels).size == model.k]


def _cut(
    task: ClassTask,
    space: Space | UmapSpace,
    points: Points,
    base: Model,
    labels: Integers,
    before: NDArray[np.float64],
) -> ClassPartition:
    """Cut each cluster into parts, keep those that stand out, and number groups by their rows."""
    factor = task.number("overcluster")
    parts = {cluster: model for cluster in range(base.k) if (model := _parts(task, points, labels, cluster, factor))}
    width = factor if parts else 1
    every = ClassPartition(space=space, base=base, value=np.arange(base.k * width).reshape(base.k, width), parts=parts)
    if not parts:
        return ClassPartition.by_size(space, base, labels)
    part = every.part_labels(points, labels)
    (after,) = silhouettes_of(task, points, [part])
    kept = kept_parts(
        part,
        sampled(task),
        before,
        after,
        _losses(task),
        _held_out(task, every),
        base.k,
        width,
        Thresholds(fraction=task.inputs.numbers["min_share"], n_rows=task.number("min_rows")),
    )
    kept[[cluster for cluster in range(base.k) if cluster not in parts]] = False
    value = merged(kept, np.bincount(part, minlength=kept.size).reshape(kept.shape))
    used = {cluster: model for cluster, model in parts.items() if kept[cluster].any()}
    return ClassPartition(
        space=space, base=base, value=by_size(value.reshape(-1)[part], int(value.max()) + 1)[value], parts=used
    )


def _parts(task: ClassTask, points: Points, labels: Integers, cluster: int, factor: int) -> Model | None:
    """A clustering of the rows of one cluster; None where it has too few, or they are too much alike."""
    mine = np.flatnonzero(labels == cluster)
    if factor < 2 or mine.size < 2 * factor:
        return None
    own = points.some(mine)
    found = clusterings(task, own, [factor])
    if task.inputs.words["model"] == "gmm":
        return mixtures(task, own, found)[0][0]
    return found[0][0]


def _losses(task: ClassTask) -> NDArray[np.float64]:
    """Cross-entropy of each row of the class, nats."""
    return -log_softmax(finite(logits_of(task.rows)[task.index]))[:, task.y]


def _held_out(task: ClassTask, every: ClassPartition) -> Integers | None:
    """Parts of the rows that are grouped, where others were fitted."""
    source = task.inputs.source
    if source is task.rows:
        return None
    index = rows_of_class(source, task.y)
    points = every.space.points(source, index)
    return every.part_labels(points, every.base.labels(points)[0])
