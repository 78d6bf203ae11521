"""Which sets a question about neighbours means; refused early where what is known of them says that it must be."""

from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.front.queries.feature_sources import resolve_source
from penult_server.questions.neighbours import filled_in, refused
from penult_server.registry.catalog import Catalog


def resolve_neighbours(catalog: Catalog, request: pb.NeighbourQuery) -> pb.NeighbourQuery:
    """The complete question, its sets and groupings by their digests; on the registry's thread.

    Raises ServiceError: UNKNOWN_FEATURE_SET, UNKNOWN_CHECKPOINT, UNKNOWN_RUN, UNKNOWN_GROUPING, OTHER_ROWS,
    OTHER_CLASSES, INVALID_ARGUMENT.
    """
    query = pb.NeighbourQuery()
    query.CopyFrom(request)
    if query.HasField("among") and query.source.grouping and not query.among.grouping:
        # What stands in for the attribute on one side does so on the other.
        query.among.grouping = query.source.grouping
    source = resolve_source(catalog, query.source)
    among = resolve_source(catalog, query.among) if query.HasField("among") else None
    if query.HasField("among") and query.source.grouping != query.among.grouping:
        raise refused("among", "must have the grouping of the rows that are asked about, or none")
    query = filled_in(query)
    others = source if among is None else among
    most = others.n_examples - (others.digest == source.digest)
    if query.k > most:
        raise refused("k", f"must lie in 1 .. {most}: there are {others.n_examples} rows to choose from; got {query.k}")
    return query
