"""Neighbours, sent as a stream."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from penult_proto.pieces.framing import announce, pieces
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.graph import Graph, graph_of, stored_graph_of
from penult_server.compute.neighbours.sides import Resources
from penult_server.notes import notes_to_proto


def read_neighbours(
    query: pb.NeighbourQuery, resources: Resources, device: Callable[[], AbstractContextManager[None]]
) -> Iterator[pb.ReadNeighboursResponse]:
    """The header, then the arrays. The device is held while neighbours are found, not while they are read or sent.

    Every field of the query is set by now.
    """
    graph = stored_graph_of(query, resources)
    if graph is None:
        with device():
            graph = graph_of(query, resources)
    arrays = {"row_id": graph.row_id, "distance": graph.distance, "query_id": graph.query_id}
    header = _header(query, graph)
    header.arrays.extend(announce(name, array.dtype, array.shape) for name, array in arrays.items())
    yield pb.ReadNeighboursResponse(header=header)
    for name, array in arrays.items():
        for chunk in pieces(name, array):
            yield pb.ReadNeighboursResponse(chunk=chunk)


def _header(query: pb.NeighbourQuery, graph: Graph) -> pb.NeighboursHeader:
    source = query.source.feature_set
    return pb.NeighboursHeader(
        feature_set=source,
        among=query.among.feature_set if query.HasField("among") else source,
        query=query,
        method=graph.method,
        recall=graph.recall.value,
        recall_low=graph.recall.low,
        recall_high=graph.recall.high,
        recall_rows=graph.recall.n_rows,
        parameters=graph.parameters,
        n_short=graph.n_short,
        reused=graph.reused,
        notes=notes_to_proto(graph.notes),
    )
