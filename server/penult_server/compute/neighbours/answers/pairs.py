"""Pairs of rows that are equal, or nearer than a threshold, within one set or in two."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.neighbours import duplicates as kernels
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1 import spectra_pb2
from penult_server.compute.memory import available_bytes, require
from penult_server.compute.neighbours.answers.labelled import Integers, Labelled, bare
from penult_server.compute.neighbours.graph import Graph, graph_of
from penult_server.compute.neighbours.sides import Resources
from penult_server.notes import Note

K = 64
"""Neighbours of a row that are looked at: those that are stored."""
BYTES_OF_A_PAIR = 160
"""While it is found, merged with others, and joined to a component."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of rows of one or two sets, whose rows are numbered one after the other."""

    pairs: Integers
    """(P, 2), the smaller number first."""
    distance: NDArray[np.float64]
    """(P,) ascending."""
    threshold: float
    rule: str
    n_first: int
    """Rows of the first set."""
    n_rows: int
    is_equal: NDArray[np.bool_]
    """(P,) whether the rows are equal in every entry."""
    notes: tuple[Note, ...] = ()

    @property
    def across(self) -> NDArray[np.bool_]:
        """(P,) whether one row is of the first set and the other of the second."""
        return (self.pairs[:, 0] < self.n_first) & (self.pairs[:, 1] >= self.n_first)


def pairs_of(request: pb.FindDuplicatesRequest, sets: list[Labelled], resources: Resources) -> Pairs:
    """All pairs within the sets and across them."""
    dtype = np.result_type(*(one.manifest.dtype for one in sets))
    hashes = np.concatenate([_hashes(one, dtype, resources) for one in sets])
    equal = kernels.equal_pairs(hashes)
    sources = [request.source, request.against][: len(sets)]
    firsts = [0, sets[0].n_rows][: len(sets)]
    graphs: list[tuple[Graph, int, int]] = []
    for one, source, first in zip(sets, sources, firsts, strict=True):
        if one.n_rows > 1:
            graphs.append((_graph(request, source, None, one.n_rows - 1, resources), first, first))
    if len(sets) == 2:
        among = _graph(request, request.against, request.source, sets[0].n_rows, resources)
        graphs.append((among, firsts[1], 0))
    threshold, rule = _threshold(request, graphs[0][0].distance[:, 0], is_one_set=len(sets) == 1)
    n_near = sum(int(np.count_nonzero(graph.distance < threshold)) for graph, *_ in graphs)
    require(n_near * BYTES_OF_A_PAIR, available_bytes(resources.backend), "give a smaller threshold=")
    leader = kernels.leaders(hashes.size, equal)
    pairs, distances = [equal], [np.zeros(len(equal))]
    for graph, first_of_rows, first_of_neighbours in graphs:
        near, apart = kernels.near_pairs(graph.position, graph.distance, threshold)
        near = near + np.asarray([first_of_rows, first_of_neighbours])
        is_other = leader[near[:, 0]] != leader[near[:, 1]]
        pairs.append(near[is_other])
        distances.append(apart[is_other])
    together, distance = kernels.merged(np.concatenate(pairs), np.concatenate(distances), is_one_set=True)
    is_equal = leader[together[:, 0]] == leader[together[:, 1]]
    notes = tuple(note for graph, *_ in graphs for note in graph.notes)
    return Pairs(together, distance, threshold, rule, sets[0].n_rows, hashes.size, is_equal, notes)


def _hashes(one: Labelled, dtype: np.dtype[Any], resources: Resources) -> NDArray[np.void]:
    found: list[NDArray[np.void]] = []
    add = resources.progress.each("comparing rows", "rows", one.n_rows)
    for block in one.stored.blocks("features"):
        resources.check()
        found.append(kernels.row_hashes(block.astype(dtype, copy=False)))
        add(len(block))
    return np.concatenate(found)


def _graph(
    request: pb.FindDuplicatesRequest,
    source: spectra_pb2.FeatureSource,
    among: spectra_pb2.FeatureSource | None,
    most: int,
    resources: Resources,
) -> Graph:
    query = pb.NeighbourQuery(
        source=bare(source), k=min(K, most), metric=request.metric, across_checkpoints=request.across_checkpoints
    )
    if among is not None:
        query.among.CopyFrom(bare(among))
    return graph_of(query, resources)


def _threshold(
    request: pb.FindDuplicatesRequest, nearest: NDArray[np.float64], *, is_one_set: bool
) -> tuple[float, str]:
    """Below what distance rows are duplicates, and from what that was found."""
    if request.HasField("threshold"):
        return request.threshold, "given"
    within = kernels.threshold_within(nearest)
    median = within / kernels.SHARE_OF_MEDIAN
    if is_one_set:
        return within, f"{kernels.SHARE_OF_MEDIAN:g} x the median distance to the nearest other row ({median:.4g})"
    return kernels.threshold_between(nearest), (
        f"{kernels.SMALL_QUANTILE:.1%} of the rows of the first set without a duplicate there are nearer to another "
        f"(their median is {median:.4g})"
    )
