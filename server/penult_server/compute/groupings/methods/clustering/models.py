"""Clusterings of points, with the arrays that they are stored as; and a class cut into clusters and their parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.groupings.kmeans import nearest
from penult_kernels.groupings.mixture import Mixture, responsibilities
from penult_kernels.groupings.points import Points
from penult_kernels.groupings.views import GaussianView
from penult_server.compute.groupings.found import Floats, Integers, Rows
from penult_server.compute.groupings.methods.clustering.classes import (
    assign_by_class,
    by_size,
    prefixed,
    split_prefixes,
)
from penult_server.compute.groupings.methods.clustering.joint import stored_logits
from penult_server.compute.groupings.methods.clustering.spaces import Space, UmapSpace


class Model(Protocol):
    """A clustering of points."""

    @property
    def k(self) -> int:
        """Clusters."""
        ...

    def labels(self, points: Points) -> tuple[Integers, Floats | None]:
        """(n,) clusters, and (n, k) how far each point belongs to each."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """On the host."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Centroids:
    """Every point belongs to the nearest centroid."""

    centroids: NDArray[np.float64]

    @property
    def k(self) -> int:
        """Clusters."""
        return len(self.centroids)

    def labels(self, points: Points) -> tuple[Integers, None]:
        """(n,)"""
        return nearest(points, asarray_like(self.centroids, points.rows)), None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a rule."""
        return {"centroids": self.centroids}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussians:
    """Every point belongs to the components in proportion to what they say of it."""

    weight: NDArray[np.float64]
    center: NDArray[np.float64]
    mean: NDArray[np.float64]
    """About the center."""
    covariance: NDArray[np.float64]
    """(k, p, p), or (k, p) variances."""

    @staticmethod
    def of(mixture: Mixture, view: int = 0) -> "Gaussians":
        """One view of a mixture, on the host."""
        found: GaussianView = mixture.views[view]
        return Gaussians(
            weight=to_host(mixture.weight),
            center=to_host(found.center),
            mean=to_host(found.mean),
            covariance=to_host(found.covariance),
        )

    @property
    def k(self) -> int:
        """Clusters."""
        return len(self.weight)

    def view(self, points: Any, weight: float = 1.0) -> GaussianView:
        """The components' view of points (n, p) on their device."""
        empty = GaussianView(
            rows=points,
            center=asarray_like(self.center, points),
            covariance_type="diag" if self.covariance.ndim == 2 else "full",
            weight=weight,
        )
        return empty.with_parameters(asarray_like(self.mean, points), asarray_like(self.covariance, points))

    def labels(self, points: Points) -> tuple[Integers, Floats]:
        """(n,), and the responsibilities (n, k)."""
        view = self.view(points.tile(slice(0, points.n)))
        shares = responsibilities(Mixture(weight=asarray_like(self.weight, view.rows), views=(view,)), [view])
        return np.argmax(shares, axis=1), shares

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a rule."""
        return {"weight": self.weight, "center": self.center, "mean": self.mean, "covariance": self.covariance}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> "Gaussians":
        """The inverse of `arrays`."""
        return Gaussians(**{name: arrays[name] for name in ("weight", "center", "mean", "covariance")})


def model_from(arrays: Mapping[str, NDArray[Any]]) -> Model:
    """The clustering that was stored."""
    return Centroids(centroids=arrays["centroids"]) if "centroids" in arrays else Gaussians.from_arrays(arrays)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassPartition:
    """The rows of a class: clusters in a space, some of them cut into parts, and the value of each part."""

    space: Space | UmapSpace
    base: Model
    value: Integers
    """(k, F) of part f of cluster c; a cluster that is not cut has part 0 alone."""
    parts: Mapping[int, Model] = field(default_factory=dict[int, Model])
    """Models of the clusters that are cut."""

    @staticmethod
    def by_size(space: Space | UmapSpace, base: Model, labels: Integers) -> "ClassPartition":
        """Clusters without parts, numbered by the rows (n,) that they have, the largest 0."""
        return ClassPartition(space=space, base=base, value=by_size(labels, base.k)[:, None])

    @property
    def n_values(self) -> int:
        """Groups of the class."""
        return int(self.value.max()) + 1

    def assign(self, rows: Rows, index: Integers) -> tuple[Integers, Floats | None]:
        """(m,) values; and (m, V) where clusters are soft and none is cut."""
        points = self.space.points(rows, index)
        labels, shares = self.base.labels(points)
        if not self.parts:
            value = self.value[:, 0]
            if shares is None or np.unique(value).size < value.size:
                return value[labels], None
            return value[labels], shares[:, np.argsort(value)]
        return self.value.reshape(-1)[self.part_labels(points, labels)], None

    def part_labels(self, points: Points, labels: Integers) -> Integers:
        """(n,) cluster * F + part."""
        found = labels * self.value.shape[1]
        for cluster, parts in self.parts.items():
            mine = np.flatnonzero(labels == cluster)
            if mine.size:
                found[mine] += parts.labels(points.some(mine))[0]
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a rule; none in a space that is not stored."""
        space = self.space.arrays()
        if not space:
            return {}
        parts = prefixed({cluster: model.arrays() for cluster, model in self.parts.items()})
        return {**space, **self.base.arrays(), "value": self.value, **parts}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> "ClassPartition":
        """The inverse of `arrays`."""
        parts = {cluster: model_from(found) for cluster, found in split_prefixes(arrays).items()}
        return ClassPartition(
            space=Space.from_arrays(arrays), base=model_from(arrays), value=arrays["value"], parts=parts
        )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32] | None]:
    """Values of other rows by the stored partitions of their classes: the rules "centroids" and "mixture"."""
    told = replace(rows, logits=stored_logits(rule, rows)) if "head_weight" in rule else rows
    return assign_by_class({y: ClassPartition.from_arrays(of) for y, of in split_prefixes(rule).items()}, told)
