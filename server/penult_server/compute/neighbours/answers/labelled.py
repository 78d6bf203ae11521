"""The labels of the rows that neighbours are read off: stored ones, or those of a grouping."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_proto.v1 import groups_pb2, spectra_pb2
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.class_names import Classes, Match, match_classes
from penult_server.compute.neighbours.graph import Graph, graph_of
from penult_server.compute.neighbours.sides import Resources
from penult_server.compute.rows.grouped import Grouped, GroupedFeatures, open_features
from penult_server.messages import groups_to_proto
from penult_server.notes import Note
from penult_server.records import Attribute
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """One feature set without its features."""

    stored: StoredFeatures
    """The set, with the labels of a grouping where one stands in for the attribute."""
    plain: StoredFeatures
    """The set as it is stored."""
    grouped: Grouped | None
    """The rows under that grouping; None for the stored groups."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """How many rows are in no group."""
        return () if self.grouped is None else self.grouped.left_out()

    @property
    def used_grouping(self) -> groups_pb2.UsedGrouping | None:
        """What answers say of the grouping; None for the stored groups."""
        return None if self.grouped is None else self.grouped.to_proto()

    @property
    def manifest(self) -> FeatureManifest:
        """The set's, with the labels of the grouping where one stands in for the attribute."""
        return self.stored.manifest

    @property
    def n_rows(self) -> int:
        """N."""
        return self.manifest.n_examples

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.manifest.labels.classes)

    @property
    def n_groups(self) -> int:
        """G."""
        return self.manifest.labels.n_groups

    @cached_property
    def row_id(self) -> NDArray[np.uint64]:
        """(N,) ids."""
        return self.stored.read("row_id")

    @cached_property
    def y(self) -> Integers:
        """(N,) classes."""
        return self.stored.read("y")

    @cached_property
    def a(self) -> Integers:
        """(N,) values of the attribute or grouping; -1 in no group."""
        return self.stored.read("a")

    @cached_property
    def g(self) -> Integers:
        """(N,) groups; -1 for rows in none."""
        return np.where(self.a < 0, -1, self.y * self.manifest.labels.n_attributes + self.a)

    @cached_property
    def group_counts(self) -> Integers:
        """(G,) rows of each group."""
        return np.bincount(self.g[self.g >= 0], minlength=self.n_groups)

    def groups(self, counts: Integers | None = None) -> list[groups_pb2.Group]:
        """All groups with their names and counts."""
        return groups_to_proto(self.manifest.labels, (self.group_counts if counts is None else counts).tolist())

    def attributes(self) -> dict[str, tuple[Attribute, Integers]]:
        """Every attribute by its name, with the (N,) values: what makes the groups first, then what else is stored."""
        found: dict[str, tuple[Attribute, Integers]] = {}
        for one in (self.stored, self.plain):
            labels = one.manifest.labels
            if labels.attribute_values and labels.attribute not in found:
                attribute = Attribute(name=labels.attribute, values=labels.attribute_values)
                found[labels.attribute] = (attribute, one.read("a"))
        if self.manifest.attributes:
            columns = self.stored.read("attributes")
            for column, attribute in enumerate(self.manifest.attributes):
                found.setdefault(attribute.name, (attribute, columns[:, column]))
        return found

    def shares(self, has_it: NDArray[np.bool_]) -> tuple[Integers, NDArray[np.float64]]:
        """(G,) rows of each group that have a property (N,), and their share of the group; NaN for an empty one."""
        counts = np.bincount(self.g[has_it & (self.g >= 0)], minlength=self.n_groups)
        return counts, counts / np.where(self.group_counts > 0, self.group_counts, np.nan)


def labelled(root: Path, source: spectra_pb2.FeatureSource) -> Labelled:
    """The labels of a source, seen through its grouping where it names one. Raises what `open_features` raises."""
    stored = open_features(root, source.feature_set, source.grouping)
    if not isinstance(stored, GroupedFeatures):
        return Labelled(stored=stored, plain=stored, grouped=None)
    return Labelled(stored=stored, plain=StoredFeatures(root, source.feature_set), grouped=stored.grouped)


def bare(source: spectra_pb2.FeatureSource) -> spectra_pb2.FeatureSource:
    """The set alone: who is near whom depends on no grouping."""
    return spectra_pb2.FeatureSource(feature_set=source.feature_set)


def match_labels(voters: Labelled, asked: Labelled) -> Match:
    """The classes of two sets by their names. Raises ServiceError (OTHER_CLASSES, WRONG_SHAPE)."""
    return match_classes(_classes(voters), _classes(asked))


def classes_as(voters: Labelled, match: Match) -> Integers:
    """(M,) classes of the voters as the set that is asked about numbers them."""
    place = np.empty(match.order.size, dtype=np.int64)
    place[match.order] = np.arange(match.order.size)
    return place[voters.y]


def neighbours_of(query: pb.NeighbourQuery, asked: Labelled, pool: Labelled, resources: Resources) -> Graph:
    """The graph that a question about two sets is read off: no row is its own neighbour.

    The sets may hold the same examples in different forms, such as float16 and float32: then a row's own example, found
    by its id, is left out.
    """
    if not are_same_examples(asked.manifest, pool.manifest):
        return graph_of(query, resources)
    more = pb.NeighbourQuery()
    more.CopyFrom(query)
    more.k = min(query.k + 1, pool.n_rows)
    found = graph_of(more, resources)
    is_own = found.row_id == asked.row_id[:, None]
    # Where the example itself is not among the nearest, the last of them is one too many.
    is_own[:, -1] |= ~is_own.any(axis=1)
    shape = (asked.n_rows, more.k - 1)
    return replace(
        found,
        position=found.position[~is_own].reshape(shape),
        row_id=found.row_id[~is_own].reshape(shape),
        distance=found.distance[~is_own].reshape(shape),
    )


def are_same_examples(first: FeatureManifest, second: FeatureManifest) -> bool:
    """Whether two different sets are of the same split of one dataset."""
    is_known = bool(first.dataset_digest and first.split) and first.digest != second.digest
    return is_known and (first.dataset_digest, first.split) == (second.dataset_digest, second.split)


def of_neighbours(values: Integers, position: Integers) -> Integers:
    """(N, K) values of neighbours by their positions; -1 where there is no neighbour."""
    return np.where(position >= 0, values[position], -1)


def shares_to_proto(rows: Labelled, has_it: NDArray[np.bool_]) -> list[pb.GroupShare]:
    """Rows that have a property, by group."""
    counts, shares = rows.shares(has_it)
    return [
        pb.GroupShare(group=group, count=int(count), share=float(share))
        for group, count, share in zip(rows.groups(), counts, shares, strict=True)
    ]


def _classes(one: Labelled) -> Classes:
    labels = one.manifest.labels
    return Classes(
        names=labels.classes, whose=f"feature set {one.manifest.digest[:12]}", by_index=labels.classes_by_index
    )
