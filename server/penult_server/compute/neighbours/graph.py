"""Neighbours of a stored set, from the store where they are there, else computed and stored."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.neighbours.recall import EXACT, Recall, recall_of
from penult_kernels.neighbours.space import Metric
from penult_proto.enums import name_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.memory import available_bytes, require
from penult_server.compute.neighbours.approximate import search_index
from penult_server.compute.neighbours.comparable import check_comparable
from penult_server.compute.neighbours.exact import ExactSearch
from penult_server.compute.neighbours.known import Known
from penult_server.compute.neighbours.sides import Resources, Side
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.questions.neighbours import OF_ATTRIBUTE, filled_in, key_of, metric_name, refused
from penult_server.stores.neighbours import STORED_NEIGHBOURS, StoredGraph, read_graph, write_graph

NO_ROW = 2**64 - 1
"""Id of a neighbour that is none."""
LARGE = 100_000
"""Rows from which an index is worth building where less than all neighbours is asked for."""
BYTES_OF_A_NEIGHBOUR = 48
"""In the answer, and in what is kept while it is found."""
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """k neighbours of each of n rows, the nearest first; equally near ones in the order of their ids."""

    query_position: Integers
    """(n,) of the rows asked about, in their set."""
    query_id: NDArray[np.uint64]
    """(n,) their ids."""
    position: Integers
    """(n, k) of the neighbours, in the set among which they were looked for; -1 for none."""
    row_id: NDArray[np.uint64]
    """(n, k) their ids; `NO_ROW` for none."""
    distance: NDArray[np.float64]
    """(n, k); NaN for none."""
    method: "pb.NeighbourMethod.ValueType"
    recall: Recall
    parameters: Mapping[str, float]
    reused: bool
    notes: tuple[Note, ...] = ()

    @property
    def n_short(self) -> int:
        """Rows with fewer than k neighbours."""
        return int((self.position[:, -1] < 0).sum())


def graph_of(query: pb.NeighbourQuery, resources: Resources) -> Graph:
    """The answer to a question whose sets are named by digests; what else it leaves out is filled in.

    Of whole sets the 64 nearest are stored, from which every later question for fewer is answered.

    Raises ServiceError: INVALID_ARGUMENT, ZERO_ROW, WRONG_SHAPE, UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY, and
    what a grouping raises.
    """
    query = filled_in(query)
    source = Side(query.source, resources)
    among = Side(query.among, resources) if query.HasField("among") else None
    notes = _check(query, source, among, resources)
    known = _known(query, resources)
    if known is not None:
        return _answer(query, known, reused=True)
    key = key_of(query)
    others = source if among is None else among
    most = others.n_rows - (among is None or source.is_own(among))
    k = max(query.k, min(STORED_NEIGHBOURS, most)) if key else query.k
    needed = source.n_rows * k * BYTES_OF_A_NEIGHBOUR
    require(
        needed, available_bytes(resources.backend), "ask for fewer neighbours (k=...) or about fewer rows (rows=...)"
    )
    found = _together(_computed(query, source, among, k, resources), source, others, notes)
    if key and query.k <= STORED_NEIGHBOURS and write_graph(resources.root, key, found.stored):
        resources.graphs.add(key.directory(resources.root), found)
    return _answer(query, found, reused=False)


def stored_graph_of(query: pb.NeighbourQuery, resources: Resources) -> Graph | None:
    """The same where it is stored, without any computing; else None."""
    query = filled_in(query)
    known = _known(query, resources)
    return None if known is None else _answer(query, known, reused=True)


def _known(query: pb.NeighbourQuery, resources: Resources) -> Known | None:
    """Stored neighbours that answer a complete question, from memory or from the store."""
    key = key_of(query)
    if key is None or query.k > STORED_NEIGHBOURS:
        return None
    directory = key.directory(resources.root)
    known = resources.graphs.get(directory)
    if known is None:
        stored = read_graph(resources.root, key)
        if stored is None:
            return None
        source = Side(query.source, resources)
        among = Side(query.among, resources) if query.HasField("among") else None
        notes = _check(query, source, among, resources)
        known = _together(stored, source, source if among is None else among, notes)
        resources.graphs.add(directory, known)
    # What was allowed once must be allowed again.
    is_allowed = query.across_checkpoints or not known.notes
    return known if is_allowed and query.k <= known.stored.position.shape[1] else None


def _together(stored: StoredGraph, source: Side, others: Side, notes: tuple[Note, ...]) -> Known:
    return Known(
        stored=stored,
        query_position=source.positions,
        query_id=source.row_id[source.positions],
        among_id=others.row_id,
        notes=notes,
    )


def _computed(query: pb.NeighbourQuery, source: Side, among: Side | None, k: int, resources: Resources) -> StoredGraph:
    metric = Metric(metric_name(query.metric))
    method = query.method or _method_for(source if among is None else among, query)
    if method != pb.NEIGHBOUR_METHOD_EXACT:
        query.method = method
        found = search_index(source, among, metric, k, query, resources)
        if found is not None:
            return StoredGraph(
                method=name_of(pb.NeighbourMethod, method) or "",
                position=found.nearest.position.astype(np.int32),
                distance=found.nearest.distance,
                sample=found.sample,
                exact=found.exact,
                parameters=found.parameters,
            )
    nearest = ExactSearch(source, among, metric, resources).nearest(k, query.within)
    nothing = np.zeros((0, k))
    return StoredGraph(
        method="exact",
        position=nearest.position.astype(np.int32),
        distance=nearest.distance,
        sample=np.zeros(0, dtype=np.int64),
        exact=nothing,
    )


def _method_for(others: Side, query: pb.NeighbourQuery) -> "pb.NeighbourMethod.ValueType":
    """The cheapest method that finds a share of the neighbours: filters are partitions, which are searched exactly."""
    if others.n_rows < LARGE or query.within != pb.NEIGHBOUR_WITHIN_ALL:
        return pb.NEIGHBOUR_METHOD_EXACT
    return pb.NEIGHBOUR_METHOD_IVF if others.is_in_memory else pb.NEIGHBOUR_METHOD_PQ


def _answer(query: pb.NeighbourQuery, known: Known, *, reused: bool) -> Graph:
    found = known.stored
    position = found.position[:, : query.k].astype(np.int64)
    recall = EXACT
    if found.sample.size:
        recall = recall_of(found.distance[found.sample, : query.k], found.exact[:, : query.k], seed=query.seed)
    return Graph(
        query_position=known.query_position,
        query_id=known.query_id,
        position=position,
        row_id=np.where(position < 0, np.uint64(NO_ROW), known.among_id[np.maximum(position, 0)]),
        distance=np.ascontiguousarray(found.distance[:, : query.k]),
        method=pb.NeighbourMethod.Value(f"NEIGHBOUR_METHOD_{found.method.upper()}"),
        recall=recall,
        parameters=found.parameters,
        reused=reused,
        notes=known.notes,
    )


def _check(query: pb.NeighbourQuery, source: Side, among: Side | None, resources: Resources) -> tuple[Note, ...]:
    """What only the sets tell. Raises ServiceError: INVALID_ARGUMENT, and what `check_comparable` raises."""
    others = source if among is None else among
    notes = () if among is None else check_comparable(query, source.manifest, among.manifest, resources.root)
    if query.within in OF_ATTRIBUTE and not source.manifest.labels.attribute_values:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"feature set {source.manifest.digest[:12]} has no attribute to look within; ask for within='class', "
            "or name a grouping",
            digest=source.manifest.digest,
        )
    most = others.n_rows - (among is None or source.is_own(among))
    if not 1 <= query.k <= most:
        without = "" if among is not None and not source.is_own(among) else ", a row itself is none of them"
        raise refused(
            "k", f"must lie in 1 .. {most}, for there are {others.n_rows} rows to choose from{without}; got {query.k}"
        )
    return notes
