"""A Gaussian mixture of each class along its principal axes, of full covariances."""

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.groupings.kmeans import draw_starts, lloyd, nearest
from penult_kernels.groupings.mixture import Mixture, best_of, bic, fit_mixtures, hard
from penult_kernels.groupings.points import Points, mean_variance
from penult_kernels.groupings.views import GaussianView
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Found, Inputs, Integers
from penult_server.compute.groupings.methods.clustering.classes import ClassTask, Partition, Scores, find_by_class
from penult_server.compute.groupings.methods.clustering.clusters import silhouettes_of
from penult_server.compute.groupings.methods.clustering.models import Centroids, ClassPartition, Gaussians, Model
from penult_server.compute.groupings.methods.clustering.spaces import reduced_space
from penult_server.errors import ServiceError

RULE = "mixture"
MOST_AXES = 32
"""Axes along which a full covariance is fitted, at most."""
FLOOR = 1e-6
"""Added to every variance, relative to the mean variance of the points."""


def find(inputs: Inputs) -> Found:
    """The components of `gmm`."""
    k = int(inputs.numbers["k"]) if inputs.words["choose"] == "k" else 2
    return find_by_class(inputs, _fit, k=k, rule=RULE)


def _fit(task: ClassTask) -> tuple[Partition, Scores]:
    space = reduced_space(task, task.number("components"))
    points = space.points(task.rows, task.index)
    view = gaussian_view(points)
    choose = task.inputs.words["choose"]
    ks = [task.number("k")] if choose == "k" else list(range(2, task.largest_k(task.number("max_k")) + 1))
    fitted = _best_of_starts(task, points, view, ks)
    labeled = [(model, model.labels(points)[0]) for model in map(Gaussians.of, fitted)]
    whole = [place for place, (_, labels) in enumerate(labeled) if np.unique(labels).size > 1]
    if not whole:
        raise task.refused(f"its {task.n} rows fall into one component, which nothing divides")
    criteria = [bic(fitted[place], [view]) for place in whole]
    silhouettes = [float(one.mean()) for one in silhouettes_of(task, points, [labeled[place][1] for place in whole])]
    best = int(np.argmax(silhouettes)) if choose == "silhouette" else int(np.argmin(criteria))
    model, labels = labeled[whole[best]]
    scores = {"silhouette": silhouettes[best], "bic": criteria[best], "clusters": model.k}
    return ClassPartition.by_size(space, model, labels), scores


def gaussian_view(points: Points) -> GaussianView:
    """Points of which Gaussians are to be fitted. Raises ServiceError (INVALID_ARGUMENT) for too many axes."""
    if points.p > MOST_AXES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"full covariances are fitted along {MOST_AXES} axes at most, got {points.p}: reduce the features by "
            "reduction='pca' and components=..., or use model='kmeans'",
            field="words",
        )
    rows = points.tile(slice(0, points.n))
    xp = array_namespace(rows)
    floor = FLOOR * max(mean_variance(points), float(xp.finfo(xp.float64).tiny) / FLOOR)
    return GaussianView(rows=rows, center=xp.mean(rows, axis=0), covariance_type="full", floor=floor)


def _best_of_starts(task: ClassTask, points: Points, view: GaussianView, ks: list[int]) -> list[Mixture]:
    """For each k the mixture of the largest likelihood, each start from a k-means of its own."""
    n_starts = task.number("starts")
    drawn = draw_starts(points, max(ks), n_starts, rng=task.rng)
    clusters = lloyd(points, [drawn[run, :k, :] for k in ks for run in range(n_starts)], check=task.inputs.check)
    starts = [hard(nearest(points, one.center), int(one.center.shape[0])) for one in clusters]
    runs = fit_mixtures([view], starts, check=task.inputs.check)
    return [best_of(runs[place * n_starts : (place + 1) * n_starts]) for place in range(len(ks))]


def mixtures(
    task: ClassTask, points: Points, starts: Sequence[tuple[Centroids, Integers]]
) -> list[tuple[Model, Integers]]:
    """A mixture from each clustering, with the labels of the points."""
    responsibilities = [hard(labels, model.k) for model, labels in starts]
    found = fit_mixtures([gaussian_view(points)], responsibilities, check=task.inputs.check)
    models = [Gaussians.of(one) for one in found]
    return [(model, model.labels(points)[0]) for model in models]
