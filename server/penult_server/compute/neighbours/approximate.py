"""Neighbours by an index: searched more broadly until it finds what was asked for, with a certificate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import blocks
from penult_kernels.neighbours.exact import distances_to
from penult_kernels.neighbours.nearest import Nearest, keep_nearest
from penult_kernels.neighbours.recall import shares_found
from penult_kernels.neighbours.space import Metric, Space, ZeroRowsError, space_of
from penult_kernels.rows import ArrayRows, RowSource
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.exact import ExactSearch
from penult_server.compute.neighbours.indices import Index, build, check_enough_rows
from penult_server.compute.neighbours.libraries import import_faiss
from penult_server.compute.neighbours.sides import Resources, Side
from penult_server.errors import ServiceError

SAMPLE = 256
"""Rows of which the exact neighbours are found, too."""
ROWS_AT_ONCE = 4096
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximate:
    """What an index found, and how it was checked."""

    nearest: Nearest
    sample: Integers
    """(m,) places of the rows that were checked."""
    exact: NDArray[np.float64]
    """(m, k) distances to their exact neighbours."""
    parameters: dict[str, float]


def search_index(
    source: Side, among: Side | None, metric: Metric, k: int, query: pb.NeighbourQuery, resources: Resources
) -> Approximate | None:
    """Neighbours by the index that the query names; None where it does not reach the recall however wide it looks.

    Raises ServiceError: INVALID_ARGUMENT for an index of too few rows, and what `import_faiss` raises; ZERO_ROW.
    """
    others = source if among is None else among
    check_enough_rows(query.method, others.n_rows)
    search = _Indexed(source, among, metric, k, query, resources)
    rng = np.random.default_rng([query.seed, 0x5A])
    sample = np.sort(rng.permutation(source.n_rows)[:SAMPLE])
    exact = ExactSearch(source, among, metric, resources).of(sample, k).distance
    found = search.of(sample)
    while shares_found(found.distance, exact).mean() < query.recall:
        if not search.index.widen():
            return None
        resources.check()
        found = search.of(sample)
    return Approximate(nearest=search.of(None), sample=sample, exact=exact, parameters=search.index.said())


class _Indexed:
    """Rows, their index, and the searches in it."""

    def __init__(
        self, source: Side, among: Side | None, metric: Metric, k: int, query: pb.NeighbourQuery, resources: Resources
    ) -> None:
        others = source if among is None else among
        self._has_own = source.is_own(others)
        self._source, self._among, self._k, self._resources = source, others, k, resources
        self._rows: RowSource = others.rows()
        try:
            self._space: Space = space_of(self._rows, metric, None if among is None else source.rows(), resources.check)
        except ZeroRowsError as error:
            raise ServiceError(
                ErrorKind.ZERO_ROW,
                f"{error.rows.size} of the rows are zero in every feature and have no direction, so no cosine: ask for "
                "metric='l2', or leave these rows out (rows=...)",
                rows=error.rows.size,
            ) from error
        self.index: Index = build(
            import_faiss(),
            query.method,
            self._rows,
            self._space,
            resources.backend,
            seed=query.seed,
            check=resources.check,
            report=resources.progress.stage("index", "rows"),
        )
        ids = others.row_id[others.positions]
        self._order = np.argsort(np.argsort(ids, kind="stable"), kind="stable")

    def of(self, places: Integers | None) -> Nearest:
        """Neighbours, by their positions in their set, of some rows or of all."""
        rows = self._source.rows(places)
        n = rows.shape[0]
        found = Nearest.of(n, self._k)
        report = self._resources.progress.stage("neighbours", "rows")
        own = self._source.positions if places is None else self._source.positions[places]
        for part in blocks(n, ROWS_AT_ONCE):
            self._resources.check()
            kept = self._nearest(rows.block(part), own[part])
            found.position[part] = np.where(kept.position < 0, -1, self._among.positions[np.maximum(kept.position, 0)])
            found.distance[part] = kept.distance
            report(part.stop, n)
        return found

    def _nearest(self, rows: object, own: Integers) -> Nearest:
        points = np.ascontiguousarray(self._resources.backend.to_host(self._space.points(rows).values))
        index = self.index.search(points, self._k + max(8, self._k // 4))
        if self._has_own:
            index = np.where(self._among.positions[np.maximum(index, 0)] == own[:, None], -1, index)
        return keep_nearest(index, self._measure(rows, index), self._k, self._order)

    def _measure(self, rows: object, index: Integers) -> NDArray[np.float64]:
        if self._rows.is_in_memory:
            return distances_to(rows, self._rows, index, self._space)
        found = np.full(index.shape, np.nan)
        for part in blocks(self._rows.shape[0], ROWS_AT_ONCE):
            self._resources.check()
            within = np.where((index >= part.start) & (index < part.stop), index - part.start, -1)
            if (within >= 0).any():
                distance = distances_to(rows, ArrayRows(self._rows.block(part)), within, self._space)
                np.copyto(found, distance, where=within >= 0)
        return found
