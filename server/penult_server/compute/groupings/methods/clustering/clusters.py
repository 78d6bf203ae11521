"""k-means within each class: of a given number of clusters, or by silhouette as in SPARE (arXiv 2305.18761).

SPARE clusters the logits of an early epoch and samples the rows of cluster c in proportion to 1 / n_c^p, with p = 2
where the mean silhouette is below .9 and 1 elsewhere: p is among the scores. Logits of a late epoch are
one-dimensional, and their clusters say little.
"""

from collections.abc import Sequence

import numpy as np

from penult_kernels.arrays import to_host
from penult_kernels.groupings.kmeans import kmeans, nearest
from penult_kernels.groupings.points import Points
from penult_kernels.groupings.silhouette import sample, silhouettes
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers
from penult_server.compute.groupings.methods.clustering.classes import ClassTask, Partition, Scores, find_by_class
from penult_server.compute.groupings.methods.clustering.models import Centroids, ClassPartition
from penult_server.compute.groupings.methods.clustering.spaces import Space, reduced_space, whole_space

RULE = "centroids"


def find(inputs: Inputs) -> Found:
    """The clusters of `kmeans`."""
    return find_by_class(inputs, _fit_kmeans, k=int(inputs.numbers["k"]), rule=RULE)


def find_spare(inputs: Inputs) -> Found:
    """The clusters of `spare`."""
    return find_by_class(inputs, _fit_spare, k=2, rule=RULE)


def _fit_kmeans(task: ClassTask) -> tuple[Partition, Scores]:
    space, k = _space(task), task.number("k")
    points = space.points(task.rows, task.index)
    ((model, labels),) = clusterings(task, points, [k])
    if np.unique(labels).size < k:
        raise task.refused(f"it has {np.unique(labels).size} different rows, fewer than {k} clusters")
    score = float(silhouettes_of(task, points, [labels])[0].mean())
    return ClassPartition.by_size(space, model, labels), {"silhouette": score}


def _space(task: ClassTask) -> Space:
    words = task.inputs.words
    if words["on"] == "logits":
        return whole_space(task, "logits")
    components = task.number("components")
    return reduced_space(task, components) if components else whole_space(task, "features")


def _fit_spare(task: ClassTask) -> tuple[Partition, Scores]:
    space = whole_space(task, "logits")
    points = space.points(task.rows, task.index)
    found = searched(task, points, range(2, task.largest_k(task.number("max_k")) + 1))
    scores = [float(of_k.mean()) for of_k in silhouettes_of(task, points, [labels for _, labels in found])]
    best = int(np.argmax(scores))
    model, labels = found[best]
    power = task.inputs.numbers["power"] if scores[best] < task.inputs.numbers["threshold"] else 1.0
    return ClassPartition.by_size(space, model, labels), {"silhouette": scores[best], "sampling_power": power}


def clusterings(task: ClassTask, points: Points, ks: list[int]) -> list[tuple[Centroids, Integers]]:
    """The best clustering of each number of clusters, with the labels of the points."""
    found = kmeans(points, ks, rng=task.rng, n_init=task.number("starts"), check=task.inputs.check)
    return [(Centroids(centroids=to_host(of_k.center)), nearest(points, of_k.center)) for of_k in found]


def searched(task: ClassTask, points: Points, ks: range) -> list[tuple[Centroids, Integers]]:
    """The clusterings none of whose clusters is empty. Raises ServiceError (EMPTY_GROUP) where there is none."""
    found = clusterings(task, points, list(ks))
    whole = [(model, labels) for model, labels in found if np.unique(labels).size == model.k]
    if not whole:
        raise task.refused(f"its {task.n} rows are all equal, one cluster that nothing divides")
    return whole


def sampled(task: ClassTask) -> Integers:
    """The rows that silhouettes of a class are taken over, at most 5,000; the same whenever they are asked for."""
    return sample(task.n, np.random.default_rng([task.inputs.seed, task.y, 1]))


def silhouettes_of(task: ClassTask, points: Points, labelings: Sequence[Integers]) -> list[Floats]:
    """Silhouettes of the sampled rows under each labeling; 0 where all of them are in one cluster."""
    rows = sampled(task)
    of_rows = [labels[rows] for labels in labelings]
    several = [place for place, labels in enumerate(of_rows) if labels.min() < labels.max()]
    found = [np.zeros(rows.size) for _ in labelings]
    if several:
        known = silhouettes(points.take(rows), [of_rows[place] for place in several], check=task.inputs.check)
        for place, values in zip(several, known, strict=True):
            found[place] = values
    return found
