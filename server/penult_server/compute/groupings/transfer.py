"""The arrays of a stored grouping on the wire."""

from collections.abc import Iterator
from pathlib import Path

from penult_proto.pieces.framing import announce, pieces
from penult_proto.v1 import groupings_pb2 as pb
from penult_server.stores.groupings import StoredGrouping

SENT = ("row_id", "value", "soft")


def send(root: Path, digest: str) -> Iterator[pb.ReadGroupingResponse]:
    """A header, then the pieces of every array in order. Raises ServiceError: UNKNOWN_GROUPING, STORE_CORRUPT."""
    arrays = StoredGrouping(root, digest).arrays
    sent = {name: arrays[name] for name in SENT if name in arrays}
    headers = [announce(name, array.dtype, array.shape) for name, array in sent.items()]
    yield pb.ReadGroupingResponse(header=pb.GroupingHeader(arrays=headers))
    for name, array in sent.items():
        for chunk in pieces(name, array):
            yield pb.ReadGroupingResponse(chunk=chunk)
