"""From messages about groupings to records."""

from collections.abc import Iterable

import numpy as np

from penult.errors import ServerBug
from penult.results.groupings.grouping import Grouping, GroupingArrays
from penult.wire import decode
from penult.wire.transfer import receive_arrays
from penult_proto.v1 import groupings_pb2


def grouping(message: groupings_pb2.Grouping) -> Grouping:
    """A grouping."""
    request = message.request
    return decode.record(
        Grouping,
        message,
        attribute=message.labels.attribute,
        classes=tuple(message.labels.classes),
        value_names=tuple(message.labels.attribute_values),
        groups=decode.groups(message.groups),
        fit=request.fit,
        other=request.other,
        numbers=dict(request.numbers),
        words=dict(request.words),
        seed=request.seed,
        scores=dict(message.scores),
        created=decode.time(message.created),
        notes=decode.decode_notes(message.notes),
        **decode.card(message.card),
    )


def grouping_arrays(messages: Iterable[groupings_pb2.ReadGroupingResponse]) -> GroupingArrays:
    """The arrays of one read. Raises `ServerBug` when any is incomplete."""
    _, arrays = receive_arrays(messages)
    if missing := {"row_id", "value"} - set(arrays):
        raise ServerBug(f"the server did not send {sorted(missing)}")
    return GroupingArrays(
        row_id=arrays["row_id"].astype(np.uint64, copy=False),
        values=arrays["value"].astype(np.int64, copy=False),
        soft=arrays.get("soft"),
    )
