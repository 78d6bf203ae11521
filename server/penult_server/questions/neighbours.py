"""Questions about nearest neighbours, complete; and under which key the answer to one is stored."""

import math

from penult_proto.enums import name_of, names_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.stores.neighbours import GraphKey

DEFAULT_K = 10
SAME = (pb.NEIGHBOUR_WITHIN_CLASS, pb.NEIGHBOUR_WITHIN_GROUP, pb.NEIGHBOUR_WITHIN_ATTRIBUTE)
OTHER = (pb.NEIGHBOUR_WITHIN_OTHER_CLASS, pb.NEIGHBOUR_WITHIN_OTHER_GROUP, pb.NEIGHBOUR_WITHIN_OTHER_ATTRIBUTE)
OF_CLASS = (pb.NEIGHBOUR_WITHIN_CLASS, pb.NEIGHBOUR_WITHIN_OTHER_CLASS)
OF_ATTRIBUTE = (pb.NEIGHBOUR_WITHIN_ATTRIBUTE, pb.NEIGHBOUR_WITHIN_OTHER_ATTRIBUTE)


def filled_in(query: pb.NeighbourQuery) -> pb.NeighbourQuery:
    """A copy with every default that does not depend on the sets, and without what has no effect.

    Raises ServiceError (INVALID_ARGUMENT) for what no sets could make legal.
    """
    found = pb.NeighbourQuery()
    found.CopyFrom(query)
    found.k = query.k if query.HasField("k") else DEFAULT_K
    found.metric = query.metric or pb.NEIGHBOUR_METRIC_COSINE
    found.within = query.within or pb.NEIGHBOUR_WITHIN_ALL
    found.recall = query.recall if query.HasField("recall") else 1.0
    _check(found)
    if found.recall == 1.0 and not found.method:
        found.method = pb.NEIGHBOUR_METHOD_EXACT
    if found.method == pb.NEIGHBOUR_METHOD_EXACT:
        found.recall, found.seed = 1.0, 0
    if found.among == found.source:
        # A row is no neighbour of itself, whether its own set is named or not.
        found.ClearField("among")
    if not found.HasField("among"):
        found.across_checkpoints = False
    return found


def key_of(query: pb.NeighbourQuery) -> GraphKey | None:
    """Under which the answer to a complete question is stored; None where it is not: some rows, or a grouping."""
    for one in (query.source, query.among):
        if one.grouping or one.rows.WhichOneof("kind"):
            return None
    has_among = query.HasField("among")
    return GraphKey(
        feature_set=query.source.feature_set,
        among=query.among.feature_set if has_among else query.source.feature_set,
        metric=metric_name(query.metric),
        within=name_of(pb.NeighbourWithin, query.within) or "",
        method=name_of(pb.NeighbourMethod, query.method) or "any",
        recall=query.recall,
        seed=query.seed,
    )


def metric_name(metric: "pb.NeighbourMetric.ValueType") -> str:
    """As users write it."""
    return name_of(pb.NeighbourMetric, metric) or ""


def _check(query: pb.NeighbourQuery) -> None:
    for field, enum, number in (
        ("metric", pb.NeighbourMetric, query.metric),
        ("within", pb.NeighbourWithin, query.within),
        ("method", pb.NeighbourMethod, query.method),
    ):
        if number and name_of(enum, number) is None:
            raise refused(field, f"must be one of {', '.join(names_of(enum))}; got number {number}")
    if query.k < 1:
        raise refused("k", f"must be at least 1, got {query.k}")
    if not (math.isfinite(query.recall) and 0 < query.recall <= 1):
        raise refused("recall", f"must lie in (0, 1], 1 for all neighbours; got {query.recall}")
    is_index = query.method not in (pb.NEIGHBOUR_METHOD_UNSPECIFIED, pb.NEIGHBOUR_METHOD_EXACT)
    if is_index and query.within != pb.NEIGHBOUR_WITHIN_ALL:
        raise refused(
            "method",
            "must be 'exact' with within=...: filters are parts of the rows, each of which is searched by itself, "
            "while an index of all rows loses neighbours under a filter; got "
            f"{name_of(pb.NeighbourMethod, query.method)!r}",
        )


def refused(field: str, why: str) -> ServiceError:
    """The error for an argument."""
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{field} {why}", field=field)
