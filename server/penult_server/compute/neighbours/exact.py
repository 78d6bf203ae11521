"""Exact neighbours, filters as partitions: each class (or group, or value of the attribute) is searched by itself."""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import blocks
from penult_kernels.neighbours.nearest import Nearest
from penult_kernels.neighbours.search import Apart, nearest
from penult_kernels.neighbours.space import Metric, ZeroRowsError
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.sides import Resources, Side
from penult_server.errors import ServiceError
from penult_server.questions.neighbours import OTHER, SAME

ROWS_RENAMED = 4096
"""Rows whose neighbours' numbers become positions in the set at a time."""
Integers = NDArray[np.int64]


class ExactSearch:
    """Searches of one question."""

    def __init__(self, source: Side, among: Side | None, metric: Metric, resources: Resources) -> None:
        self._source = source
        self._is_self = among is None
        self._among = source if among is None else among
        self._metric = metric
        self._resources = resources
        self._has_own = source.is_own(self._among)

    def nearest(self, k: int, within: "pb.NeighbourWithin.ValueType" = pb.NEIGHBOUR_WITHIN_ALL) -> Nearest:
        """The k nearest of each row asked about, by their positions in the set among which they are looked for."""
        if within in SAME:
            found = Nearest.of(self._source.n_rows, k)
            own, other = self._source.codes(within), self._among.codes(within)
            for code in np.unique(own):
                self._search(found, np.flatnonzero(own == code), np.flatnonzero(other == code), k)
            return found
        if within in OTHER:
            return self._found(
                None, None, k, Apart(queries=self._source.codes(within), among=self._among.codes(within))
            )
        return self._found(None, None, k)

    def of(self, places: Integers, k: int) -> Nearest:
        """The k nearest of some rows, by their places on the side that is asked about."""
        found = Nearest.of(self._source.n_rows, k)
        self._search(found, places, None, k, is_some=True)
        return Nearest(found.position[places], found.distance[places])

    def _search(self, found: Nearest, own: Integers, other: Integers | None, k: int, *, is_some: bool = False) -> None:
        """Search the rows at places `own` among those at places `other`, all where None, and write what is found."""
        if own.size and (other is None or other.size):
            one = self._found(own, other, k, is_some=is_some)
            found.position[own], found.distance[own] = one.position, one.distance

    def _found(
        self,
        own: Integers | None,
        other: Integers | None,
        k: int,
        apart: Apart | None = None,
        *,
        is_some: bool = False,
    ) -> Nearest:
        """The k nearest of the rows at places `own` among those at places `other`, all where None."""
        is_self = self._is_self and not is_some
        mine = self._source.positions if own is None else self._source.positions[own]
        theirs = self._among.positions if other is None else self._among.positions[other]
        if apart is None and self._has_own and not is_self:
            apart = Apart(queries=mine, among=theirs)
        ids = self._among.row_id[theirs]
        order = None if _is_ascending(ids) else np.argsort(np.argsort(ids, kind="stable"), kind="stable")
        budget = self._resources.residents.budget
        try:
            one = nearest(
                self._among.rows(other),
                k,
                self._metric,
                queries=None if is_self else self._source.rows(own),
                apart=apart,
                order=order,
                memory=0 if self._source.is_in_memory and self._among.is_in_memory else budget // 4,
                check=self._resources.check,
                report=self._resources.progress.stage("neighbours", "pairs"),
            )
        except ZeroRowsError as error:
            raise ServiceError(
                ErrorKind.ZERO_ROW,
                f"{error.rows.size} of the rows are zero in every feature and have no direction, so no cosine: ask for "
                "metric='l2', or leave these rows out (rows=...)",
                rows=error.rows.size,
            ) from error
        for part in blocks(len(one.position), ROWS_RENAMED):
            position = one.position[part]
            position[...] = np.where(position < 0, -1, theirs[np.maximum(position, 0)])
        return one


def _is_ascending(ids: NDArray[np.uint64]) -> bool:
    return bool((ids[1:] > ids[:-1]).all())
