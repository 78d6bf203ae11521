"""Indices of FAISS: which there are, how they are built, and the parameter that trades time for recall."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.neighbours.space import Metric, Space
from penult_kernels.rows import RowSource
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.errors import ServiceError

POINTS_PER_LIST = 39
"""Rows for each list that k-means needs, by FAISS' own warning."""
TRAINED_PER_LIST = 64
"""Rows for each list that k-means looks at: of 256, its time is four times as long, and lists are hardly better."""
LINKS = 32
BUILD_BREADTH = 200
ROWS_ADDED = 2**15
Points = NDArray[np.float32]


@dataclass(slots=True)
class Index:
    """A built index."""

    faiss: Any
    index: Any
    method: "pb.NeighbourMethod.ValueType"
    parameters: dict[str, float]
    breadth: int
    """How much is looked at for each row: lists (nprobe), or candidates (efSearch)."""
    widest: int
    """The largest breadth that changes anything."""
    oversampling: int = 1
    """Candidates for each that is wanted: where points are stored coarsely, more must be measured."""

    def widen(self) -> bool:
        """Look at twice as much from now on; false where that is all already."""
        if self.breadth >= self.widest:
            return False
        self.breadth = min(2 * self.breadth, self.widest)
        if self.method == pb.NEIGHBOUR_METHOD_PQ:
            self.oversampling *= 2
        return True

    def search(self, points: Points, width: int) -> NDArray[np.int64]:
        """(n, width) numbers of near rows, -1 for none."""
        width *= self.oversampling
        if self.method == pb.NEIGHBOUR_METHOD_HNSW:
            self.index.hnsw.efSearch = max(self.breadth, width)
        else:
            self.faiss.extract_index_ivf(self.index).nprobe = self.breadth
        return np.asarray(self.index.search(points, min(width, self.index.ntotal))[1], dtype=np.int64)

    def said(self) -> dict[str, float]:
        """Parameters as answers name them."""
        if self.method == pb.NEIGHBOUR_METHOD_HNSW:
            return self.parameters | {"efSearch": self.breadth}
        return self.parameters | {"nprobe": self.breadth, "candidates_per_neighbour": self.oversampling}


def n_lists(n_rows: int) -> int:
    """Lists of an inverted file: 4 sqrt(N), as a power of two."""
    return 2 ** round(math.log2(4 * math.sqrt(max(n_rows, 1))))


def check_enough_rows(method: "pb.NeighbourMethod.ValueType", n_rows: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for an inverted file of so few rows that its lists would be poor."""
    lists = n_lists(n_rows)
    if method != pb.NEIGHBOUR_METHOD_HNSW and n_rows < POINTS_PER_LIST * lists:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"an inverted file of {n_rows} rows has {lists} lists and needs {POINTS_PER_LIST} rows for each, "
            f"{POINTS_PER_LIST * lists} in all: so few rows are searched exactly (method='exact'), or by 'hnsw'",
            field="method",
        )


def build(
    faiss: Any,
    method: "pb.NeighbourMethod.ValueType",
    rows: RowSource,
    space: Space,
    backend: Backend,
    *,
    seed: int,
    check: Callable[[], None],
    report: Callable[[float, float], None],
) -> Index:
    """The index of all rows, whose points are added a block at a time."""
    n, d = rows.shape
    metric = faiss.METRIC_INNER_PRODUCT if space.metric == Metric.INNER else faiss.METRIC_L2
    if method == pb.NEIGHBOUR_METHOD_HNSW:
        index = faiss.IndexHNSWFlat(d, LINKS, metric)
        index.hnsw.efConstruction = BUILD_BREADTH
        found = Index(faiss, index, method, {"M": LINKS, "efConstruction": BUILD_BREADTH}, 16, n)
    else:
        lists = n_lists(n)
        pieces = _pieces(d) if method == pb.NEIGHBOUR_METHOD_PQ else 0
        factory = f"OPQ{pieces}_{4 * pieces},IVF{lists},PQ{pieces}x8" if pieces else f"IVF{lists},Flat"
        index = faiss.index_factory(d, factory, metric)
        inverted = faiss.extract_index_ivf(index)
        inverted.cp.seed = seed % 2**31
        inverted.cp.max_points_per_centroid = TRAINED_PER_LIST
        index.train(_sampled(rows, space, backend, TRAINED_PER_LIST * lists, seed))
        parameters: dict[str, float] = {"nlist": float(lists)}
        if pieces:
            parameters["bytes"] = pieces
        found = Index(faiss, index, method, parameters, 1, lists, oversampling=2 if pieces else 1)
    for part, points in points_of(rows, space, backend):
        check()
        index.add(points)
        report(part.stop, n)
    return found


def points_of(rows: RowSource, space: Space, backend: Backend) -> Iterator[tuple[slice, Points]]:
    """All rows as points on the host, a block at a time."""
    n = rows.shape[0]
    for start in range(0, n, ROWS_ADDED):
        part = slice(start, min(start + ROWS_ADDED, n))
        yield part, np.ascontiguousarray(backend.to_host(space.points(rows.block(part)).values))


def _sampled(rows: RowSource, space: Space, backend: Backend, count: int, seed: int) -> Points:
    """Points of at most `count` rows, drawn without replacement."""
    n = rows.shape[0]
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:count])
    parts = [
        points[chosen[(chosen >= part.start) & (chosen < part.stop)] - part.start]
        for part, points in points_of(rows, space, backend)
    ]
    return np.concatenate(parts)


def _pieces(n_features: int) -> int:
    """Bytes for each row: as many as there are four features for, 64 at most."""
    return max((one for one in (1, 2, 4, 8, 16, 32, 64) if 4 * one <= n_features), default=1)
