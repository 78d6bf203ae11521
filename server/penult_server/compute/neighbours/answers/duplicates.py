"""Equal and nearly equal rows: within one set, and between two splits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.neighbours import duplicates as kernels
from penult_proto.notes import NoteId
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1 import spectra_pb2
from penult_server.compute.memory import available_bytes, require
from penult_server.compute.neighbours.answers.evaluation import metrics_of_labelled, stored_logits
from penult_server.compute.neighbours.answers.labelled import Integers, Labelled, bare, labelled, shares_to_proto
from penult_server.compute.neighbours.graph import Graph, graph_of
from penult_server.compute.neighbours.sides import Resources
from penult_server.messages import array_to_proto
from penult_server.notes import Note, notes_to_proto

K = 64
"""Neighbours of a row that are looked at: those that are stored."""
MOST_PAIRS = 200_000
"""Most pairs of an answer: some 6 MB."""
SHUFFLES = 999
"""Random splits behind a p-value at most, 99 at least."""
MOST_SHUFFLED = 100_000_000
"""Pairs that all random splits together look at, where they are more than 99."""
BYTES_OF_A_PAIR = 160
"""While it is found, merged with others, and joined to a component."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
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


def find_duplicates(request: pb.FindDuplicatesRequest, resources: Resources) -> pb.Duplicates:
    """Pairs within a set, or across two. Every field of the request is set by now but perhaps the threshold.

    Raises what the search raises.
    """
    source = labelled(resources.root, request.source)
    if not request.HasField("against"):
        return _within(request, source, _pairs(request, [source], resources), resources)
    against = labelled(resources.root, request.against)
    return _between(request, source, against, _pairs(request, [source, against], resources), resources)


def _within(request: pb.FindDuplicatesRequest, source: Labelled, found: _Pairs, resources: Resources) -> pb.Duplicates:
    component = kernels.components(found.pairs, source.n_rows)
    has_one = np.zeros(source.n_rows, dtype=np.bool_)
    has_one[found.pairs.ravel()] = True
    is_repeated = component != np.arange(source.n_rows)
    answer = _answer(request, found, source, has_one, is_repeated, resources)
    ids = source.row_id[found.pairs[:MOST_PAIRS]]
    answer.pairs.CopyFrom(array_to_proto(ids))
    answer.components.CopyFrom(array_to_proto(_numbered(component[found.pairs[:MOST_PAIRS, 0]])))
    answer.p_value = answer.expected_pairs = float("nan")
    return answer


def _between(
    request: pb.FindDuplicatesRequest, source: Labelled, against: Labelled, found: _Pairs, resources: Resources
) -> pb.Duplicates:
    crossing = found.across
    kept = _Pairs(
        found.pairs[crossing],
        found.distance[crossing],
        found.threshold,
        found.rule,
        found.n_first,
        found.n_rows,
        found.is_equal[crossing],
        found.notes,
    )
    second = kept.pairs[:, 1] - source.n_rows
    has_one = np.zeros(against.n_rows, dtype=np.bool_)
    has_one[second] = True
    answer = _answer(request, kept, against, has_one, has_one, resources)
    answer.against = request.against.feature_set
    ids = np.stack([source.row_id[kept.pairs[:, 0]], against.row_id[second]], axis=1)[:MOST_PAIRS]
    answer.pairs.CopyFrom(array_to_proto(ids))
    component = kernels.components(kept.pairs, found.n_rows)
    answer.components.CopyFrom(array_to_proto(_numbered(component[kept.pairs[:MOST_PAIRS, 0]])))
    shuffled = kernels.shuffled_crossings(
        found.pairs,
        source.n_rows,
        against.n_rows,
        n_shuffles=max(99, min(SHUFFLES, MOST_SHUFFLED // max(len(found.pairs), 1))),
        seed=request.seed,
        check=resources.check,
    )
    answer.p_value = float(1 + np.count_nonzero(shuffled >= len(kept.pairs))) / (1 + shuffled.size)
    answer.expected_pairs = float(shuffled.mean())
    return answer


def _answer(
    request: pb.FindDuplicatesRequest,
    found: _Pairs,
    scored: Labelled,
    has_one: NDArray[np.bool_],
    is_left_out: NDArray[np.bool_],
    resources: Resources,
) -> pb.Duplicates:
    """What is said of the set whose accuracy may rest on duplicates, and of the pairs but their ids."""
    answer = pb.Duplicates(
        feature_set=request.source.feature_set,
        metric=request.metric,
        distances=array_to_proto(found.distance[:MOST_PAIRS]),
        threshold=found.threshold,
        rule=found.rule,
        n_exact=int(found.is_equal.sum()),
        n_rows=int(has_one.sum()),
        groups=shares_to_proto(scored, has_one),
        truncated=len(found.pairs) > MOST_PAIRS,
        n_pairs=len(found.pairs),
        notes=notes_to_proto([*found.notes, *scored.notes]),
        grouping=scored.used_grouping,
    )
    logits = stored_logits(scored, resources)
    if logits is None:
        text = (
            f"feature set {scored.manifest.digest[:12]} has no logits of its {scored.n_classes} classes and no head, "
            "so that no accuracy is said with and without duplicates: extract it, or upload it with logits=..."
        )
        answer.notes.extend(notes_to_proto([Note(NoteId.NO_LOGITS, text)]))
        return answer
    is_used = scored.g >= 0
    answer.with_duplicates.CopyFrom(metrics_of_labelled(logits, scored, is_used))
    if np.any(is_used & ~is_left_out):
        answer.without_duplicates.CopyFrom(metrics_of_labelled(logits, scored, is_used & ~is_left_out))
    return answer


def _pairs(request: pb.FindDuplicatesRequest, sets: list[Labelled], resources: Resources) -> _Pairs:
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
    return _Pairs(together, distance, threshold, rule, sets[0].n_rows, hashes.size, is_equal, notes)


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


def _numbered(labels: Integers) -> Integers:
    """The labels as 0, 1, ... in the order in which they first come."""
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[place]
